"""Named configurations, their purposes, and the estimates of what they take."""

import dataclasses
import json

import pytest

from cdgate.cli import WIDTH
from gen.config import describe, main
from gen.fpga.estimate import Memory, memories
from hw import configurations
from hw.configurations import CONFIGS, DEFAULT, configuration
from hw.params import HwParams


def test_sizes():
    assert {name: (params.macs, params.rq_lanes) for name, params in CONFIGS.items()} == {
        "full": (128, 4),
        "half": (64, 2),
        "small": (32, 1),
        "tiny": (16, 1),
    }
    assert sorted(params.in_par for params in CONFIGS.values()) == [2, 4, 8, 16]
    assert configuration().params is configuration(DEFAULT).params is CONFIGS["full"]


def test_every_map_of_resnet18_fits_a_bank_of_full():
    assert CONFIGS["full"].bank_words * CONFIGS["full"].in_par == 64 * 32 * 32


def test_immutable():
    with pytest.raises(TypeError):
        CONFIGS["full"] = HwParams()
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIGS["full"].in_par = 8


def test_every_configuration_has_a_purpose():
    lines = configurations.__doc__.splitlines()
    for name in CONFIGS:
        assert lines[lines.index(name) + 1].startswith("    8 x ")


@pytest.mark.parametrize("name, dsps, brams", [("full", 140, 172), ("small", 35, 54)])
def test_estimates_are_what_synthesis_counts(name, dsps, brams):
    found = describe(configuration(name))
    assert (found["dsps"], found["brams"]) == (dsps, brams)


def test_parts_of_the_estimate():
    assert describe(configuration("full"))["brams_of"] == {"banks": 128, "ring": 32, "scales": 8, "thresholds": 4}
    for name in CONFIGS:
        found = describe(configuration(name))
        assert sum(found["brams_of"].values()) == found["brams"]
        assert found["memory_bits"] <= 18 * 1024 * found["brams"]


@pytest.mark.parametrize(
    "depth, parts, width, brams",
    [
        (512, 1, 36, 1),
        (513, 1, 36, 2),
        (512, 1, 37, 2),
        (1024, 1, 18, 1),
        (4096, 1, 4, 1),
        (16384, 1, 1, 1),
        (4096, 4, 32, 32),
        (4096, 1, 128, 30),
        (16, 1, 1, 1),
    ],
)
def test_block_rams(depth, parts, width, brams):
    assert Memory("some", 1, depth, parts, width).block_rams == brams
    assert Memory("some", 3, depth, parts, width).block_rams == 3 * brams
    assert Memory("some", 3, depth, parts, width).bits == 3 * depth * parts * width


def test_devices_that_are_named():
    half, tiny = (describe(configuration(name)) for name in ("half", "tiny"))
    assert half["dsps"] <= 72 and half["brams"] <= 108  # ECP5-45F
    assert tiny["memory_bits"] <= 2**20
    assert sum(part.bits for part in memories(CONFIGS["tiny"])) == tiny["memory_bits"]


def test_list(capsys, tmp_path):
    path = tmp_path / "new" / "configs.json"
    assert main(["-o", str(path)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(path.read_text())
    assert [entry["name"] for entry in written["configs"]] == list(CONFIGS) and written["schema"] == 1
    for entry in written["configs"]:
        [line] = [line for line in printed.splitlines() if f" {entry['name']} " in line]
        cells = set(line.split())
        assert {str(entry["in_par"]), str(entry["macs"]), str(entry["dsps"]), str(entry["brams"])} <= cells
        assert {f"{entry['luts']:,}", f"{entry['ffs']:,}"} <= cells
    assert "…" not in printed and max(map(len, printed.splitlines())) <= WIDTH


def test_own_configuration(capsys, tmp_path):
    (tmp_path / "own.toml").write_text("in_par = 8\nrq_lanes = 2\nbank_words = 2048\nring_entries = 1024\n")
    assert main(["--config", str(tmp_path / "own.toml"), "-o", str(tmp_path / "configs.json")]) == 0
    [entry] = json.loads((tmp_path / "configs.json").read_text())["configs"]
    assert entry["name"] == "own" and entry["macs"] == 64 and entry["bank_words"] == 2048
    assert main(["--config", str(tmp_path / "none.toml"), "-o", str(tmp_path / "new.json")]) == 2
    assert (
        capsys.readouterr().err.startswith("gen.config: configuration file ") and not (tmp_path / "new.json").exists()
    )


def test_list_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["-o", str(tmp_path / "file" / "configs.json")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("gen.config: ") and printed.err.count("\n") == 1
