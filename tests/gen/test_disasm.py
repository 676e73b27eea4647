"""The disassembler: what it prints of programs, and of what is none."""

import json

import numpy as np
import pytest

from gen import disasm
from gen.disasm import decode, disassemble, purposes
from gen.network.compiler import compile_network
from hw.configurations import CONFIGS
from hw.interface.instructions import UNIT_OF, Opcode
from sw_model.integer.checkpoint import save
from sw_model.quantisation.random_network import random_network
from tests.gen.network.networks import blank_resnet, pool, skip


@pytest.fixture(scope="module")
def network():
    return blank_resnet(1, (16, 32, 64), groups=2)


@pytest.fixture(scope="module")
def program(network):
    return compile_network(network, CONFIGS["small"], 2, (28, 28))


def test_every_instruction(program):
    """A line for each, with what the compiler meant."""
    lines = list(disassemble(program.packed(), program.params))
    notes = purposes(program)
    assert len(lines) == len(notes) == len(program.instructions)
    for line, note, one in zip(lines, notes, program.instructions, strict=True):
        assert line.split()[0] == one.opcode.name
        for way in ("take", "give"):
            names = getattr(one, way)
            assert (f" {way} {'+'.join(names)} " in line) == bool(names)
        for name in ("count", "bank_addr"):
            assert one.fields.get(name, 0) == 0 or f" {one.fields[name]}" in line
        kind = {
            "LOAD_WEIGHTS": f"weights {one.layer}",
            "LOAD_PARAMETERS": f"parameters {one.layer}",
            "STORE_MAP": f"map {one.layer}",
            "STORE_LOGITS": "logits",
            "COMPUTE": "pass ",
            "LOAD_MAP": "",
        }
        assert note.startswith(kind[one.opcode.name])
    assert notes[-1] == "logits" and {"pass 0: conv1, image 0, rows 0 to 9", "input + 0x55c0"} <= set(notes)
    assert any("residual bank " in line and "2+2 chunks" in line for line in lines)


def test_decoded_is_what_was_packed(program):
    for found, one in zip(decode(program.packed(), program.params), program.instructions, strict=True):
        assert (found.opcode, found.number) == (one.opcode, one.opcode.value)
        assert (found.take, found.give) == (one.take, one.give)
        assert {name: value for name, value in found.fields.items() if value} == {
            name: value for name, value in one.fields.items() if value
        }


def test_json(program, tmp_path, capsys):
    words = np.concatenate([program.packed(), np.full((1, 64), 0x0F, dtype=np.uint8)])
    (tmp_path / "program").write_bytes(words.tobytes())
    path = tmp_path / "new" / "program.json"
    assert disasm.main([str(tmp_path / "program"), "--config", "small", "-o", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[1:4] == ["not", "an", "instruction:"]
    written = json.loads(path.read_text())
    assert (written["schema"], written["config"]) == (1, "small")
    *entries, last = written["instructions"]
    for n, (entry, one) in enumerate(zip(entries, program.instructions, strict=True)):
        assert entry["index"] == n and Opcode[entry["opcode"]] is one.opcode
        assert entry["unit"] == UNIT_OF[one.opcode].name.lower() and entry["take"] == list(one.take)
        assert entry["fields"].items() >= one.fields.items() and "purpose" not in entry
    assert last == {"index": len(entries), "opcode": None, "number": 15, "bytes": "0f" * 64}


def test_json_that_cannot_be_written(program, tmp_path, capsys):
    (tmp_path / "program").write_bytes(program.packed()[:1].tobytes())
    assert disasm.main([str(tmp_path / "program"), "-o", str(tmp_path / "program" / "x.json")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("gen.disasm: ") and printed.err.count("\n") == 1 and not printed.out


def test_registers(program):
    [text] = disassemble(program.packed()[program.pass_index(0)][None], program.params, registers=True)
    fields = program.passes[0].instruction.fields
    for name, value in fields.items():
        assert f"{name} = {value}\n" in text + "\n"


def test_what_is_no_instruction(program):
    words = program.packed()[:3].copy()
    words[0, 0] = 0  # no opcode
    words[1, 63] = 1  # a bit that no field takes
    words[2, 7] = 0x80  # the same, in the header
    assert [line.split(": ")[0] for line in disassemble(words, program.params)] == ["not an instruction"] * 3
    assert words[1].tobytes().hex() in list(disassemble(words, program.params))[1]


def test_command_line(program, network, tmp_path, capsys):
    path = tmp_path / "program"
    path.write_bytes(program.packed().tobytes())
    save(tmp_path / "x.safetensors", network)
    assert disasm.main([str(path), "--config", "small"]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert len(plain) == len(program.instructions) and plain[0].split()[:2] == ["0", "LOAD_MAP"]
    options = ["--checkpoint", str(tmp_path / "x.safetensors"), "--config", "small", "--images", "2", "--size", "28"]
    assert disasm.main(options) == 0
    noted = capsys.readouterr().out.splitlines()
    assert disasm.main([*options, "-o", str(tmp_path / "x.json")]) == 0
    assert capsys.readouterr().out.splitlines() == noted
    assert [entry["purpose"] for entry in json.loads((tmp_path / "x.json").read_text())["instructions"]] == [
        line.split("  ; ")[1] for line in noted
    ]
    assert [line.split("  ; ")[0] for line in noted] == plain


@pytest.mark.parametrize(
    "options, text",
    [
        (["nowhere"], "nowhere cannot be read: No such file or directory"),
        (["--checkpoint", "nowhere"], "checkpoint nowhere must be an existing file"),
        (["--checkpoint", "x", "x"], "either FILE or a network must be given, not both"),
        (["--mode", "forced"], "network: mode must be one of gated, channel, dense, base, not forced"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
    ],
)
def test_bad_input(options, text, capsys):
    assert disasm.main(options) == 2
    assert capsys.readouterr().err == f"gen.disasm: {text}\n"


def test_file_of_odd_size(tmp_path, capsys):
    (tmp_path / "odd").write_bytes(np.zeros(65, dtype=np.uint8).tobytes())
    assert disasm.main([str(tmp_path / "odd")]) == 2
    assert capsys.readouterr().err.endswith("odd must have a multiple of 64 bytes, not 65\n")


def test_poolings():
    network = random_network(plan=[{**skip("a", "image", None), "in_ch": 3, "stride": 2}, pool("p", "a", 3, 2, 1)])
    program = compile_network(network, CONFIGS["small"], 2, (32, 32))
    texts = list(disassemble(program.packed(), program.params))
    [text] = [text for text in texts if text.startswith("POOL")]
    assert " 2 images, 2 slices, 8x8 pixels, 3x3 taps, ifmap bank " in text and "chunks" not in text
    assert "parameters" not in text and "base" not in text
    assert purposes(program)[texts.index(text)] == "pass 1: p, images 0 to 1"
    assert decode(program.packed(), program.params)[texts.index(text)].fields["pool"] == 1
