"""Small random networks that have all that the engine can do, and how they are run on mutants."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hw.params import HwParams
from sim.check.clock import Clock, run_timed
from sim.check.model import judge_model
from sim.check.network import compare_network
from sim.check.verdict import Verdict
from sim.plan.network import Plan
from sim.plan.network import plan as plan_network
from sim.plan.stress import stress_network
from sim.run.scenario import MARGIN, NetworkJob, NetworkRun
from sim.testbench.session import Session
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.random_network import random_network

__all__ = ["NETWORKS", "STRESS", "NetworkTrial", "SmallNetwork", "images", "made", "run_network", "trial"]

#: Cycles that a mutant may take: of those predicted, and more.
_SLOWER, _MORE = 3, 20_000


@dataclass(frozen=True, kw_only=True)
class SmallNetwork:
    """A random network and its images.

    Attributes
    ----------
    convolutions
        As `sw_model.quantisation.plan.resnet_plan` lists them.
    size
        Rows and columns of an image.
    images
        How many.
    options
        Of `random_network`.
    """

    convolutions: tuple[Mapping[str, Any], ...]
    size: tuple[int, int]
    images: int
    options: Mapping[str, Any]


def _conv(name: str, source: str, channels: tuple[int, int], **options: Any) -> dict[str, Any]:
    in_ch, out_ch = channels
    plain = {"kernel": 3, "stride": 1, "relu": True, "gated": False, "residual": None}
    return {"name": name, "input": source, "in_ch": in_ch, "out_ch": out_ch, **plain, **options}


#: Gated layers with decisions by slice, both residuals, stride 2, a 1x1 shortcut, average pooling.
_BLOCKS = (
    _conv("stem", "image", (3, 16)),
    _conv("gated", "stem", (16, 16), gated=True, residual="stem"),
    _conv("half", "gated", (16, 32), gated=True, stride=2),
    _conv("down", "gated", (16, 32), kernel=1, stride=2, relu=False),
    _conv("sum", "half", (32, 32), gated=True, residual="down"),
)

#: The same behind a layer whose chunks are no multiple of 4.
_THIN = (
    _conv("stem", "image", (3, 24)),
    _conv("thin", "stem", (24, 16), gated=True),
    *({**conv, "input": "thin", "residual": "thin"} if conv["name"] == "gated" else conv for conv in _BLOCKS[1:]),
)

#: The same from one to 64 chunks, on another map: rings and queues go round.
_WIDE = (
    _conv("stem", "image", (3, 8), stride=2),
    _conv("gated", "stem", (8, 64), gated=True, stride=2),
    _conv("down", "stem", (8, 64), kernel=1, stride=2, relu=False),
    _conv("sum", "gated", (64, 64), gated=True, residual="down"),
    _conv("last", "sum", (64, 128), gated=True, stride=2),
)

#: Jobs of few steps, of which many are on their way at once, behind one of many chunks; logits of many classes.
_SHORT = (
    _conv("stem", "image", (3, 64)),
    _conv("spread", "stem", (64, 128), kernel=1),
    _conv("deep", "spread", (128, 64), kernel=1, gated=True),
    _conv("short", "deep", (64, 64), kernel=1, gated=True),
    _conv("last", "short", (64, 64), kernel=1, gated=True, residual="deep"),
)

#: On a map that fills most of a bank.
_LARGE = (
    _conv("stem", "image", (3, 16)),
    _conv("half", "stem", (16, 16), stride=2),
    _conv("gated", "half", (16, 16), gated=True, stride=2),
)


def _pool(name: str, source: str, window: int, stride: int, pad: int) -> dict[str, Any]:
    return {"name": name, "input": source, "window": window, "stride": stride, "pad": pad}


#: Max-pooling with every window, stride and padding; of a map with a sign, too, which is added behind.
_POOLS = (
    _conv("stem", "image", (3, 16)),
    _pool("pool21", "stem", 2, 1, 1),
    _pool("pool32", "pool21", 3, 2, 1),
    _conv("gated", "pool32", (16, 16), gated=True),
    _conv("down", "pool32", (16, 16), kernel=1, relu=False),
    _pool("pool31", "down", 3, 1, 1),
    _conv("sum", "gated", (16, 16), gated=True, residual="pool31"),
    _pool("pool22", "sum", 2, 2, 0),
)

#: A gated layer with a residual, whole, and what it needs before and behind.
_LAYER = (
    _conv("stem", "image", (3, 32)),
    _conv("gated", "stem", (32, 32), gated=True, residual="stem"),
    _pool("pool", "gated", 2, 2, 0),
)

#: Names of the networks that `sim.plan.stress` makes, with those that they are like.
STRESS = {"stress": "slices", "stress channels": "channels"}

#: Options of the network of short jobs.
_OPTIONS = {"groups": 8, "seed": 6, "classes": 100}

#: The others by name.
NETWORKS: Mapping[str, SmallNetwork] = {
    "slices": SmallNetwork(convolutions=_BLOCKS, size=(6, 6), images=2, options={"groups": 2, "seed": 1}),
    "channels": SmallNetwork(
        convolutions=_THIN, size=(5, 8), images=3, options={"groups": 2, "seed": 2, "slice_size": 1, "branch": 2}
    ),
    "wide": SmallNetwork(convolutions=_WIDE, size=(12, 8), images=2, options={"groups": 4, "seed": 3, "classes": 100}),
    "pools": SmallNetwork(convolutions=_POOLS, size=(7, 8), images=2, options={"groups": 2, "seed": 5}),
    "short": SmallNetwork(convolutions=_SHORT, size=(4, 4), images=3, options=_OPTIONS),
    "short channels": SmallNetwork(
        convolutions=_SHORT, size=(4, 4), images=2, options={**_OPTIONS, "slice_size": 1, "branch": 2}
    ),
    "large": SmallNetwork(convolutions=_LARGE, size=(18, 32), images=1, options={"groups": 2, "seed": 4}),
    "layer": SmallNetwork(convolutions=_LAYER, size=(16, 16), images=1, options={"groups": 4, "seed": 9}),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkTrial:
    """A run of a network in one mode with one kind of memory.

    Attributes
    ----------
    name
        Of the trial.
    mode
        "gated", "dense" or "base".
    planned
        The network, compiled, with what must come.
    settings
        Of the memory, see `sim.testbench.session.SETTINGS`.
    modelled
        Whether the cycle model must be near: not with a memory that rests at random, nor of the stress network.
    """

    name: str
    mode: str
    planned: Plan
    settings: Mapping[str, int]
    modelled: bool

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Of `run_network`, after session and folder."""
        limit = _SLOWER * self.planned.prediction.cycles + _MORE
        return dataclasses.replace(self.planned.job, cycle_limit=limit), dict(self.settings)

    def judge(self, value: tuple[NetworkRun, Clock]) -> Verdict:
        """Compare a run as `sim.check.execution.execute_network` does, and remove its files."""
        run, clock = value
        one = self.planned
        result = compare_network(one.program, one.job, run, one.golden, one.counts, clock=clock)
        if self.modelled:
            judge_model(result, one.prediction.layers(), one.prediction.waits(), self.settings, self.mode)
        shutil.rmtree(run.memory.parent)
        return result.total()


