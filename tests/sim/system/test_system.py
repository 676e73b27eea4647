"""The whole engine with programs of one layer: bit-exact whatever the bus does, and stopped where something fails."""

import dataclasses

import pytest

from gen.layer.compiler import compile_layer
from hw.interface.instructions import Opcode
from sim.plan.cases import random_case
from sim.run import build
from tests.sim.system import system_scenarios as scenarios
from verification.networks.one_layer import instruction, one_layer


@pytest.fixture(scope="module")
def case():
    """A small gated layer with a residual."""
    return random_case(11, in_ch=32, out_ch=32, size=(5, 4), residual="unsigned", images=2)


@pytest.fixture(scope="module")
def program(case, small_system):
    return one_layer(case, small_system.params)


def test_bit_exact_whatever_the_bus_does(small_system, program, tmp_path):
    params = small_system.params
    programs = [
        program,
        *(
            one_layer(random_case(seed, **options), params, mode)
            for seed, mode, options in (
                (1, "gated", dict(in_ch=64, out_ch=32, size=(4, 6), stride=2)),
                (2, "dense", dict(in_ch=16, out_ch=32, size=(3, 3), residual="signed")),
                (3, "base", dict(in_ch=32, out_ch=32, size=(3, 3))),
                (4, "gated", dict(in_ch=40, out_ch=16, size=(3, 5), groups=1, kernel=1)),
                (5, "gated", dict(in_ch=48, size=(4, 4), classes=10, images=3)),
            )
        ),
    ]
    settings = [
        {},
        {"bandwidth": 1},
        {"bandwidth": 0},
        {"stall": 100, "extra": 60, "lite_gap": 9, "seed": 1},
        *({name: 240} for name in ("stall_ar", "stall_r", "stall_aw", "stall_w", "stall_b")),
    ]
    found, report = small_system.simulator.run(scenarios.bit_exact, (programs, settings), tmp_path / "run")
    assert report["most_reads"] <= 8 and report["most_writes"] <= 8
    for counters, slow in zip(found[0], found[1], strict=True):
        assert counters["decisions"] == slow["decisions"] and counters["cycles"] < slow["cycles"]


def test_bad_instructions(small_system, tmp_path):
    # No residual, so that parameters are the second instruction.
    single = random_case(12, in_ch=16, out_ch=32, size=(3, 3))
    layer = compile_layer(single.layer, single.ifmap, None, small_system.params, "gated").registers
    good = one_layer(single, small_system.params)
    small_system.simulator.run(scenarios.bad_instructions, (good, layer, small_system.params), tmp_path / "run")


def test_errors_of_the_bus(small_system, tmp_path):
    good = one_layer(random_case(13, in_ch=32, out_ch=32, size=(4, 4)), small_system.params)
    small_system.simulator.run(scenarios.bus_errors, (good,), tmp_path / "run")


def test_watchdog(small_system, tmp_path):
    good = one_layer(random_case(14, in_ch=32, out_ch=32, size=(4, 4)), small_system.params)
    starved = dataclasses.replace(
        good,
        instructions=[
            *good.instructions[:-1],
            instruction(Opcode.STORE_MAP, take=["load"], address=good.address, count=1),
        ],
    )
    small_system.simulator.run(scenarios.watchdog, (good, starved), tmp_path / "run")


def test_refused_starts_and_resets(small_system, program, tmp_path):
    small_system.simulator.run(scenarios.refusals, (program,), tmp_path / "run")


def test_simulator_that_ends_early(small_system, tmp_path):
    with pytest.raises(build.SimulationError, match="simulator failed, see .*simulator.log$"):
        small_system.simulator.run(scenarios.beyond_the_memory, (), tmp_path / "run")
