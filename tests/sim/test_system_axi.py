"""The whole engine's buses against the models of cocotbext-axi."""

import pickle

from cocotb_tools.runner import get_results

from sim import runner
from sim.cases import random_case
from sim.verilog_cache import cached_verilog
from tests.sim.one_layer import one_layer


def test_system_on_foreign_models(small_system, root, tmp_path):
    params = small_system.params
    programs = [one_layer(random_case(31, in_ch=16, out_ch=32, size=(3, 3)), params),
                one_layer(random_case(32, in_ch=16, size=(2, 2), classes=10), params)]
    (tmp_path / "programs").write_bytes(pickle.dumps(programs))
    verilog = cached_verilog("small", root / "build/verilog", top="system")
    folder, _ = runner.build_bench("system_bench", "system_bench", [root / "tests/sim/system_bench.sv", verilog], "",
                                   root / "build/verilator")
    log = tmp_path / "log"
    runner.execute(folder, "system_bench", "tests.sim.system_bench", tmp_path,
                   {"CDGATE_PROGRAMS": str(tmp_path / "programs")}, log)
    count, failed = get_results(tmp_path / "results.xml")
    assert count == 3 and not failed, log.read_text()[-5000:]
