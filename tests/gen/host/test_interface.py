"""The generated page is up to date, and a C program that uses the generated header agrees with the packer."""

import shutil
import subprocess

import numpy as np
import pytest

from gen import interface
from gen.host.c_header import c_header
from gen.host.interface_page import interface_page
from gen.layer.packing import pack
from hw.configurations import CONFIGS, DEFAULT
from hw.interface.described import member_docs
from hw.interface.instructions import BODY_OFFSET, ChannelParameters, ErrorCode, Header, Opcode, Transfer
from hw.interface.layouts import GateMode, LayerRegisters
from hw.interface.registers import IDENTITY, REGISTERS

PROGRAM = r"""
#include <stdio.h>
#include "cdgate.h"

int main(void)
{
    uint8_t load[CDGATE_INSTRUCTION_BYTES] = {0}, pass[CDGATE_INSTRUCTION_BYTES] = {0}, channel[16] = {0};
    uint32_t registers[256] = {0};
    cdgate_set(load, CDGATE_HEADER_OPCODE, CDGATE_OP_LOAD_MAP);
    cdgate_set(load, CDGATE_HEADER_TOKENS_TAKEN, CDGATE_TOKEN_STORE);
    cdgate_set(load, CDGATE_HEADER_GIVE_COMPUTE, 1);
    cdgate_set(load, CDGATE_TRANSFER_ADDRESS, 0xFFFFFFFF);
    cdgate_set(load, CDGATE_TRANSFER_ADDRESS, 0x12345678);
    cdgate_set(load, CDGATE_TRANSFER_COUNT, 4096);
    cdgate_set(load, CDGATE_TRANSFER_BANK, 3);
    cdgate_set(pass, CDGATE_HEADER_OPCODE, CDGATE_OP_COMPUTE);
    cdgate_set(pass, CDGATE_LAYER_MODE, CDGATE_MODE_CHANNEL);
    cdgate_set(pass, CDGATE_LAYER_OFMAP_BASE, CDGATE_BANK_WORDS - 1);
    cdgate_set(pass, CDGATE_LAYER_RESIDUAL_SCALE, 54321);
    cdgate_set(pass, CDGATE_LAYER_LOGITS, 1);
    cdgate_set(channel, CDGATE_CHANNEL_MULTIPLIER, (uint64_t)-3);
    cdgate_set(channel, CDGATE_CHANNEL_OFFSET, (uint64_t)-5000000000);
    cdgate_set(channel, CDGATE_CHANNEL_THRESHOLD, (uint64_t)-7);
    fwrite(load, 1, sizeof load, stdout);
    fwrite(pass, 1, sizeof pass, stdout);
    fwrite(channel, 1, sizeof channel, stdout);
    cdgate_write(registers, CDGATE_PROGRAM_LENGTH, 9);
    registers[CDGATE_FIRED_LOW / 4] = 5;
    registers[CDGATE_FIRED_LOW / 4 + 1] = 1;
    registers[CDGATE_STATUS / 4] = CDGATE_STATUS_ERROR_MASK;
    return !(cdgate_get(load, CDGATE_TRANSFER_ADDRESS) == 0x12345678 && cdgate_read(registers, 0x1C) == 9
             && cdgate_counter(registers, CDGATE_FIRED_LOW) == 0x100000005 && registers[3] == 4
             && CDGATE_STATUS_ERROR_SHIFT == 2 && CDGATE_ERROR_WATCHDOG == 10 && CDGATE_IDENTITY_VALUE == IDENTITY);
}
"""


def test_page_is_up_to_date(root):
    """If not: ``python -m gen.interface``."""
    assert (root / interface.PAGE).read_text(encoding="utf-8") == interface_page(DEFAULT, CONFIGS[DEFAULT])


def test_page_has_everything():
    page = interface_page("tiny", CONFIGS["tiny"])
    for register in REGISTERS:
        assert register.name.removesuffix("_HIGH") in page
        assert all(field.doc in page for field in register.fields)
    for layout in (Transfer, ChannelParameters, LayerRegisters(CONFIGS["tiny"])):
        fields = {name: field for group in layout.groups for name, field in group.fields.items()}
        assert list(fields) == list(layout.members)
        for name, field in fields.items():
            assert field.doc and f"| `{name}` | {field.doc[0].upper()}{field.doc[1:]}. |" in page
        assert all(f"*{group.heading}*" in page for group in layout.groups if group.heading)
    for enum in (Opcode, ErrorCode, GateMode):
        assert list(member_docs(enum)) == [member.name for member in enum]
        assert all(text and f"{text} |" in page for text in member_docs(enum).values())


