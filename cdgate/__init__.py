"""CDGate for Python: load a gated network, compile it, simulate it on the generated Verilog, write that Verilog.

    import cdgate

    net = cdgate.load()                                  # the shipped network, or a path
    images = cdgate.photographs(4)                       # or any (N, rows, columns, 3) uint8 array
    engine = cdgate.Engine("full")                       # or Engine("own.toml"), Engine(cdgate.HwParams(in_par=8, ...))
    engine.compile(net, images).layers()                 # tiles, bytes, predicted cycles: a list that prints as a table
    layer = engine.run_layer(net, "conv3_2", images)     # Verilog, Verilator, comparison
    layer.bit_exact, layer.speedup.realised, layer.mask(0)
    run = engine.run(net, images, bandwidth=8)           # the whole network through AXI
    run.logits, run.report
    engine.verilog("out/")
    cdgate.build_named("lenet5")                         # an untrained network of another shape

Everything is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen.cost.compilation import Compilation
    from hw.configurations import CONFIGS
    from hw.params import HwParams
    from sim.engine import Engine
    from sim.show.results import SimulatedLayer, SimulatedNetwork, Speedup
    from sw_model.data.photographs import load_image, photographs
    from sw_model.integer.checkpoint import load
    from sw_model.integer.network import IntNetwork
    from sw_model.quantisation.named_networks import build_named

__all__ = [
    "CONFIGS",
    "Compilation",
    "Engine",
    "HwParams",
    "IntNetwork",
    "SimulatedLayer",
    "SimulatedNetwork",
    "Speedup",
    "build_named",
    "load",
    "load_image",
    "photographs",
]

#: Where each name is.
_HOMES = {
    "CONFIGS": "hw.configurations",
    "Compilation": "gen.cost.compilation",
    "Engine": "sim.engine",
    "HwParams": "hw.params",
    "IntNetwork": "sw_model.integer.network",
    "SimulatedLayer": "sim.show.results",
    "SimulatedNetwork": "sim.show.results",
    "Speedup": "sim.show.results",
    "build_named": "sw_model.quantisation.named_networks",
    "load": "sw_model.integer.checkpoint",
    "load_image": "sw_model.data.photographs",
    "photographs": "sw_model.data.photographs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cdgate.packages import check

    check()
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
