"""The whole engine's buses against the models of cocotbext-axi."""

import pickle

from cocotb_tools.runner import get_results

from sim.plan.cases import random_case
from sim.run import build
from sim.run.verilog_cache import cached_verilog
from verification.networks.one_layer import one_layer


def test_system_on_foreign_models(small_system, root, tmp_path):
    params = small_system.params
    programs = [
        one_layer(random_case(31, in_ch=16, out_ch=32, size=(3, 3)), params),
        one_layer(random_case(32, in_ch=16, size=(2, 2), classes=10), params),
    ]
    (tmp_path / "programs").write_bytes(pickle.dumps(programs))
    verilog = cached_verilog("small", root / "build/verilog", top="system")
    folder, _ = build.build_bench(
        "system_bench",
        "system_bench",
        [root / "tests/sim/system/system_bench.sv", verilog],
        "",
        root / "build/verilator",
    )
    log = tmp_path / "log"
    build.run_bench(
        folder,
        "system_bench",
        "tests.sim.system.system_bench",
        tmp_path,
        {"CDGATE_PROGRAMS": str(tmp_path / "programs")},
        log,
    )
    count, failed = get_results(tmp_path / "results.xml")
    assert count == 3 and not failed, log.read_text()[-5000:]
