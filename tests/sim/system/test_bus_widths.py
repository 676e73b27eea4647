"""The whole engine at each width of the bus, wider and narrower than a word of a bank."""

import dataclasses
import json

import pytest

from gen import verilog
from hw.configurations import CONFIGS
from hw.system import System
from sim.plan.cases import random_case
from sim.run import system
from tests.sim.system import system_scenarios as scenarios
from verification.networks.one_layer import one_layer


@pytest.mark.slow
@pytest.mark.parametrize("name, bits", [("small", 128), ("full", 32), ("full", 128), ("tiny", 64)])
def test_bus_width(name, bits, root, tmp_path):
    params = dataclasses.replace(CONFIGS[name], axi_bits=bits)
    component, top = System(params), f"cdgate_{name}_{bits}"
    path = tmp_path / f"{top}.v"
    path.write_text(verilog.to_verilog(component, top))
    description = verilog.describe(component, params, name, path.read_text())
    path.with_suffix(".json").write_text(json.dumps({**description, "top": top}))
    simulator = system.build(path, root / "build/verilator")

    groups = 2 if params.in_par > 8 else 4
    programs = [
        one_layer(random_case(seed, groups=groups, **options), params, mode)
        for seed, mode, options in (
            (1, "gated", dict(in_ch=32, out_ch=32, size=(4, 6), stride=2)),
            (2, "gated", dict(in_ch=32, out_ch=32, size=(5, 5), residual="unsigned", images=2)),
            (3, "base", dict(in_ch=32, out_ch=32, size=(3, 3), residual="signed")),
            (5, "gated", dict(in_ch=48, size=(4, 4), classes=10, images=3)),
        )
    ]
    settings = [{}, {"bandwidth": 1}, {"bandwidth": 0}, {"stall": 100, "extra": 60, "lite_gap": 9, "seed": 1}]
    simulator.run(scenarios.bit_exact, (programs, settings), tmp_path / "exact")
    single = one_layer(random_case(13, in_ch=32, out_ch=32, groups=groups, size=(4, 4)), params)
    simulator.run(scenarios.bus_errors, (single,), tmp_path / "errors")
