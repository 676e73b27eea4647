"""The command that compiles a network: its table, its memory and what it says about both."""

import errno
import json

import numpy as np
import pytest

from cdgate.cli import WIDTH
from cdgate.files import write_if_changed
from gen import disasm
from gen import program as module
from gen.cost import compilation
from gen.cost.compilation import compile_for
from gen.cost.cycle_model import predict
from gen.cost.layer_rows import layer_rows
from gen.cost.steps import slice_steps
from gen.network.compiler import compile_network
from hw.configurations import CONFIGS, configuration
from hw.interface.instructions import INSTRUCTION_BYTES, Opcode
from sw_model.data.photographs import default_images, photographs
from sw_model.integer.checkpoint import save
from tests.gen.network.networks import lively

#: An engine whose banks do not hold the patches of an image: tiles and batches.
CONFIG = "small"
IMAGES = 3


@pytest.fixture(scope="module")
def network():
    return lively((32, 32), width=0.25, blocks=1)


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    """The folder that the command fills."""
    folder = tmp_path_factory.mktemp("network")
    save(folder / "x.safetensors", network)
    options = ["--checkpoint", str(folder / "x.safetensors"), "--config", CONFIG, "--images", str(IMAGES)]
    assert module.main([*options, "-o", str(folder / "new" / "out")]) == 0
    return folder / "new" / "out"


@pytest.fixture(scope="module")
def program(network):
    return compile_network(network, CONFIGS[CONFIG], IMAGES, (32, 32))


def test_memory(written, program):
    memory = (written / "memory.bin").read_bytes()
    facts = json.loads((written / "network.json").read_text())
    assert len(memory) == facts["memory_bytes"] == program.image.size
    images = np.stack([pixels for _, pixels in default_images(IMAGES)])
    contents = {one.name: one.content for one in program.image} | {"input": program.pack_images(images)}
    assert [one["name"] for one in facts["regions"]] == list(contents)
    for one in facts["regions"]:
        content = contents[one["name"]]
        part = memory[one["address"] : one["address"] + one["size"]]
        assert part == (bytes(one["size"]) if content is None else content), one["name"]


def test_facts(written, program):
    facts = json.loads((written / "network.json").read_text())
    assert (facts["schema"], facts["config"], facts["mode"], facts["images"]) == (1, CONFIG, "gated", IMAGES)
    assert facts["program"] == {"address": program.image["program"].address, "instructions": len(program.instructions)}
    memory = (written / "memory.bin").read_bytes()
    start = facts["program"]["address"]
    packed = memory[start : start + INSTRUCTION_BYTES * facts["program"]["instructions"]]
    assert packed == program.packed().tobytes() == (written / "program.bin").read_bytes()
    assert tuple(facts["store_window"]) == program.store_window
    assert len(facts["passes"]) == len(program.passes)
    assert sum(layer["predicted_cycles"] for layer in facts["layers"]) == facts["predicted_cycles"] > 0


def test_program_in_words(written, program, capsys):
    assert disasm.main([str(written / "program.bin"), "--config", CONFIG]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed] == [one.opcode.name for one in program.instructions]


def test_rows_add_up(program):
    steps = slice_steps(program, None)
    rows = layer_rows(program, steps, predict(program, steps))
    assert [row.layer for row in rows] == [layer.name for layer in program.network.layers]
    assert rows[0].batch == 0 < rows[0].rows < 32 and rows[-1].batch == IMAGES
    entry = 8 * program.params.in_par
    for row in rows:
        passes = [one for one in program.passes if one.layer == row.layer]
        assert row.passes == len(passes) and row.images == max(one.images for one in passes)
        assert row.weights_read == row.passes * row.ring_entries * entry
        assert row.ring_entries * entry == program.image[f"weights {row.layer}"].size
    moved = {
        opcode: sum(one.fields["count"] for one in program.instructions if one.opcode is opcode)
        for opcode in (Opcode.LOAD_MAP, Opcode.STORE_MAP, Opcode.STORE_LOGITS)
    }
    assert sum(row.maps_read for row in rows) == moved[Opcode.LOAD_MAP] * program.params.in_par
    assert sum(row.maps_written for row in rows) == moved[Opcode.STORE_MAP] * program.params.in_par
    assert rows[-1].logits_written == moved[Opcode.STORE_LOGITS] * 4 * program.params.rq_lanes


