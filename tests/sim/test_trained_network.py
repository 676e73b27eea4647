"""The trained network whole on the default configuration: the figures that it must reach."""

import json

import pytest

from sim import network
from sim.check.model import BOUNDS

IMAGES = 8


def simulated(folder, *options):
    assert network.main(["-o", str(folder), *options]) == 0
    return json.loads((folder / "network/report.json").read_text())


@pytest.mark.slow
def test_clock_sees_what_the_masks_save(monkeypatch, root, tmp_path):
    """Eight images at 8 bytes a cycle: speed-up, efficiency, traffic, and the cycle model."""
    monkeypatch.chdir(root)
    report = simulated(tmp_path, "--images", str(IMAGES))
    assert report["bit_exact"] and report["laws_hold"] and report["logits_checked"] == 2 * 10 * IMAGES
    assert report["speedup"]["ratio"] >= 0.97 and report["gated_layers"]["speedup"]["ratio"] >= 0.97
    assert min(report["efficiency"].values()) >= 0.95
    gated = [layer for layer in report["layers"] if layer["decisions_checked"]]
    assert len(gated) == 16
    for layer in gated:
        bound = layer["memory"]["gated"]["bandwidth_bound"]
        assert layer["speedup"]["ratio"] >= 0.94 or bound, layer["layer"]
    assert report["nominal_macs_per_mac_and_cycle"]["dense"] >= 1.08
    for mode in ("dense", "gated"):
        bus = report["memory"][mode]
        assert bus["weights_read"] + bus["parameters_read"] <= 2.4e6 * IMAGES
        assert bus["maps_read"] + bus["maps_written"] <= 0.3e6 * IMAGES
        assert abs(report["predicted_cycles"][mode] / report["runs"][mode]["cycles"] - 1) < BOUNDS["network"]
        for layer in report["layers"]:
            assert abs(layer["predicted_cycles"][mode] / layer["runs"][mode]["cycles"] - 1) < BOUNDS["layer"], layer[
                "layer"
            ]


@pytest.mark.slow
def test_slow_memory(monkeypatch, root, tmp_path):
    """At a byte a cycle and one image the weights are the wall of the last stages; still bit-exact."""
    monkeypatch.chdir(root)
    report = simulated(tmp_path, "--images", "1", "--bandwidth", "1", "--runs", "gated")
    assert report["bit_exact"] and report["laws_hold"]
    bound = {layer["layer"] for layer in report["layers"] if layer["memory"]["gated"]["bandwidth_bound"]}
    assert {"conv4_2", "conv5_2", "conv5_4", "fc"} <= bound and "conv2_2" not in bound
