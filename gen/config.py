"""Named configurations of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gen.cli import UserError
from hw.params import HwParams

__all__ = ["CONFIGS", "DEFAULT", "config"]

#: The configurations by name. Neither the table nor a configuration can be changed.
CONFIGS: Mapping[str, HwParams] = MappingProxyType({
    # 8 x 16 multipliers for an ECP5-85F; banks of 64 KiB hold every map of a CIFAR ResNet-18.
    "full": HwParams(in_par=16, rq_lanes=4, bank_words=4096, ring_entries=1024, psum_slots=16),
    # 8 x 4 multipliers and banks of 16 KiB: quick to simulate, quick to place and route.
    "small": HwParams(in_par=4, rq_lanes=1, bank_words=4096, ring_entries=1024, psum_slots=16),
})

#: Name of the configuration that is used where none is named.
DEFAULT = "full"


def config(name: str) -> HwParams:
    """Return the configuration called `name`.

    Raises:
        UserError: if there is none; the message lists the names.
    """
    try:
        return CONFIGS[name]
    except KeyError:
        raise UserError(f"configuration must be one of {', '.join(CONFIGS)}, not {name!r}") from None
