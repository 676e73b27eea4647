"""Driver of the engine's registers, as a host would have it: plain Python over a bus and a memory of any kind.

In simulations the bus is AXI-Lite and the memory the model behind AXI (`sim.testbench.session`); on a board both could
be mapped into the address space of a process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cdgate.errors import RunError
from gen.network.program import NetworkProgram
from hw.interface.instructions import ErrorCode
from hw.interface.layouts import Refusal
from hw.interface.registers import COUNTERS, IDENTITY, register

__all__ = [
    "Bus",
    "Driver",
    "DriverError",
    "EngineError",
    "LoadedNetwork",
    "Memory",
    "RefusedError",
    "WaitError",
    "loaded",
]


class Bus(Protocol):
    """Registers by byte address, 32 bits each."""

    def read(self, address: int) -> int:
        """Return the register at an address."""

    def write(self, address: int, value: int) -> None:
        """Write the register at an address."""


class Memory(Protocol):
    """The memory that the engine sees, by byte address."""

    def read(self, address: int, size: int) -> bytes:
        """Return some bytes."""

    def write(self, address: int, data: bytes) -> None:
        """Write some bytes."""


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A compiled network as a host needs it: numbers and bytes.

    Attributes
    ----------
    regions
        What it takes in memory: (address, bytes), the program among them.
    program
        Byte address of its first instruction.
    instructions
        Number of instructions.
    window
        First byte that it may write, and the byte after the last.
    images
        Where the images go: address and size in bytes.
    logits
        Where the logits are then: address and size in bytes.
    """

    regions: tuple[tuple[int, bytes], ...]
    program: int
    instructions: int
    window: tuple[int, int]
    images: tuple[int, int]
    logits: tuple[int, int]

    def memory(self, images: bytes, size: int, left: bytes = b"") -> bytes:
        """Return the memory before a run, from address 0 on: what the host writes, elsewhere what was there, or zeros.

        Parameters
        ----------
        images
            Laid out as the network's compiler does.
        size
            Bytes of memory.
        left
            What earlier runs left in it, from address 0 on.

        Raises
        ------
        DriverError
            If the images are not of the network's size, or not everything lies within that many bytes.
        """
        memory = bytearray(left[:size].ljust(size, b"\0"))
        for address, data in (*self.regions, self.placed(images)):
            if address + len(data) > size:
                raise DriverError(f"memory must reach {address + len(data):#x}, not {size:#x}")
            memory[address : address + len(data)] = data
        return bytes(memory)

    def placed(self, images: bytes) -> tuple[int, bytes]:
        """Return images with the address at which the network reads them.

        Raises
        ------
        DriverError
            If they are not of the network's size.
        """
        address, size = self.images
        if len(images) != size:
            raise DriverError(f"images must be {size} bytes, not {len(images)}")
        return address, images


class DriverError(RunError):
    """What went wrong, in one line."""


class EngineError(DriverError):
    """The engine stopped a run.

    Attributes
    ----------
    code
        Why.
    index
        Number of the instruction that it was stopped at.
    """

    def __init__(self, code: ErrorCode, index: int):
        super().__init__(f"engine stopped at instruction {index}: {code.name}")
        self.code = code
        self.index = index

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.index)


class RefusedError(DriverError):
    """The engine refused a start.

    Attributes
    ----------
    reason
        "busy", or "stopped by an error".
    """

    def __init__(self, reason: str):
        super().__init__(f"start refused: engine is {reason}")
        self.reason = reason

    def __reduce__(self) -> Any:
        return type(self), (self.reason,)


class WaitError(DriverError):
    """A run did not end in time, or the bus did not come to rest after a soft reset."""


