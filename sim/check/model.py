"""How near the cycle model must come to what is counted, and with which memories it must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hw.interface.layouts import IdleCause
from sim.check.network import NetworkResult

__all__ = ["BOUNDS", "MARGIN", "WAIT_MARGIN", "bounds", "judge_model"]

#: Greatest difference to the counted cycles, as a share of these: of a layer, and of the network.
BOUNDS = {"layer": 0.02, "network": 0.01}

#: Cycles that it may be off at least, of however small a layer: what the last decisions of a pass take depends on
#: pixels that the model does not look at, see `gen.cost.cycle_model.END`; and weights come by a clock of their own, so
#: a short layer that waits for them makes up for what the one before was off.
MARGIN = 64

#: Cycles that its waits for weights may be off at least: such a wait may belong to the layer before or behind.
WAIT_MARGIN = 2048

#: Least bandwidth, in bytes a cycle, and greatest latency, in cycles, of a memory for which they hold. A slower one may
#: make a small layer wait for the one before; the sum is as near then.
BANDWIDTH, LATENCY = 8, 100


def bounds(settings: Mapping[str, int]) -> Mapping[str, float] | None:
    """Return `BOUNDS`, or None with a memory for which they do not hold.

    Parameters
    ----------
    settings
        "bandwidth", in bytes a cycle, and "latency", in cycles, of the memory.
    """
    return BOUNDS if settings["bandwidth"] >= BANDWIDTH and settings["latency"] <= LATENCY else None


def judge_model(
    result: NetworkResult,
    predicted: Mapping[str, int],
    waits: Mapping[str, int],
    settings: Mapping[str, int],
    mode: str,
) -> None:
    """Note in the verdicts of layers and network where the cycle model is farther off than it may be.

    Cycles are judged, and those in which the array waits for weights: no other check would notice an engine that gives
    its idle cycles another cause within a pass.

    Parameters
    ----------
    result
        What was counted.
    predicted, waits
        Cycles, and waits for weights, by layer.
    settings
        Of the memory, see `bounds`.
    mode
        The run's, for the message.
    """
    allowed = bounds(settings)
    if allowed is None:
        return
    weights = IdleCause.WEIGHTS.value
    for name, layer in result.layers.items():
        where, share = f"layer {name}, {mode}", allowed["layer"]
        layer.verdict.model += _broken(where, predicted[name], layer.cycles, share)
        layer.verdict.model += _lied(where, waits[name], layer.idle[weights], layer.cycles, share)
    where, share = f"network, {mode}", allowed["network"]
    total = sum(layer.cycles for layer in result.layers.values())
    result.verdict.model += _broken(where, sum(predicted.values()), total, share)
    counted = sum(layer.idle[weights] for layer in result.layers.values())
    result.verdict.model += _lied(where, sum(waits.values()), counted, total, share)


def _broken(where: str, predicted: int, counted: int, allowed: float) -> Iterator[str]:
    if abs(predicted - counted) > max(allowed * counted, MARGIN):
        yield f"{where}: {predicted} predicted cycles must be within {allowed:.0%} of the {counted} counted"


def _lied(where: str, predicted: int, counted: int, cycles: int, allowed: float) -> Iterator[str]:
    if abs(predicted - counted) > max(allowed * cycles, WAIT_MARGIN):
        yield (
            f"{where}: {predicted} predicted waits for weights must be within {allowed:.0%} of all cycles of the "
            f"{counted} counted"
        )
