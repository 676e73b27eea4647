"""Memory model and checker of the bus, against an independent master and with every rule broken once."""

from cocotb_tools.runner import get_results

from sim.run import build


def test_memory_and_checker(root, tmp_path):
    sources = [
        root / name
        for name in ("sim/testbench/axi_memory.sv", "sim/testbench/axi_checker.sv", "tests/sim/testbench/axi_bench.sv")
    ]
    folder, _ = build.build_bench("axi_bench", "axi_bench", sources, "", root / "build/verilator")
    log = tmp_path / "log"
    build.run_bench(folder, "axi_bench", "tests.sim.testbench.axi_bench", tmp_path, {"CDGATE_WORK": str(tmp_path)}, log)
    count, failed = get_results(tmp_path / "results.xml")
    assert count == 9 and not failed, log.read_text()[-5000:]
