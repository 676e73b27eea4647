"""What is read from the tools' netlists and reports."""

from gen.fpga import reports
from tests.gen.fpga.tool_reports import hop


def test_cells_of_a_netlist():
    cells = {
        "a": {"type": "LUT4"},
        "b": {"type": "LUT4"},
        "c": {"type": "DP16KD"},
        "d": {"type": "$scopeinfo"},
        "e": {"type": "harness.core"},
    }
    assert reports.cells_of(
        {"modules": {"harness": {"cells": cells}, "other": {"cells": {"x": {"type": "LUT4"}}}}}, "harness"
    ) == {
        "DP16KD": 1,
        "LUT4": 2,
    }


def test_resources():
    assert reports.resources(
        {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "PFUMX": 5, "TRELLIS_FF": 7, "MULT18X18D": 4, "DP16KD": 6}
    ) == {"luts": 24, "ffs": 7, "dsps": 4, "brams": 6}


def test_critical_path_is_the_longest_between_registers():
    def path(start, end, *hops):
        return {"from": start, "to": end, "path": list(hops)}

    report = {
        "critical_paths": [
            path(
                "posedge clk",
                "posedge clk",
                hop("clk-to-q", 0.5, "q", [1, 1], [1, 1]),
                hop("routing", 2.0, "net", [1, 1], [9, 9]),
                hop("setup", 0.1, "d", [9, 9], [9, 9]),
            ),
            path("posedge clk", "posedge clk", hop("routing", 1.0, "short", [1, 1], [2, 1])),
            path("<async>", "posedge clk", hop("routing", 9.0, "pin", [1, 1], [9, 9])),
        ]
    }
    assert reports.critical_path(report) == [
        {"kind": "clk-to-q", "delay_ns": 0.5, "name": "q_to", "from": [1, 1], "to": [1, 1]},
        {"kind": "routing", "delay_ns": 2.0, "name": "net", "from": [1, 1], "to": [9, 9]},
        {"kind": "setup", "delay_ns": 0.1, "name": "d_to", "from": [9, 9], "to": [9, 9]},
    ]
