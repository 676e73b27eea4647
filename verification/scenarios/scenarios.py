"""What a host meets besides good runs: registers, errors of the bus and of programs, resets, high addresses.

All of it runs in the simulator's process, on a short program; what must be is from `docs/interface.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gen.host.driver import DriverError, EngineError
from hw.interface.instructions import INSTRUCTION_BYTES, ErrorCode
from hw.interface.layouts import IdleCause
from hw.interface.registers import REGISTERS, register
from sim.run.trace import read_trace
from sim.testbench.session import Session
from verification.scenarios import token_programs
from verification.scenarios.bad_instructions import bad_instructions_of
from verification.scenarios.bench import LIMIT, MEMORY_BYTES, Bench, ScenarioError, require
from verification.scenarios.short_program import ShortProgram
from verification.scenarios.transfers import errors_in_parts, partial_stores, weights_at_the_end

__all__ = ["SCENARIOS", "run_scenario", "run_scenarios"]

#: Where memory seems to lie: every bit of an address from 17 on is 0 in one and 1 in the other.
_BASES = (0xAAAA_0000, 0x5554_0000)

#: Errors of the bus by the number that stands for them in the testbench's settings.
_RESPONSES = {2: "SLAVE", 3: "DECODE"}

#: The same for a wrong RLAST, which only reads have.
_WRONG_LAST = {5: "LAST"}

#: The setting for no answer at all.
_SILENT = 4


def registers(session: Session, program: ShortProgram) -> None:
    """Reset values, all bits of what can be written, all addresses; accesses that must be refused."""
    known = {entry.address: entry for entry in REGISTERS}
    for gap in (0, 7):
        bench = Bench(session, lite_gap=gap)
        for entry in REGISTERS:
            if entry.access == "rw":
                found = session.register_read(entry.address)
                require(found == entry.init, f"{entry.name} must be {entry.init:#x} after a reset, not {found:#x}")
        for seed in (0xA5C3_F00F, 0x5A3C_0FF0, 0x0137_FEC8):
            rw = [entry for entry in REGISTERS if entry.access == "rw"]
            values = {entry: (seed * (2 * n + 1)) % (1 << 32) for n, entry in enumerate(rw)}
            for entry, value in values.items():
                session.register_write(entry.address, value)
            for entry, value in values.items():
                found = session.register_read(entry.address)
                require(found == value, f"{entry.name} must read {value:#x} as written, not {found:#x}")
        for address in range(0, 1 << 10, 4):
            there = address in known
            _access(session.register_read, (address,), there, f"read of {address:#x}")
            writable = there and known[address].access != "ro"
            if not writable or address != register("CONTROL").address:
                _access(session.register_write, (address, 0), writable, f"write to {address:#x}")
        for address in (0x19, 0x1A, 0x23):
            _access(session.register_read, (address,), False, f"read of {address:#x}")
            _access(session.register_write, (address, 0), False, f"write to {address:#x}")
        require(bench.driver.read("CONTROL") == 0, "CONTROL must read 0")
        bench.finish()


def _access(call: Callable[..., object], arguments: tuple[int, ...], allowed: bool, what: str) -> None:
    try:
        call(*arguments)
    except DriverError as error:
        require(not allowed and "SLVERR" in str(error), f"{what}: {error}")
    else:
        require(allowed, f"{what} must be refused")


def bus_errors(session: Session, program: ShortProgram) -> None:
    """SLVERR and DECERR of reads and writes, a wrong RLAST, with and without back-pressure; a good run after each."""
    bench = Bench(session)
    cycles = bench.run(program, "alone")
    last = len(program.instructions) - 1
    for stall, responses in ((0, _RESPONSES), (80, {3: "DECODE"})):
        session.set(stall=stall, extra=stall)
        for number, name in (responses | _WRONG_LAST).items():
            for address, index in _places(program):
                session.set(read_error=number, read_first=address, read_last=address)
                what = f"{name} at {address:#x}"
                bench.fail(program, getattr(ErrorCode, f"READ_{name}"), index, what)
                session.set(read_error=0)
                bench.recover(program, what, None if stall else cycles)
        for number, name in responses.items():
            for offset in (0, 8, len(program.expected) - 1):
                session.set(write_error=number, write_first=program.result + offset, write_last=program.result + offset)
                what = f"{name} of the write {offset}"
                bench.fail(program, getattr(ErrorCode, f"WRITE_{name}"), last, what)
                session.set(write_error=0)
                bench.recover(program, what, None if stall else cycles)
    bench.finish(provoked="R_LAST")


def _places(program: ShortProgram) -> Iterator[tuple[int, int]]:
    """Yield addresses that are read, and the instruction that an error there stops."""
    for index in (0, len(program.instructions) - 1):
        yield program.program + 64 * index + 24, index
    for index, (address, size) in program.reads.items():
        yield from ((address + offset, index) for offset in (0, size - 1))


def bad_instructions(session: Session, program: ShortProgram) -> None:
    """Each error of an instruction; and starts that are at fault themselves."""
    bench = Bench(session)
    cycles = bench.run(program, "alone")
    for number, (what, code, index, text) in enumerate(bad_instructions_of(program)):
        address = program.program + INSTRUCTION_BYTES * index
        session.memory_write(address, text)
        try:
            bench.driver.start()
            bench.driver.wait(LIMIT)
        except EngineError as error:
            require((error.code, error.index) == (code, index), f"{what}: {error}, not {code.name} at {index}")
        else:
            raise ScenarioError(f"{what}: no error")
        bench.driver.soft_reset()
        session.memory_write(address, program.instructions[index])
        if number % 64 == 0:
            bench.check_memory(program, False, what)
            bench.recover(program, what, cycles)
    for length in (0, 1 << 16, 1 << 31):
        bench.load(program)
        bench.driver.write("PROGRAM_LENGTH", length)
        bench.stopped(ErrorCode.LENGTH, 0, f"{length} instructions")
        bench.driver.soft_reset()
    for bit in range(6):
        bench.load(program)
        bench.driver.write("PROGRAM_ADDRESS", program.program ^ 1 << bit)
        bench.stopped(ErrorCode.ADDRESS, 0, f"program address with bit {bit}")
        bench.driver.soft_reset()
    bench.run(program, "after bad instructions")
    bench.finish()


def watchdog(session: Session, program: ShortProgram) -> None:
    """Memory that does not answer; a watchdog that is just patient enough, and one that is not."""
    bench = Bench(session)
    cycles = bench.run(program, "alone")
    for address, index in _places(program):
        session.set(read_error=_SILENT, read_first=address, read_last=address)
        bench.load(program, watchdog=3000)
        bench.stopped(ErrorCode.WATCHDOG, None, f"no answer at {address:#x}")
        require(bench.driver.fields("STATUS")["DRAINING"] == 1, f"no answer at {address:#x}: bus is at rest")
        session.set(read_error=0)
        bench.recover(program, f"no answer for instruction {index}", cycles)
    session.set(write_error=_SILENT, write_first=program.result, write_last=program.result)
    bench.load(program, watchdog=3000)
    bench.stopped(ErrorCode.WATCHDOG, len(program.instructions) - 1, "no response")
    session.set(write_error=0)
    bench.recover(program, "no response", cycles)
    bench.run(program, "patience", watchdog=cycles)
    for patience in (0, 64):
        bench.fail(program, ErrorCode.WATCHDOG, None, f"watchdog of {patience}", watchdog=patience)
        bench.recover(program, f"watchdog of {patience}", cycles)
    bench.finish()


def causes(session: Session, program: ShortProgram) -> None:
    """Up to the first step of a run nothing is idle for the end, a decision or an output, even if all is dispatched."""
    bench = Bench(session, bandwidth=1)
    bench.load(program)
    trace = session.open_traces()
    bench.driver.start()
    bench.driver.wait(LIMIT)
    session.close_traces()
    idle = read_trace(trace, program.params).passes["counters"]["idle"]
    for cause in (IdleCause.END, IdleCause.DECISION, IdleCause.OUTPUT):
        found = int(idle[0, cause.value])
        require(not found, f"{found} cycles before the first step are idle for the cause {cause.name.lower()}")
    found = int(idle[0, IdleCause.START.value])
    require(found >= INSTRUCTION_BYTES, f"reading an instruction takes {INSTRUCTION_BYTES} cycles, not {found}")
    bench.finish()


def tokens(session: Session, program: ShortProgram) -> None:
    """Units that wait for each other, for what does not come; full queues; more tokens than are counted."""
    bench = Bench(session)
    cycles = bench.run(program, "alone")
    for what, good in token_programs.waiting(program):
        bench.run(good, what)
    bench.run(token_programs.in_parts(program), "transfers in parts")
    for what, bad in token_programs.starving(program):
        bench.fail(bad, ErrorCode.WATCHDOG, None, what, watchdog=3000)
        bench.driver.soft_reset()
    for what, bad in token_programs.too_many(program):
        bench.fail(bad, ErrorCode.TOKENS, None, what)
        bench.recover(program, what, cycles)
    bench.finish()


def refusals(session: Session, program: ShortProgram) -> None:
    """Starts while busy, resets in the middle of a run."""
    bench = Bench(session, seed=3)
    cycles = bench.run(program, "alone")
    bench.load(program)
    bench.driver.start()
    for _ in range(3):
        session.wait(cycles // 8)
        bench.refused("busy", "start while busy")
    bench.driver.wait(LIMIT)
    bench.check_memory(program, True, "refused starts")
    found = bench.driver.counters()["cycles"]
    require(found == cycles, f"refused starts must not change the {cycles} cycles to {found}")
    for stall in (0, 60):
        session.set(stall=stall)
        for part in range(1, 10):
            bench.load(program)
            bench.driver.start()
            session.wait(part * cycles // 10 - 150)
            what = f"reset after {part} parts of 10"
            bench.driver.soft_reset()
            bench.check_memory(program, False, what)
            bench.recover(program, what, None if stall else cycles)
    bench.finish()


def high_addresses(session: Session, program: ShortProgram) -> None:
    """Memory and program elsewhere in the address space; there is nothing below and above."""
    for base in _BASES:
        bench = Bench(session, base=base // MEMORY_BYTES * MEMORY_BYTES)
        bench.run(program.moved(base), f"program at {base:#x}")
        bench.finish()


#: All, the cheapest first.
SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        registers,
        high_addresses,
        causes,
        partial_stores,
        weights_at_the_end,
        tokens,
        refusals,
        watchdog,
        bad_instructions,
        errors_in_parts,
        bus_errors,
    )
}


def run_scenario(session: Session, folder: Path, name: str, program: ShortProgram) -> None:
    """Run one of `SCENARIOS` after a reset.

    Raises
    ------
    ScenarioError
        If something is not as it must be.
    DriverError
        If the engine does not answer, or stops where it must not.
    """
    SCENARIOS[name](session, program)


def run_scenarios(session: Session, folder: Path, program: ShortProgram) -> None:
    """Run all `SCENARIOS`, one after the other; errors are those of `run_scenario`, with the scenario's name."""
    for name in SCENARIOS:
        try:
            run_scenario(session, folder, name, program)
        except (ScenarioError, DriverError) as error:
            raise ScenarioError(f"{name}: {error}") from error
