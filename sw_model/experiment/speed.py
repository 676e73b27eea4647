"""How fast a training step is on this machine, eager and compiled, and whether it waits for the device."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch

from sw_model.data.dataset import DataSet
from sw_model.training.batches import TrainingData
from sw_model.training.modules import PhaseModule

__all__ = ["measure"]

#: Steps after the first, which compiles, that are not timed; and steps that are looked through for waits.
WARM_UP, LOOKED_AT = 3, 3


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    module: PhaseModule, data: DataSet, size: int, batch: int, device: torch.device, precision: str, seconds: float
) -> dict[str, Any]:
    """Time steps of a phase: augmentation, forward, backward and optimiser.

    Parameters
    ----------
    module
        The phase's module, whose network is trained by it.
    data
        The data set.
    size
        Height of the crops.
    batch
        Images in a step.
    device
        Where it runs.
    precision
        As the trainer has it.
    seconds
        Time in which the timed steps are to fit; at least two are timed.

    Returns
    -------
    dict[str, Any]
        "first_step_seconds", with compilation; "images_per_second" of all steps from the fifth on; "waits": how often
        three steps waited for the device, None where there is no GPU; "memory_mib" of the device.
    """
    module.to(device)
    source = TrainingData(data, contrastive=hasattr(module, "projector"), size=size, batch_size=batch, seed=0)
    source.lay(device)
    optimiser = module.configure_optimizers()
    for group in optimiser.param_groups:
        group["lr"] = 1e-4
    steps = iter(range(10**9))

    def step() -> None:
        images, labels, number = source.batch(next(steps))
        batch_here = source.augment((images.to(device), labels.to(device), number))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = module.training_step(batch_here, 0)
        assert isinstance(loss, torch.Tensor)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    begin = time.monotonic()
    step()
    _wait(device)
    first = time.monotonic() - begin
    for _ in range(WARM_UP):
        step()
    waits = None
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(LOOKED_AT):
                    step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits = sum("synchroniz" in str(warning.message) for warning in caught)
    _wait(device)
    begin, done = time.monotonic(), 0
    while done < 2 or (time.monotonic() - begin) * (done + 4) / done < seconds:
        for _ in range(1 if device.type == "cpu" else 4):
            step()
            done += 1
        _wait(device)
    now = time.monotonic() - begin
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {
        "first_step_seconds": round(first, 2),
        "images_per_second": round(done * batch / now, 1),
        "waits": waits,
        "memory_mib": memory and round(memory),
    }
