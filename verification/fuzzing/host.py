"""The engine under test as a host sees it: programs in memory, runs that end, and what they left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gen.host.driver import EngineError, LoadedNetwork, WaitError
from hw.params import HwParams
from sim.testbench.session import Session
from verification.networks.one_layer import END, OneLayer

__all__ = ["DONE", "HANG", "FindingError", "Host", "Job", "PATIENT", "QUIET", "job_of"]

#: How a run can end, besides with an error, which is told by the name of its code.
DONE, HANG = "exact", "hang"

#: Settings of a memory without faults.
QUIET = {
    "bandwidth": 8,
    "latency": 20,
    "extra": 0,
    "stall": 0,
    "lite_gap": 0,
    "read_error": 0,
    "write_error": 0,
    "late": 0,
}

#: A watchdog that every instruction of a good program ends before.
PATIENT = 1 << 20

#: Cycles after which a run is given up beyond its watchdog: no instruction of the programs here takes as long.
PATIENCE = 4_000_000


class FindingError(Exception):
    """Something that must never be; its text says what."""


@dataclass(frozen=True)
class Job:
    """A good program: what is loaded, and what it must leave.

    Attributes
    ----------
    network
        For the driver.
    images
        What is written to the place of the images; may be empty.
    size
        Bytes of memory that are looked at.
    expected
        What memory must hold after it: (address, bytes).
    """

    network: LoadedNetwork
    images: bytes
    size: int
    expected: tuple[tuple[int, bytes], ...]


def job_of(one: OneLayer) -> Job:
    """Return the job of a program of one layer."""
    return Job(one.loaded(), b"", END, ((one.address, one.expected),))


class Host:
    """A host with one engine, in the simulator's process.

    Parameters
    ----------
    session
        The engine; it is reset.
    params
        Its parameters.
    watchdog
        What the register is set to with each program, in cycles.
    """

    def __init__(self, session: Session, params: HwParams, watchdog: int = 20_000):
        self.session, self.params, self.watchdog = session, params, watchdog
        session.set(**QUIET)
        session.reset()
        self.driver = session.driver()
        self.loaded: Job | None = None
        self.cycles: dict[int, int] = {}  #: Of good programs by number, as they run undisturbed.

    def load(self, job: Job, **changes: Any) -> None:
        """Write a program into memory, 0 around it, and tell the engine where it is.

        Parameters
        ----------
        job
            The program.
        changes
            Of what the driver is told: other ``regions``, another ``window``.
        """
        image = np.zeros(job.size, dtype=np.uint8)
        for address, data in (*job.network.regions, *([(job.network.images[0], job.images)] if job.images else [])):
            image[address : address + len(data)] = np.frombuffer(data, dtype=np.uint8)
        for address, data in changes.get("patches", ()):
            image[address : address + len(data)] = np.frombuffer(data, dtype=np.uint8)
        self.session.memory_write(0, image.tobytes())
        self.before, self.loaded = image, job
        self.registers()

    def registers(self) -> None:
        """Tell the engine where the program is."""
        assert self.loaded is not None
        network = self.loaded.network
        self.window = network.window
        for name, value in (
            ("PROGRAM_ADDRESS", network.program),
            ("PROGRAM_LENGTH", network.instructions),
            ("STORE_BASE", network.window[0]),
            ("STORE_END", network.window[1]),
            ("WATCHDOG", self.watchdog),
        ):
            self.driver.write(name, value)

    def start(self) -> None:
        """Start the program."""
        self.driver.start()

    def finish(self) -> str:
        """Wait for the end; return `DONE`, `HANG` or the name of the error's code."""
        try:
            self.driver.wait(PATIENCE)
        except EngineError as error:
            self.index = error.index
            return error.code.name
        except WaitError:
            return HANG
        return DONE

    def memory(self) -> np.ndarray:
        """Return the memory that is looked at."""
        assert self.loaded is not None
        return np.frombuffer(self.session.memory_read(0, self.loaded.size), dtype=np.uint8)

    def check(self, exact: bool) -> None:
        """Compare memory with what the program found: nothing outside of its window may be other than before.

        Parameters
        ----------
        exact
            Whether the results must be there, too.

        Raises
        ------
        FindingError
            If not.
        """
        after = self.memory()
        changed = np.flatnonzero(after != self.before)
        outside = changed[(changed < self.window[0]) | (changed >= self.window[1])]
        if len(outside):
            raise FindingError(f"{len(outside)} bytes outside of the window are written, the first at {outside[0]:#x}")
        if exact:
            self.check_result(after)

    def check_result(self, after: np.ndarray | None = None) -> None:
        """Compare the results in memory with what they must be; raises `FindingError` if they differ."""
        assert self.loaded is not None
        for address, data in self.loaded.expected:
            found = self.session.memory_read(address, len(data)) if after is None else after[address:][: len(data)]
            wrong = np.flatnonzero(np.frombuffer(bytes(found), dtype=np.uint8) != np.frombuffer(data, dtype=np.uint8))
            if len(wrong):
                raise FindingError(f"{len(wrong)} of {len(data)} bytes of the result are wrong, from {wrong[0]} on")

    def recover(self, job: Job | None = None) -> None:
        """Take all faults away and reset by software; a good program must run then, exactly.

        Parameters
        ----------
        job
            The good program; the one that is loaded, without writing it again, if not given.

        Raises
        ------
        FindingError
            If it does not.
        """
        self.session.set(**QUIET)
        try:
            self.driver.soft_reset()
        except WaitError as error:
            raise FindingError(f"after the soft reset: {error}") from None
        left = {name: self.driver.read(name) for name in ("STATUS", "INTERRUPT", "ERROR_CODE", "ERROR_INDEX")}
        if any(left.values()):
            raise FindingError(f"after the soft reset registers are left: {left}")
        if job is not None:
            self.watchdog = PATIENT  # it may be another one, with longer instructions
            self.load(job)
        else:
            self.blank()
        self.start()
        end = self.finish()
        if end != DONE:
            raise FindingError(f"after the soft reset a good program ends with {end}")
        self.check_result()

    def blank(self) -> None:
        """Clear the window of the program, so that no result of an earlier run is taken for one."""
        assert self.loaded is not None
        for address, data in self.loaded.expected:
            self.session.memory_write(address, bytes(len(data)))
        self.before = self.memory().copy()

    def broken_rules(self) -> dict[str, int]:
        """Return how often each rule of the buses was broken since the simulation began, but for those kept."""
        return {name: count for name, count in self.session.report().items() if name.isupper() and count}