def images(count: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Return random images with smooth parts and sharp edges, (count, rows, columns, 3) uint8."""
    rng = np.random.default_rng(seed)
    rows, cols = size
    coarse = rng.integers(0, 256, (count, -(-rows // 4), -(-cols // 4), 3))
    smooth = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :rows, :cols]
    return np.clip(smooth + rng.integers(-60, 61, smooth.shape), 0, 255).astype(np.uint8)


def made(small: SmallNetwork) -> tuple[IntNetwork, np.ndarray]:
    """Return a small network and the images that it is run on."""
    seed = small.options["seed"]
    network = random_network(
        plan=[dict(conv) for conv in small.convolutions], images=images(4, small.size, 100 + seed), **small.options
    )
    return network, images(small.images, small.size, seed)


def trial(
    name: str, params: HwParams, mode: str, *, bandwidth: int = 8, latency: int = 40, **settings: int
) -> NetworkTrial:
    """Return the run of one of `NETWORKS`.

    Parameters
    ----------
    name
        Of the network; or one of `STRESS`, as are run in front of every network.
    params
        The engine.
    mode
        "gated", "dense" or "base".
    bandwidth, latency, settings
        Of the memory.
    """
    network, pixels = made(NETWORKS[STRESS.get(name, name)])
    if name in STRESS:
        network, pixels = stress_network(params, network)
    planned = plan_network(network, params, pixels, mode, bandwidth, latency)
    told = {key: value for key, value in settings.items() if value}
    return NetworkTrial(
        name=" ".join([name, mode, *(f"{key}={value}" for key, value in told.items())]),
        mode=mode,
        planned=planned,
        modelled=name not in STRESS and not settings,
        settings={"bandwidth": bandwidth, "latency": latency, "stall": 0, "extra": 0, "seed": 0, **settings},
    )


def run_network(
    session: Session, folder: Path, job: NetworkJob, settings: Mapping[str, int]
) -> tuple[NetworkRun, Clock]:
    """Run a network in memory that is otherwise empty, and keep its files in a folder of its own."""
    session.memory_write(0, bytes(-(-(job.size + MARGIN) // session.axi_bytes) * session.axi_bytes))
    [(run, clock)] = run_timed(session, [job], settings)
    memory, trace = folder / run.memory.name, folder / run.trace.name
    run.memory.rename(memory)
    for suffix in (".trace", ".masks", ".passes"):
        run.trace.with_suffix(suffix).rename(trace.with_suffix(suffix))
    return dataclasses.replace(run, memory=memory, trace=trace), clock
