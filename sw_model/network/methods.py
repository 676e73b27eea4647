"""The methods of the paper's poster, each a configuration of the same network and engine."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: what tables call it, and the arguments of `sw_model.network.resnet.ResNet` that make it."""

    title: str
    network: dict[str, Any] = field(default_factory=dict)


def _cdg(overlap: int) -> Method:
    return Method(title=f"CDG, overlap {overlap} %", network={"granularity": "channel", "overlap": overlap})


#: By the name that commands know them by. CGNet's two branches have the same base path: it is CDG at 100 % overlap.
METHODS = {
    "dense": Method(title="dense SimCLR", network={"granularity": "dense"}),
    "cdg0": _cdg(0),
    "cdg50": _cdg(50),
    "cdg75": _cdg(75),
    "cdg100": _cdg(100),
    "cgnet": Method(title="CGNet", network=_cdg(100).network),
    "scdg": Method(title="SCDG", network={"granularity": "slice", "overlap": 0}),
    "fbs": Method(title="FBS", network={"granularity": "fbs"}),
    "dgc": Method(title="DGC", network={"granularity": "dgc"}),
}