@pytest.mark.parametrize("name", CONFIGS)
def test_header_in_c(name, tmp_path):
    params = CONFIGS[name]
    (tmp_path / "cdgate.h").write_text(c_header(name, params))
    (tmp_path / "main.c").write_text(PROGRAM.replace("IDENTITY)", f"{IDENTITY:#x})"))
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    subprocess.run(
        [shutil.which("gcc") or shutil.which("cc"), *strict, "main.c", "-o", "main"], cwd=tmp_path, check=True
    )
    done = subprocess.run([tmp_path / "main"], stdout=subprocess.PIPE)
    assert done.returncode == 0
    none, few = {"load": 0, "compute": 0, "store": 0}, {"load": 0, "compute": 1, "store": 0}
    load, layer = np.zeros((1, 64), dtype=np.uint8), np.zeros((1, 64), dtype=np.uint8)
    load[:, :2] = pack(Header, {"opcode": Opcode.LOAD_MAP.value, "take": {**none, "store": 1}, "give": few}, 1)
    body = pack(Transfer, {"address": 0x12345678, "count": 4096, "bank_addr": 0, "bank": 3}, 1)
    load[:, 8 : 8 + body.shape[1]] = body
    layer[:, :2] = pack(Header, {"opcode": Opcode.COMPUTE.value, "take": none, "give": none}, 1)
    registers = {
        **dict.fromkeys(LayerRegisters(params).members, 0),
        "mode": GateMode.CHANNEL.value,
        "logits": 1,
        "ofmap_base": params.bank_words - 1,
        "residual_scale": 54321,
    }
    body = pack(LayerRegisters(params), registers, 1)
    layer[:, 8 : 8 + body.shape[1]] = body
    channel = pack(ChannelParameters, {"multiplier": -3, "offset": -5000000000, "threshold": -7, "reserved": 0}, 1)
    assert done.stdout == load.tobytes() + layer.tobytes() + channel.tobytes()


def test_header_in_cpp(tmp_path):
    """Included twice, as headers are."""
    (tmp_path / "cdgate.h").write_text(c_header(DEFAULT, CONFIGS[DEFAULT]))
    (tmp_path / "main.cpp").write_text('#include "cdgate.h"\n' + PROGRAM.replace("IDENTITY)", f"{IDENTITY:#x})"))
    strict = ["-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    subprocess.run([shutil.which("g++"), *strict, "main.cpp"], cwd=tmp_path, check=True)


def test_header_has_every_number(tmp_path):
    """What the preprocessor and the compiler make of the names, against hw/."""
    params = CONFIGS["half"]
    expected = {}
    for entry in REGISTERS:
        expected[f"CDGATE_{entry.name}"] = entry.address
        for field in entry.fields:
            expected[f"CDGATE_{entry.name}_{field.name}_SHIFT"] = field.offset
            expected[f"CDGATE_{entry.name}_{field.name}_MASK"] = ((1 << field.width) - 1) << field.offset
    for prefix, enum in (("OP", Opcode), ("MODE", GateMode), ("ERROR", ErrorCode)):
        expected |= {f"CDGATE_{prefix}_{member.name}": member.value for member in enum}
    pairs = {}
    for prefix, layout, start in (
        ("TRANSFER", Transfer, BODY_OFFSET),
        ("CHANNEL", ChannelParameters, 0),
        ("LAYER", LayerRegisters(params), BODY_OFFSET),
    ):
        pairs |= {f"CDGATE_{prefix}_{name.upper()}": (start + field.offset, field.width) for name, field in layout}
    checks = [f"    CHECK({name} == {value}u)" for name, value in expected.items()]
    checks += [
        f"    CHECK(FIRST({name}) == {offset} && SECOND({name}) == {width})" for name, (offset, width) in pairs.items()
    ]
    (tmp_path / "cdgate.h").write_text(c_header("half", params))
    (tmp_path / "main.c").write_text(
        "\n".join(
            [
                "#include <stdio.h>",
                '#include "cdgate.h"',
                "#define ONE(a, b) (a)",
                "#define TWO(a, b) (b)",
                "#define FIRST(pair) ONE(pair)",
                "#define SECOND(pair) TWO(pair)",
                "#define CHECK(what) if (!(what)) { puts(#what); bad = 1; }",
                "int main(void)",
                "{",
                "    int bad = 0;",
                *checks,
                "    return bad;",
                "}",
                "",
            ]
        )
    )
    subprocess.run(
        [shutil.which("gcc") or shutil.which("cc"), "-std=c99", "main.c", "-o", "main"], cwd=tmp_path, check=True
    )
    done = subprocess.run([tmp_path / "main"], stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert interface.main(["--config", "half"]) == 0
    assert capsys.readouterr().out.split() == ["build/interface/half/cdgate.h", "build/interface/half/interface.md"]
    assert "configuration half" in (tmp_path / "build/interface/half/cdgate.h").read_text()
    assert "`half`" in (tmp_path / "build/interface/half/interface.md").read_text()
    assert interface.main(["-o", "elsewhere"]) == 0
    assert capsys.readouterr().out.split() == ["elsewhere/cdgate.h", "elsewhere/interface.md"]
    assert interface.main(["-o", "elsewhere/cdgate.h"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("gen.interface: ") and printed.err.count("\n") == 1
    assert interface.main(["--config", "huge"]) == 2
    assert capsys.readouterr().err.startswith("gen.interface: configuration must be one of full")
