"""What a host meets besides good runs, on the engine without a fault: every scenario that mutants have to pass."""

from hw.configurations import CONFIGS
from sim.run import system
from sim.run.verilog_cache import cached_verilog
from verification.mutation.attempts import attempts
from verification.mutation.networks import trial
from verification.scenarios.scenarios import run_scenarios
from verification.scenarios.short_program import beginning


def test_scenarios(root, tmp_path):
    simulator = system.build(cached_verilog("tiny", root / "build/verilog", top="system"), root / "build/verilator")
    program = beginning(trial("slices", CONFIGS["tiny"], "gated").planned)
    [attempt] = attempts(simulator, [0], run_scenarios, (program,), tmp_path)
    assert attempt.error is None