def test_tables(network):
    """Every figure of the rows is there, and every line is readable in 80 columns."""
    images = photographs(IMAGES)
    rows = compile_for(configuration(CONFIG), network, images, "dense").layers()
    text = str(rows)
    lines = text.splitlines()[1:]  # behind the title
    assert all(len(line) <= WIDTH for line in lines) and "…" not in text and repr(rows) == text
    for row in rows:
        found = [line.replace(",", "").split() for line in lines]
        computed, moved = [cells for cells in found if cells[:1] == [row.layer]]
        numbers = (row.images, row.rows, row.passes, row.ring_entries)
        work = (row.base_steps + row.conditional_steps, row.predicted_cycles)
        assert computed[1:] == [str(row.batch or "rows"), *map(str, (*numbers, *work))]
        fields = ("weights_read", "parameters_read", "maps_read", "maps_written", "logits_written")
        assert moved[1:] == [str(getattr(row, field)) for field in fields]
    sums = [line.replace(",", "").split() for line in lines if line.strip().startswith(("all", "an image"))]
    cycles = sum(row.predicted_cycles for row in rows)
    assert int(sums[0][-1]) == cycles and int(sums[1][-1]) == round(cycles / IMAGES)
    assert int(sums[2][1]) == sum(row.weights_read for row in rows)


def test_trained_network(tmp_path, capsys):
    """Without options: the repository's checkpoint on the largest engine."""
    assert module.main(["--mode", "dense", "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    facts = json.loads((tmp_path / "network.json").read_text())
    assert len(facts["layers"]) == 21 and facts["images"] == 8 and facts["config"] == "full"
    assert sum(layer["weights_read"] for layer in facts["layers"]) == 18_178_048
    assert all(layer["layer"] in printed for layer in facts["layers"])
    assert printed.splitlines()[-3:] == [str(tmp_path / name) for name in ("program.bin", "memory.bin", "network.json")]


@pytest.mark.parametrize(
    "options, text",
    [
        (["--checkpoint", "nowhere"], "checkpoint nowhere must be an existing file"),
        (["--images", "0"], "number of default images must be 1 to 16, not 0"),
        (["--mode", "forced"], "network: mode must be one of gated, channel, dense, base, not forced"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
        (["--latency", "0"], "latency must be a whole number from 1 to 100000, not 0"),
        (["--latency", "99999999999999999"], "latency must be a whole number from 1 to 100000, not 99999999999999999"),
        (["--bandwidth", "nan"], "bandwidth must be a number above 0, and finite, not nan"),
        (["--bandwidth", "inf"], "bandwidth must be a number above 0, and finite, not inf"),
        (["--size", "0"], "size must be 1 to 256, rows and columns as 32 or 224x192, not 0"),
        (["--size", "100000"], "size must be 1 to 256, rows and columns as 32 or 224x192, not 100000"),
    ],
)
def test_bad_input(options, text, tmp_path, capsys):
    assert module.main([*options, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"gen.program: {text}\n"
    assert not (tmp_path / "out").exists()


def test_unwritable_output(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert module.main(["--mode", "dense", "--images", "1", "-o", str(file)]) == 2
    assert capsys.readouterr().err == f"gen.program: {file}/program.bin cannot be written: File exists\n"


def test_files_are_replaced_whole_and_facts_come_last(network, tmp_path, monkeypatch, capsys):
    """A reader has the old files or the new ones open; what a run did not get to stays as it was."""
    save(tmp_path / "x.safetensors", network)
    folder = tmp_path / "out"
    folder.mkdir()
    names = ("program.bin", "memory.bin", "network.json")
    for name in names:
        (folder / name).write_text("old")
    open_before = [(folder / name).open() for name in names]
    written = []

    def disk_that_fills(path, content):
        written.append(path.name)
        if path.name == "memory.bin":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_if_changed(path, content)

    options = ["--checkpoint", str(tmp_path / "x.safetensors"), "--config", CONFIG, "--images", "1", "-o", str(folder)]
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "write_if_changed", disk_that_fills)
        assert module.main(options) == 2
    assert capsys.readouterr().err == "gen.program: No space left on device\n"
    assert written == ["program.bin", "memory.bin"] and (folder / "network.json").read_text() == "old"
    assert module.main(options) == 0
    assert [file.read() for file in open_before] == ["old"] * 3
    for file in open_before:
        file.close()
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
