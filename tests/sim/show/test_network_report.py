"""Report, table and chart of a whole network, from made-up results."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cdgate.cli import WIDTH
from cdgate.errors import UserError
from hw.interface.layouts import IdleCause
from hw.interface.registers import COUNTERS
from hw.params import HwParams
from sim.check.layer import ModeResult
from sim.check.network import NetworkResult
from sim.check.verdict import Mismatch, Verdict
from sim.show.network_pictures import draw_network, network_chart
from sim.show.network_report import network_report
from sim.show.tables import in_words, print_network
from sw_model.integer.steps import LayerCount

PARAMS = HwParams()
FACTS = {
    "command": "python -m sim.network",
    "config": "full",
    "images": 2,
    "image_names": ["left", "right"],
    "batch": 2,
    "checkpoint_sha256": "0",
    "network": None,
    "verilog_sha256": "0",
    "tools": {},
    "wall_seconds": {},
}
IDLE = {cause: n for n, cause in enumerate(IdleCause)}
TRAFFIC = {"weights_read": 4000, "parameters_read": 0, "maps_read": 800, "maps_written": 0, "logits_written": 0}


def result(base, conditional, decisions, idle=IDLE, dense=2000):
    count = LayerCount(
        name="",
        nominal_macs=200_000,
        dense=dense,
        base=base,
        conditional=conditional,
        skipped=dense - base - conditional,
        lane_steps=8 * conditional,
        decisions=decisions,
        fired=decisions // 2,
        conditional_work=8 * (dense - base),
    )
    return ModeResult(
        cycles=base + conditional + sum(idle.values()),
        base_steps=base,
        cond_steps=conditional,
        decided=decisions,
        fired=decisions // 2,
        idle=[idle[cause] for cause in IdleCause],
        count=count,
        verdict=Verdict(outputs_checked=100, decisions_checked=decisions, nonzero=50),
    )


def run_of(mode, **layers):
    counters = {name: 100 + n for n, (name, _) in enumerate(COUNTERS)}
    report = {"AR_PAGE": 0, "read_bursts": 5, "write_bursts": 2, "most_reads": 8, "most_writes": 1, "unknown_reads": 0}
    return NetworkResult(
        layers=layers, verdict=Verdict(), logits=np.eye(10, dtype=np.int64)[[3, 1]], counters=counters, report=report
    )


def results():
    return {
        "gated": run_of("gated", conv1=result(2000, 0, 0), conv2_1=result(500, 700, 64)),
        "dense": run_of("dense", conv1=result(2000, 0, 0), conv2_1=result(500, 1500, 0)),
    }


def report_of(found, bandwidth=8):
    modes = list(found)
    return network_report(
        found,
        {mode: {"conv1": TRAFFIC, "conv2_1": TRAFFIC} for mode in modes},
        {mode: {"conv1": 2200, "conv2_1": 1400} for mode in modes},
        PARAMS,
        ["conv2_1"],
        {"bandwidth": bandwidth, "latency": 40},
        FACTS,
        [
            {"image": "left", "class": "cat", "reference": "cat", "label": "dog"},
            {"image": "right", "class": "ship", "reference": "ship", "label": None},
        ],
    )


def printed(report, verdict=None):
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    print_network(report, verdict or Verdict(), console)
    return console.file.getvalue()


def rows(text, name):
    """Return the rows of a layer, one in each table."""
    return [line for line in text.splitlines() if line.split()[:1] == [name]]


def test_sums():
    report = report_of(results())
    idle = sum(IDLE.values())
    assert report["cycles"] == {"dense": 4000 + 2 * idle, "gated": 3200 + 2 * idle}
    assert report["gated_layers"]["cycles"] == {"dense": 2000 + idle, "gated": 1200 + idle}
    assert report["speedup"]["theoretical"] == 4000 / 3200
    assert report["gated_layers"]["speedup"]["theoretical"] == 2000 / 1200
    assert report["predicted_cycles"] == {"gated": 3600, "dense": 3600} and report["logits_checked"] == 40
    assert report["nominal_macs_per_mac_and_cycle"]["dense"] == 400_000 / (128 * (4000 + 2 * idle))
    bus = report["memory"]["gated"]
    assert bus["bytes_read"] == sum(bus[f"{name}_read"] for name in ("weights", "parameters", "maps", "instructions"))
    assert [layer["layer"] for layer in report["layers"]] == ["conv1", "conv2_1"]
    assert report["bus"]["gated"]["violations"] == {}


def test_wall():
    share = {bandwidth: report_of(results(), bandwidth)["layers"][1]["memory"]["gated"] for bandwidth in (1, 4, 8)}
    assert {bandwidth: one["bandwidth_cycles"] for bandwidth, one in share.items()} == {1: 4800, 4: 1200, 8: 600}
    assert {bandwidth: one["bandwidth_bound"] for bandwidth, one in share.items()} == {1: True, 4: True, 8: False}
    assert " memory  " in rows(printed(report_of(results(), 2)), "conv2_1")[1]
    assert " memory (gated) " in rows(printed(report_of(results(), 4)), "conv2_1")[1]
    assert " steps " in rows(printed(report_of(results(), 8)), "conv2_1")[1]


def test_wait_that_is_not_for_the_layers_own_bytes():
    found = results()
    found["gated"].layers["conv2_1"] = result(500, 700, 64, IDLE | {IdleCause.INPUT: 900})
    assert " waits for input (gated) " in printed(report_of(found))


def test_pooling_is_no_wait():
    found = {mode: run_of(mode, pool1=result(0, 0, 0, IDLE | {IdleCause.POOL: 900}, dense=0)) for mode in results()}
    for bandwidth, wall in ((8, "pool"), (1, "memory")):
        report = network_report(
            found,
            {mode: {"pool1": TRAFFIC} for mode in found},
            {mode: {"pool1": 1} for mode in found},
            PARAMS,
            [],
            {"bandwidth": bandwidth, "latency": 40},
            FACTS,
            [],
        )
        assert rows(printed(report), "pool1")[1].split()[1] == wall
        assert report["layers"][0]["efficiency"] == {"dense": 0.0, "gated": 0.0}
        assert rows(printed(report), "pool1")[0].count("0.0000") == 0  # no efficiency of what has no steps


def test_table():
    text = printed(report_of(results()))
    assert "memory of 8 bytes a cycle, latency 40 cycles" in text and "conv2_1" in text and "network" in text
    assert "left: cat, is dog" in text and "right: ship\n" in text
    verdict = Verdict(mismatches=3, first=[Mismatch("logit", "fc", 1, 0, 0, 2, 5, 4, None)], broken=["something"])
    text = printed(report_of(results()), verdict)
    assert "logit mismatch: layer fc, image 1" in text and "3 mismatches, 1 of them shown" in text
    assert "broken law: something" in text


def test_every_row_is_readable_in_80_columns():
    """With the greatest figures that the shipped network has; nothing is cut."""
    report = report_of(results())
    for part in (report, *report["layers"]):
        part["cycles"] = {"dense": 30_220_651, "gated": 15_666_178}
        part["speedup"] = {"theoretical": 3.999, "realised": 3.999, "ratio": 1.0013}
        part["mismatches"], part["outputs_checked"], part["decisions_checked"] = 9_999_999, 19_660_800, 1_491_520
        part["runs"]["gated"]["idle"] |= {"decision": 7_000_000}
    lines = printed(report).splitlines()
    assert "…" not in "".join(lines)
    names = (["layer"], ["conv1"], ["conv2_1"], ["network"])
    assert all(len(line) <= WIDTH for line in lines if line.split()[:1] in names)


def test_in_words():
    told = in_words(report_of(results()))
    assert told.startswith("network: 1.247x as fast gated as dense, 1.250x in theory; ") and told.endswith(
        ", all equal"
    )


def test_gated_run_alone():
    report = report_of({"gated": results()["gated"]})
    assert set(report["cycles"]) == set(report["runs"]) == {"gated"} and set(report["speedup"]) == {"theoretical"}
    text = printed(report)
    assert "realised" not in text and "dense" not in rows(text, "layer")[0]
    assert "dense" not in network_chart(report).get_suptitle()


def test_violations_are_in_the_report():
    found = results()
    found["gated"] = replace(found["gated"], report={**found["gated"].report, "AR_PAGE": 2})
    assert report_of(found)["bus"]["gated"]["violations"] == {"AR_PAGE": 2}


def test_bars_add_up_to_the_cycles():
    report = report_of(results())
    upper, lower = network_chart(report).axes
    outlines = [bar.get_height() for bar in upper.patches if bar.get_facecolor()[3] == 0]
    expected = [layer["runs"][mode]["cycles"] / 2 / 1000 for mode in ("dense", "gated") for layer in report["layers"]]
    assert np.allclose(outlines, expected)
    shares = [bar.get_height() for bar in lower.patches if bar.get_facecolor()[3] == 0]
    assert np.allclose(
        shares,
        [
            100 * sum(layer["runs"][mode]["idle"].values()) / layer["runs"][mode]["cycles"]
            for mode in ("dense", "gated")
            for layer in report["layers"]
        ],
    )


def test_causes_differ_in_grey():
    upper, _ = network_chart(report_of(results())).axes
    looks = {
        (round(float(np.dot(patch.get_facecolor()[:3], (0.3, 0.59, 0.11))), 1), patch.get_hatch())
        for patch in upper.get_legend().get_patches()
    }
    assert len(looks) == 2 + len(IdleCause)


def test_no_text_overlaps():
    layers = {f"conv{n}_1": result(500, 700, 64) for n in range(21)}
    found = {mode: run_of(mode, **layers) for mode in ("gated", "dense")}
    report = network_report(
        found,
        {mode: dict.fromkeys(layers, TRAFFIC) for mode in found},
        {mode: dict.fromkeys(layers, 1) for mode in found},
        PARAMS,
        ["conv0_1"],
        {"bandwidth": 8, "latency": 40},
        FACTS,
        [],
    )
    figure = network_chart(report)
    figure.draw_without_rendering()
    boxes = [figure._suptitle.get_window_extent(), figure.axes[0].get_legend().get_window_extent()]
    assert not boxes[0].overlaps(boxes[1]) and all(0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    names = [text.get_window_extent() for text in figure.axes[1].get_xticklabels()]
    assert len(names) == 21


def test_files(tmp_path):
    path = draw_network(report_of(results()), tmp_path)
    with Image.open(path) as picture:
        assert path.name == "cycles.png" and picture.format == "PNG" and picture.width > 500
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cycles.png cannot be written"):
        draw_network(report_of(results()), tmp_path / "file")
