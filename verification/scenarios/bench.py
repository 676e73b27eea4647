"""An engine as scenarios drive it: loads a short program, runs it, and requires what must come of it."""

from __future__ import annotations

from typing import Any

from cdgate.errors import RunError
from gen.host.driver import EngineError, RefusedError
from hw.interface.instructions import Opcode
from sim.run.system import MEMORY_LOG2
from sim.testbench.session import Session
from verification.scenarios.short_program import ShortProgram

__all__ = ["LIMIT", "MEMORY_BYTES", "Bench", "ScenarioError", "require"]

#: Cycles after which a run is given up; one takes some 2,000.
LIMIT = 60_000

#: Bytes of the memory.
MEMORY_BYTES = 1 << MEMORY_LOG2


class ScenarioError(RunError):
    """Something is not as it must be."""


def require(holds: bool, text: str) -> None:
    """Raise `ScenarioError` with a text if something does not hold."""
    if not holds:
        raise ScenarioError(text)


class Bench:
    """An engine, and what its memory must hold."""

    def __init__(self, session: Session, **settings: int) -> None:
        self.session = session
        nothing = dict.fromkeys(("extra", "stall", "lite_gap", "base", "read_error", "write_error"), 0)
        session.set(**{"bandwidth": 8, "latency": 20, "seed": 1, **nothing, **settings})
        session.reset()
        self.driver = session.driver()
        self._rules = self._broken()

    def _broken(self) -> dict[str, int]:
        return {name: count for name, count in self.session.report().items() if name.isupper()}

    def load(self, program: ShortProgram, watchdog: int = 1 << 26) -> None:
        """Write a program and its data into empty memory, and tell the engine where it is."""
        self.first = program.base % MEMORY_BYTES
        self.before = program.memory()
        self.session.memory_write(self.first, self.before)
        for name, value in (
            ("PROGRAM_ADDRESS", program.program),
            ("PROGRAM_LENGTH", len(program.instructions)),
            ("STORE_BASE", program.result),
            ("STORE_END", program.result + len(program.expected)),
            ("WATCHDOG", watchdog),
        ):
            self.driver.write(name, value)

    def check_memory(self, program: ShortProgram, exact: bool, what: str) -> None:
        """Nothing but the result may have changed; `exact`: the result is there."""
        after = self.session.memory_read(self.first, len(self.before))
        first = program.result - program.base
        stop = first + len(program.expected)
        same = after[:first] == self.before[:first] and after[stop:] == self.before[stop:]
        require(same, f"{what}: memory outside of the stored map has changed")
        if exact:
            wrong = sum(a != b for a, b in zip(after[first:stop], program.expected, strict=True))
            require(not wrong, f"{what}: {wrong} of {stop - first} bytes of the stored map are wrong")

    def run(self, program: ShortProgram, what: str, watchdog: int = 1 << 26) -> int:
        """Run a good program; return its cycles."""
        self.load(program, watchdog)
        self.driver.start()
        self.driver.wait(LIMIT)
        self.check_memory(program, True, what)
        counters = self.driver.counters()
        idle = sum(value for name, value in counters.items() if name.startswith("idle_"))
        steps = counters["base_steps"] + counters["cond_steps"]
        require(steps + idle == counters["cycles"], f"{what}: counters do not add up: {counters}")
        passes = sum(Opcode(text[0] & 15) is Opcode.COMPUTE for text in program.instructions)
        expected = passes * program.steps
        require(steps == expected, f"{what}: {expected} steps must be done at the end, not {steps}")
        return counters["cycles"]

    def fail(self, program: ShortProgram, code: Any, index: int | None, what: str, watchdog: int = 1 << 26) -> None:
        """Run a program that must be stopped with a code at an instruction, if that is certain."""
        self.load(program, watchdog)
        self.stopped(code, index, what)
        self.check_memory(program, False, what)

    def stopped(self, code: Any, index: int | None, what: str) -> None:
        """Start what is loaded: it must be stopped, and refuse the next start."""
        self.driver.start()
        try:
            self.driver.wait(LIMIT)
        except EngineError as error:
            require(error.code is code and index in (None, error.index), f"{what}: {error}, not {code.name} at {index}")
        else:
            raise ScenarioError(f"{what}: no error")
        status = self.driver.fields("STATUS")
        require((status["BUSY"], status["DONE"], status["ERROR"]) == (0, 0, 1), f"{what}: status {status}")
        self.refused("stopped by an error", what)

    def refused(self, reason: str, what: str) -> None:
        """A start must be refused."""
        before = self.driver.fields("INTERRUPT")
        try:
            self.driver.start()
        except RefusedError as error:
            require(error.reason == reason, f"{what}: {error}")
        else:
            raise ScenarioError(f"{what}: start is accepted")
        if reason != "busy":  # the driver has cleared the others
            require(not any(self.driver.fields("INTERRUPT").values()), f"{what}: {before} is not cleared")

    def recover(self, program: ShortProgram, what: str, cycles: int | None = None) -> None:
        """Reset by software; a good program then runs, in as many cycles as ever."""
        self.driver.soft_reset()
        for name in ("STATUS", "INTERRUPT", "ERROR_CODE", "ERROR_INDEX", "REFUSAL"):
            require(self.driver.read(name) == 0, f"{name} must be 0 after {what} and a reset")
        found = self.run(program, f"after {what}")
        require(cycles in (None, found), f"run after {what} must take {cycles} cycles, not {found}")

    def finish(self, provoked: str = "") -> None:
        """No rule of the buses may have been broken, but for one that was provoked."""
        broken = {
            name: count for name, count in self._broken().items() if count != self._rules[name] and name != provoked
        }
        require(not broken, f"rules of the buses are broken: {', '.join(broken)}")
