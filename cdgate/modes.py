"""The gate modes by name: what decides whether a conditional path is computed."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["DECIDING", "GOLDEN_MODES", "NETWORK_MODES", "PURE_MODES", "GateMode"]


class GateMode(StrEnum):
    """What decides; the engine's `hw.interface.layouts.GateMode` has the same names in the same order."""

    #: The saliency of each slice, or of each channel where the network decides by channel.
    GATED = "gated"
    #: Nothing: every conditional path is computed.
    DENSE = "dense"
    #: Nothing: no conditional path is computed.
    BASE = "base"
    #: Each channel's base psum, whatever the network was made for.
    CHANNEL = "channel"
    #: Masks that are given.
    FORCED = "forced"


#: Modes in which decisions are made, by whomever.
DECIDING = (GateMode.GATED, GateMode.CHANNEL, GateMode.FORCED)

#: Modes in which a whole network can be compiled: all but the one that needs masks.
NETWORK_MODES = (GateMode.GATED, GateMode.CHANNEL, GateMode.DENSE, GateMode.BASE)

#: Modes of the golden model and of a compiled layer, whose own slice_size says whether slices or channels decide.
GOLDEN_MODES = (GateMode.GATED, GateMode.DENSE, GateMode.BASE, GateMode.FORCED)

#: Modes in which a network is evaluated: with its own decisions, without conditional paths, with all of them.
PURE_MODES = (GateMode.GATED, GateMode.BASE, GateMode.DENSE)
