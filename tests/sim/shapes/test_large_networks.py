"""The large networks by name on `full`, one photograph, gated and dense: everything exact, and what the clock sees.

That the cycle model is near is part of the verdict.
"""

import json

import pytest

from sim import network

#: By name the least efficiency of the whole network, gated and dense, and the layers that decide.
NETWORKS = {
    "vgg11": (0.4, 0.5, 7),
    "resnet20x4": (0.9, 0.9, 18),
    "resnet34": (0.5, 0.6, 32),
    "resnet18-imagenet100": (0.96, 0.96, 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_large_network(name, monkeypatch, root, tmp_path):
    monkeypatch.chdir(root)
    gated, dense, deciding = NETWORKS[name]
    assert network.main(["--net", name, "--images", "1", "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "network/report.json").read_text())
    assert report["bit_exact"] and report["laws_hold"] and report["mismatches"] == 0 and report["network"] == name
    decides = [layer for layer in report["layers"] if layer["decisions_checked"]]
    assert len(decides) == deciding
    assert report["efficiency"]["gated"] >= gated and report["efficiency"]["dense"] >= dense
    assert abs(report["gated_layers"]["sparsity"]["output"] - 0.4552) < 0.05
    if name == "resnet18-imagenet100":
        for layer in decides:
            # In dense mode the last layers wait for weights, of which 49 pixels hide too few.
            last = layer["layer"] in ("conv5_2", "conv5_3", "conv5_4")
            assert layer["efficiency"]["gated"] >= 0.985, layer["layer"]
            assert layer["efficiency"]["dense"] >= (0.965 if last else 0.985), layer["layer"]
            assert layer["speedup"]["ratio"] >= 0.99, layer["layer"]
