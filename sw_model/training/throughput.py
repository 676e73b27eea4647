"""How fast networks train on this machine: images a second, forward and backward, and what the time goes into."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from sw_model.network.methods import METHODS
from sw_model.network.resnet import ResNet

__all__ = ["TIMED", "training_speed"]

#: Methods that are timed; CGNet costs what CDG costs.
TIMED = ("dense", "scdg", "cgnet")


def _step(method: str, width: float, size: int, batch: int) -> Callable[[], None]:
    """A training step without optimiser: encoder forward and backward, bfloat16 autocast, channels last in memory."""
    torch.manual_seed(0)
    slice_size = min(8, int(64 * width) // 4)
    model = ResNet(width=width, slice_size=slice_size, **METHODS[method].network).train()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.features(images).float().square().mean()
        loss.backward()
        model.zero_grad()

    return step


def _convolution_share(step: Callable[[], None]) -> float:
    """Share of a step's time that is spent in convolutions; the rest is element-wise work and reductions."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step()
    events = record.key_averages()
    # Its backward includes the accumulation of the weights' gradients into float32.
    convolutions = sum(e.self_cpu_time_total for e in events if "convolution" in e.key)
    return convolutions / sum(e.self_cpu_time_total for e in events)


def training_speed(width: float = 1.0, seconds: float = 10.0, size: int = 32, batch: int = 32) -> dict[str, Any]:
    """Time the methods on one thread, in turns, so that other work on the machine meets all of them.

    Parameters
    ----------
    width
        Of the ResNet-18.
    seconds
        Least time for each method; at least three steps are timed.
    size
        Height and width of the images.
    batch
        Images in a step.

    Returns
    -------
    dict[str, Any]
        "width", "size", "batch", and by method "images_per_second" (of the median step), "cost" (time of a step
        relative to dense) and "convolution_share".
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = {method: _step(method, width, size, batch) for method in TIMED}
        shares = {method: _convolution_share(step) for method, step in steps.items()}  # warms up, too
        times: dict[str, list[float]] = {method: [] for method in TIMED}
        while min(map(len, times.values())) < 3 or min(map(sum, times.values())) < seconds:
            for method, step in steps.items():
                start = time.perf_counter()
                step()
                times[method].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    medians = {method: statistics.median(found) for method, found in times.items()}
    return {
        "width": width, "size": size, "batch": batch,
        "methods": {
            method: {
                "images_per_second": batch / median, "cost": median / medians["dense"],
                "convolution_share": shares[method],
            }
            for method, median in medians.items()
        },
    }  # fmt: skip
