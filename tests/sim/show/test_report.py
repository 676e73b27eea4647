"""The Markdown table of the layers."""

from sim.show.report import write_table


def report_of(name, decisions, dense, gated):
    return {
        "layer": name,
        "cycles": {"dense": dense, "gated": gated},
        "decisions_checked": decisions,
        "speedup": {"theoretical": 2.0, "realised": dense / gated, "ratio": dense / gated / 2},
        "efficiency": {"dense": 0.9991, "gated": 0.5},
        "sparsity": {"output": 0.75, "mac": 0.7},
    }


def test_table(tmp_path):
    reports = [
        report_of("conv1", 0, 1000, 1000),
        report_of("conv2_1", 64, 20_000, 10_000),
        report_of("all", 64, 21_000, 11_000),
    ]
    lines = write_table(reports, tmp_path).read_text().splitlines()
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| conv1 | 1,000 | 1,000 |  |  |  | 0.9991 | 0.5000 |  |"
    assert lines[3] == "| conv2_1 | 20,000 | 10,000 | 2.000 | 2.000 | 1.0000 | 0.9991 | 0.5000 | 0.750 |"
    assert lines[4].startswith("| **all** | 21,000 | 11,000 | 2.000 | 1.909 |")