class Driver:
    """One engine.

    Parameters
    ----------
    bus
        Its registers.
    memory
        Its memory.
    wait_interrupt
        Waits until the interrupt line is up, at most for as many cycles (or other units of time) as its argument says,
        and returns whether it is up. Without it the driver polls the status register.

    Raises
    ------
    DriverError
        If what is behind the bus is no engine.
    """

    def __init__(self, bus: Bus, memory: Memory, wait_interrupt: Callable[[int], bool] | None = None):
        self.bus = bus
        self.memory = memory
        self._wait_interrupt = wait_interrupt
        found = self.read("IDENTITY")
        if found != IDENTITY:
            raise DriverError(f"register IDENTITY must be {IDENTITY:#010x}, not {found:#010x}")

    def read(self, name: str) -> int:
        """Return the value of a register, by name."""
        return self.bus.read(register(name).address)

    def write(self, name: str, value: int) -> None:
        """Write a register, by name."""
        self.bus.write(register(name).address, value)

    def fields(self, name: str) -> dict[str, int]:
        """Return the fields of a register, by name."""
        value = self.read(name)
        return {field.name: value >> field.offset & (1 << field.width) - 1 for field in register(name).fields}

    def _bits(self, name: str, *parts: str) -> int:
        """Return the value of a register in which the fields called ``parts`` are 1 and the others 0."""
        fields = {field.name: field for field in register(name).fields}
        return sum(1 << fields[part].offset for part in parts)

    def counters(self) -> dict[str, int]:
        """Return the counters of the last run, or of the one under way, by name (`hw.interface.registers.COUNTERS`).

        While a run is under way the two halves of a counter are read at different times: only read then what is below
        2^32.
        """
        return {
            name: self.read(f"{name.upper()}_LOW") | self.read(f"{name.upper()}_HIGH") << 32 for name, _ in COUNTERS
        }

    def load_network(self, network: LoadedNetwork, watchdog: int | None = None) -> None:
        """Write a network into memory, and make its program the one that is started.

        Parameters
        ----------
        network
            The network.
        watchdog
            Cycles without a completed instruction after which a run is stopped; None leaves it as it is.
        """
        for address, data in network.regions:
            self.memory.write(address, data)
        self.write("PROGRAM_ADDRESS", network.program)
        self.write("PROGRAM_LENGTH", network.instructions)
        self.write("STORE_BASE", network.window[0])
        self.write("STORE_END", network.window[1])
        if watchdog is not None:
            self.write("WATCHDOG", watchdog)

    def load_images(self, network: LoadedNetwork, images: bytes) -> None:
        """Write images, laid out as the network's compiler does, to where the network reads them."""
        self.memory.write(*network.placed(images))

    def logits(self, network: LoadedNetwork) -> bytes:
        """Return the logits of the last run as they are in memory."""
        return self.memory.read(*network.logits)

    def start(self) -> None:
        """Start the program.

        Raises
        ------
        RefusedError
            If the engine is busy, or was stopped by an error and not reset since.
        """
        causes = ("DONE", "ERROR", "REFUSED")
        enabled = self._bits("INTERRUPT_ENABLE", "DONE", "ERROR")
        if self.fields("STATUS")["BUSY"]:  # the causes of its end must not be lost
            self.write("INTERRUPT", self._bits("INTERRUPT", "REFUSED"))
        else:
            self.write("INTERRUPT", self._bits("INTERRUPT", *causes))
            self.write("INTERRUPT_ENABLE", enabled)
        self.write("CONTROL", self._bits("CONTROL", "START"))
        if self.fields("INTERRUPT")["REFUSED"]:
            self.write("INTERRUPT", self._bits("INTERRUPT", "REFUSED"))
            raise RefusedError(Refusal(self.read("REFUSAL")).value.doc)

    def poll(self, cycles: int) -> bool:
        """Wait for the end of a run, at most for some cycles; return whether it has ended well.

        Raises
        ------
        EngineError
            If the engine stopped it.
        """
        if self._wait_interrupt is not None and not self._wait_interrupt(cycles):
            return False
        status = self.fields("STATUS")
        if status["ERROR"]:
            raise EngineError(ErrorCode(self.read("ERROR_CODE")), self.read("ERROR_INDEX"))
        if status["DONE"]:
            self.write("INTERRUPT", self._bits("INTERRUPT", "DONE"))
        return bool(status["DONE"])

    def wait(self, cycles: int, each: Callable[[], None] | None = None, interval: int = 1 << 20) -> None:
        """Wait for the end of a run.

        Parameters
        ----------
        cycles
            After which to give up.
        each
            Called now and then.
        interval
            Cycles between two calls.

        Raises
        ------
        EngineError
            If the engine stopped it.
        WaitError
            If it is still under way then.
        """
        left = cycles
        while not self.poll(min(left, interval)):
            left -= interval
            if each is not None:
                each()
            if left <= 0:
                raise WaitError(f"run is still under way after {cycles} cycles")

    def soft_reset(self, attempts: int = 1000) -> None:
        """Abandon what is under way and clear errors; the registers that were written keep their values.

        Raises
        ------
        WaitError
            If the bus does not come to rest.
        """
        self.write("CONTROL", self._bits("CONTROL", "RESET"))
        for _ in range(attempts):
            status = self.fields("STATUS")
            if not status["DRAINING"]:
                if status["BUSY"] or status["ERROR"]:
                    raise WaitError("engine is still busy or stopped after a soft reset")
                return
        raise WaitError(f"bus has not come to rest in {attempts} readings of the status")


def loaded(program: NetworkProgram) -> LoadedNetwork:
    """Return what a host needs of a program."""
    image = program.image
    regions = tuple((region.address, region.content) for region in image if region.content is not None)
    return LoadedNetwork(
        regions=regions,
        program=image["program"].address,
        instructions=len(program.instructions),
        window=program.store_window,
        images=(image["input"].address, image["input"].size),
        logits=(image["logits"].address, image["logits"].size),
    )
