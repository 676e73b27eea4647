"""What a host meets of single transfers: errors in any of many, stores that end within a beat, loads for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hw.interface.instructions import ErrorCode, Opcode, item_bytes
from sim.testbench.session import Session
from verification.scenarios.bench import Bench, require
from verification.scenarios.short_program import ShortProgram, field_of, with_field
from verification.scenarios.token_programs import in_parts

__all__ = ["errors_in_parts", "partial_stores", "weights_at_the_end"]

#: Instructions that read memory.
_LOADS = (Opcode.LOAD_MAP, Opcode.LOAD_PARAMETERS, Opcode.LOAD_WEIGHTS)

#: Words that are stored: an odd number, a beat less one and more one.
_WORDS = (1, 2, 3, 5, 7, 9)


def _loads(program: ShortProgram) -> Iterator[tuple[int, int]]:
    """Yield the number of each loading instruction, and the first address that it reads."""
    for index, text in enumerate(program.instructions):
        if Opcode(text[0] & 15) in _LOADS:
            yield index, field_of(text, "address")


def errors_in_parts(session: Session, program: ShortProgram) -> None:
    """An error of the bus in each of many transfers: it is that one's index which is told."""
    parted = in_parts(program)
    bench = Bench(session)
    cycles = bench.run(parted, "in parts")
    for index, address in _loads(parted):
        what = f"DECERR of part {index}"
        session.set(read_error=3, read_first=address, read_last=address)
        bench.fail(parted, ErrorCode.READ_DECODE, index, what)
        session.set(read_error=0)
        bench.recover(parted, what, cycles)
    bench.finish()


def partial_stores(session: Session, program: ShortProgram) -> None:
    """Stores that end within a beat: what lies behind stays as it is, also while memory rests."""
    size = item_bytes(Opcode.STORE_MAP, program.params)
    for stall in (0, 80):
        bench = Bench(session, stall=stall, seed=9)
        for count in _WORDS:
            texts = [
                with_field(text, "count", count) if Opcode(text[0] & 15) is Opcode.STORE_MAP else text
                for text in program.instructions
            ]
            short = replace(program, instructions=tuple(texts), expected=program.expected[: count * size])
            bench.run(short, f"{count} words stored")
        bench.run(program, "the whole map stored")
        bench.finish()


def weights_at_the_end(session: Session, program: ShortProgram) -> None:
    """A run is over when the weights that nobody waits for are in, too, and their errors are told."""
    [(index, weights)] = [
        (index, text) for index, text in enumerate(program.instructions) if Opcode(text[0] & 15) is Opcode.LOAD_WEIGHTS
    ]
    entries = program.params.ring_entries // 2
    last = with_field(weights, "count", entries)
    longer = replace(program, instructions=(*program.instructions, last))
    more = entries * item_bytes(Opcode.LOAD_WEIGHTS, program.params)
    for stall in (0, 200):
        bench = Bench(session, stall_r=stall, latency=200, seed=4)
        bench.run(program, "alone")
        before = bench.driver.counters()["weights_read"]
        bench.run(longer, "weights at the end")
        found = bench.driver.counters()["weights_read"] - before
        require(found == more, f"{more} bytes of weights more must be read when the run is over, not {found}")
        bench.finish()
    address = field_of(last, "address") + more - 1
    if address >= sum(program.reads[index]):  # only the last instruction reads so far
        bench = Bench(session)
        session.set(read_error=2, read_first=address, read_last=address)
        bench.fail(longer, ErrorCode.READ_SLAVE, len(program.instructions), "SLVERR of weights at the end")
        session.set(read_error=0)
        bench.recover(program, "an error of weights at the end")
        bench.finish()
