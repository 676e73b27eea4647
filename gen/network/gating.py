"""Networks with gates on engines that are generated without gating."""

from __future__ import annotations

from typing import TypeVar

from cdgate.errors import UserError
from cdgate.modes import GateMode
from gen.layer.protocol import Network
from hw.params import HwParams

__all__ = ["for_engine"]


_Network = TypeVar("_Network", bound=Network)


def for_engine(network: _Network, params: HwParams, mode: str = GateMode.GATED) -> _Network:
    """Return a network as an engine can run it: itself, or without its gates where the engine has no gating.

    Parameters
    ----------
    network
        An `sw_model.integer.network.IntNetwork`.
    params
        The engine.
    mode
        One of `cdgate.modes.GateMode`.

    Raises
    ------
    UserError
        If the mode asks an engine without gating to leave something out.
    """
    if params.gating:
        return network
    if mode not in (GateMode.GATED, GateMode.DENSE):
        raise UserError(f"mode must be gated or dense, which are the same without gating (gating = false), not {mode}")
    return network.ungated()
