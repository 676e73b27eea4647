"""What is run of a whole network: its program, the golden result, the predicted cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdgate.errors import UserError
from cdgate.modes import GateMode
from gen.cost.cycle_model import predict
from gen.cost.prediction import Prediction
from gen.cost.steps import slice_steps
from gen.host.driver import loaded
from gen.network.compiler import compile_network
from gen.network.program import NetworkProgram
from hw.params import HwParams
from sim.run import system
from sim.run.scenario import MARGIN, NetworkJob
from sw_model.integer.network import IntNetwork, Result
from sw_model.integer.steps import LayerCount, count_network

__all__ = ["Plan", "RUNS", "plan"]

#: What can be run: the modes side by side.
RUNS = {"both": (GateMode.GATED, GateMode.DENSE), "gated": (GateMode.GATED,)}


@dataclass(frozen=True, eq=False)
class Plan:
    """A network compiled in one mode, what is run, what must come of it, and how long it should take."""

    program: NetworkProgram
    job: NetworkJob
    golden: Result
    counts: Mapping[str, LayerCount]
    prediction: Prediction


def plan(
    network: IntNetwork, params: HwParams, images: np.ndarray, mode: str, bandwidth: int = 8, latency: int = 40
) -> Plan:
    """Compile a network and compute what it must do.

    Parameters
    ----------
    network
        The golden model.
    params
        The engine.
    images
        (N, H, W, 3) uint8.
    mode
        "gated", "dense" or "base".
    bandwidth, latency
        Of the memory: for the prediction of the cycles.

    Raises
    ------
    cdgate.errors.CompileError
        If the network cannot be mapped to the engine.
    UserError
        If it does not fit the simulated memory.
    """
    size = (images.shape[1], images.shape[2])
    program = compile_network(network, params, len(images), size, mode)
    room = 1 << system.MEMORY_LOG2
    if program.image.size + MARGIN > room:
        raise UserError(
            f"network must fit the simulated memory of {room - MARGIN} bytes, not take {program.image.size}"
        )
    golden = network.run(images, mode)
    counts = {
        count.name: count
        for count in count_network(
            network, len(images), params.in_par, golden if mode != GateMode.DENSE else None, size
        )
    }
    decisions = {name: tap.decision.numpy() for name, tap in golden.taps.items() if tap.decision is not None}
    prediction = predict(
        program, slice_steps(program, decisions if mode != GateMode.DENSE else None), bandwidth, latency
    )
    job = NetworkJob(
        network=loaded(program),
        images=program.pack_images(images),
        size=program.image.size,
        cycle_limit=200_000 + 4 * prediction.cycles,
    )
    return Plan(program, job, golden, counts, prediction)
