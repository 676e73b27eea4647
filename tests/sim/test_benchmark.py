"""The benchmark: a short one from end to end, and bad input."""

import json

import pytest

from sim.benchmark import golden_speed, main
from sw_model.quantisation.random_network import random_network


def test_report(small, monkeypatch, root, tmp_path, capsys):
    monkeypatch.chdir(root)
    path = tmp_path / "new" / "bench.json"
    assert (
        main(["small", "--cycles", "1", "--images", "1", "--width", "0.25", "--train-seconds", "0.01", "-o", str(path)])
        == 0
    )
    report = json.loads(path.read_text())
    [(name, row)] = report["configs"].items()
    assert name == "small" and row["generate_seconds"] > 0 and row["verilog_lines"] > 1000
    assert row["cycles"] > 10_000 and row["cycles_per_second"] == row["cycles"] / row["seconds"]
    golden = report["golden_model"]
    assert golden["images_per_second"] == golden["images"] / golden["seconds"]
    assert {name: row["images_per_second"] > 0 for name, row in report["training"]["methods"].items()} == dict.fromkeys(
        ("dense", "scdg", "cgnet"), True
    )
    printed = capsys.readouterr()
    assert f"{row['cycles']:,}" in printed.out and "images/s" in printed.out
    assert "small: simulating" in printed.err


def test_golden_model():
    found = golden_speed(random_network(width=0.25, groups=2, seed=1), 2)
    assert found["images"] == 2 and found["seconds"] > 0


@pytest.mark.parametrize(
    "options, text",
    [
        (["huge"], "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'"),
        (["--cycles", "0"], "cycles must be 1 to 1000000000, not 0"),
        (["--images", "17"], "images must be 1 to 16, not 17"),
        (["--train-seconds", "0"], "train-seconds must be positive, not 0"),
        (["--width", "0.3"], "width must be one of 0.25, 0.5, 1, not 0.3"),
    ],
)
def test_bad_input(capsys, options, text):
    assert main(options) == 2
    printed = capsys.readouterr()
    assert printed.err == f"sim.benchmark: {text}\n" and not printed.out
