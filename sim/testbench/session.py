"""The testbench of the whole engine (`tb_system.sv`) for Python that runs beside it: commands and their results.

`Session` is for the plain Python of scenarios and of `gen.host.driver`. Its calls block until the testbench has done
what they say; how is up to whoever makes it, see `sim.testbench.system_bench`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gen.host.driver import Driver, DriverError
from hw.interface.axi import Response

__all__ = ["COMMANDS", "SETTINGS", "Session"]

#: Commands of the testbench, in its order.
COMMANDS = ("reset", "write", "read", "wait", "load", "dump", "open", "close", "set", "report")

#: Settings, in its order. bandwidth is in bytes a cycle, 0 for no limit; latency and extra in cycles; stalls in 1/256;
#: errors are 2 SLVERR, 3 DECERR, 4 no answer, 5 RLAST inverted, 6 an answer `late` cycles too late, of bytes first to
#: last; lite_gap in cycles; base is the first address of the memory on the bus, a multiple of its size: commands of the
#: testbench count from 0.
SETTINGS = (
    "bandwidth",
    "latency",
    "extra",
    "stall_ar",
    "stall_r",
    "stall_aw",
    "stall_w",
    "stall_b",
    "read_error",
    "read_first",
    "read_last",
    "write_error",
    "write_first",
    "write_last",
    "seed",
    "lite_gap",
    "base",
    "late",
)

_RESPONSES = {value: name for name, value in Response.items()}


class Session:
    """An engine under test, with its memory.

    Parameters
    ----------
    call
        Gives a command, by number, with three arguments; returns the result.
    folder
        Of the files.
    axi_bytes
        Size of a word of the memory.
    """

    def __init__(self, call: Callable[[int, int, int, int], int], folder: Path, axi_bytes: int):
        self._call = call
        self._files = 0
        self.axi_bytes = axi_bytes
        self.folder = folder
        self.passes = 0  #: Passes seen up to the last `wait`.

    def _command(self, name: str, a: int = 0, b: int = 0, c: int = 0) -> int:
        return self._call(COMMANDS.index(name), a, b, c)

    def _file(self) -> tuple[int, Path]:
        self._files += 1
        return self._files, self.folder / str(self._files)

    def driver(self) -> Driver:
        """Return a driver of the engine."""
        return Driver(_Registers(self), _Words(self), self.wait)

    def set(self, **settings: int) -> None:
        """Change settings, see `SETTINGS`; ``stall`` stands for all five."""
        if "stall" in settings:
            value = settings.pop("stall")
            settings = {**{name: value for name in SETTINGS if name.startswith("stall_")}, **settings}
        for name, value in settings.items():
            self._command("set", SETTINGS.index(name), value)

    def reset(self, cycles: int = 4) -> None:
        """Reset the engine and what is under way on the bus; the memory keeps its contents."""
        self._command("reset", cycles)

    def register_write(self, address: int, value: int) -> None:
        """Write a register; `DriverError` for an error response, or none."""
        self._check(self._command("write", address, value), "write to", address)

    def register_read(self, address: int) -> int:
        """Read a register; `DriverError` for an error response, or none."""
        result = self._command("read", address)
        self._check(result, "read of", address)
        return result & 0xFFFF_FFFF

    def _check(self, result: int, what: str, address: int) -> None:
        if result >> 34 & 1:
            raise DriverError(f"{what} register {address:#x} is not answered")
        response = result >> 32 & 3
        if response:
            raise DriverError(f"{what} register {address:#x} is answered with {_RESPONSES.get(response, response)}")

    def wait(self, cycles: int) -> bool:
        """Wait for the interrupt, at most for some cycles; return whether it is up."""
        result = self._command("wait", cycles)
        self.passes = result >> 32 & 0x7FFF_FFFF
        return bool(result >> 63)

    def memory_read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory, without using the bus."""
        first = address // self.axi_bytes * self.axi_bytes
        stop = -(-(address + size) // self.axi_bytes) * self.axi_bytes
        path = self.memory_file(first, stop - first)
        data = path.read_bytes()
        path.unlink()
        return data[address - first : address - first + size]

    def memory_file(self, address: int, size: int) -> Path:
        """Write words of the memory to a file, and return its path."""
        number, path = self._file()
        self._command("dump", address, size, number)
        return path

    def memory_write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory, without using the bus."""
        first = address // self.axi_bytes * self.axi_bytes
        stop = -(-(address + len(data)) // self.axi_bytes) * self.axi_bytes
        if stop - first != len(data):
            head = self.memory_read(first, address - first) if address > first else b""
            end = address + len(data)
            data = head + data + (self.memory_read(end, stop - end) if stop > end else b"")
        if not data:
            return
        number, path = self._file()
        path.write_bytes(np.frombuffer(data, dtype=np.uint8).reshape(-1, self.axi_bytes)[:, ::-1].tobytes())
        self._command("load", first, len(data), number)
        path.unlink()

    def open_traces(self) -> Path:
        """Begin trace files; return their path but for the suffixes .trace, .masks and .passes."""
        number, path = self._file()
        self._command("open", c=number)
        return path

    def close_traces(self) -> None:
        """End the trace files."""
        self._command("close")

    def report(self) -> dict[str, int]:
        """Return what was counted since the simulation began; names in capitals are breaches of the buses' rules."""
        number, path = self._file()
        self._command("report", c=number)
        counts: dict[str, Any] = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        path.unlink()
        return {name: int(value) for name, value in counts.items()}


class _Registers:
    def __init__(self, session: Session):
        self.read = session.register_read
        self.write = session.register_write


class _Words:
    def __init__(self, session: Session):
        self.read = session.memory_read
        self.write = session.memory_write
