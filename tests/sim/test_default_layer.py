"""The layer that ``python -m sim`` takes if none is asked for."""

import json

from sim.__main__ import main
from sw_model.integer.checkpoint import save
from verification.mutation.networks import NETWORKS, made


def test_first_layer_of_a_checkpoint_without_the_default_one(small, tmp_path, monkeypatch, root, capsys):
    monkeypatch.chdir(root)
    network, _ = made(NETWORKS["layer"])
    save(tmp_path / "own.safetensors", network)
    options = ["--config", "small", "--checkpoint", str(tmp_path / "own.safetensors"), "-o", str(tmp_path)]
    assert main(options) == 0 and "stem" in capsys.readouterr().out
    assert json.loads((tmp_path / "stem" / "report.json").read_text())["layer"] == network.names[0] == "stem"
