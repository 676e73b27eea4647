"""Scenarios for the whole engine with programs of one layer; run in the simulator, see `sim.run.system`."""

import dataclasses

from gen.host.driver import DriverError, EngineError, RefusedError
from hw.interface.instructions import ErrorCode, Opcode
from verification.networks.one_layer import END, IFMAP, OFMAP, PARAMETERS, PROGRAM, WEIGHTS, instruction

LIMIT = 2_000_000


class Bench:
    """An engine, and what its memory must hold."""

    def __init__(self, session, **settings):
        self.session = session
        session.set(latency=20, bandwidth=8, **settings)
        session.reset()
        self.driver = session.driver()

    def load(self, program, **changes):
        """Write a program and its data into empty memory, and tell the engine where it is."""
        self.session.memory_write(0, bytes(END))
        self.driver.load_network(program.loaded(), **{"watchdog": 1 << 26, **changes})
        self.before = self.session.memory_read(0, END)

    def check_memory(self, program, exact, what):
        """Nothing but the result may have changed; `exact`: the result is there, else a part of it at most."""
        after = self.session.memory_read(0, END)
        first, stop = program.address, program.address + len(program.expected)
        assert after[:first] == self.before[:first] and after[stop:] == self.before[stop:], f"{what}: other memory"
        if exact:
            wrong = [n for n, (a, b) in enumerate(zip(after[first:stop], program.expected, strict=True)) if a != b]
            assert not wrong, f"{what}: {len(wrong)} of {stop - first} bytes are wrong, the first at {wrong[0]}"

    def run(self, program, what, **changes):
        """Run a good program."""
        self.load(program, **changes)
        self.driver.start()
        self.driver.wait(LIMIT)
        self.check_memory(program, True, what)
        counters = self.driver.counters()
        idle = sum(value for name, value in counters.items() if name.startswith("idle_"))
        assert counters["base_steps"] + counters["cond_steps"] + idle == counters["cycles"], counters
        return counters

    def fail(self, program, code, index, what, *, exact=False, **changes):
        """Run a program that must be stopped with a code at an instruction; then reset."""
        self.load(program, **changes)
        self.driver.start()
        try:
            self.driver.wait(LIMIT)
        except EngineError as error:
            assert (error.code, error.index) == (code, index), f"{what}: {error}, not {code.name} at {index}"
        else:
            raise AssertionError(f"{what}: no error")
        status = self.driver.fields("STATUS")
        assert (status["BUSY"], status["DONE"], status["ERROR"]) == (0, 0, 1), (what, status)
        assert self.driver.fields("INTERRUPT") == {"DONE": 0, "ERROR": 1, "REFUSED": 0}, what
        self.check_memory(program, exact, what)
        try:
            self.driver.start()
        except RefusedError as error:
            assert error.reason == "stopped by an error", what
        else:
            raise AssertionError(f"{what}: start after an error")

    def recover(self, program, what):
        """Reset by software; a good program then runs."""
        self.driver.soft_reset()
        assert self.driver.read("STATUS") == self.driver.read("INTERRUPT") == self.driver.read("ERROR_CODE") == 0, what
        self.run(program, f"after {what}")

    def finish(self):
        """No rule of the buses may have been broken."""
        report = self.session.report()
        broken = {name: count for name, count in report.items() if name.isupper() and count}
        assert not broken, broken
        return report


def bit_exact(session, programs, settings):
    """Run all programs with each settings, one after the other without a reset; return the counters."""
    bench = Bench(session)
    found = []
    for number, changes in enumerate(settings):
        session.set(**{"bandwidth": 8, "extra": 0, "stall": 0, "lite_gap": 0, **changes})
        found.append([bench.run(program, f"program {n} with {changes}") for n, program in enumerate(programs)])
        if number == 0:
            beats = session.report()
            read = sum(counters[name] for counters in found[0] for name in counters if name.endswith("_read"))
            written = sum(counters[name] for counters in found[0] for name in counters if name.endswith("_written"))
            assert [read, written] == [session.axi_bytes * beats[name] for name in ("read_beats", "write_beats")]
    return found, bench.finish()


def bad_instructions(session, program, layer, params):
    """Each error of an instruction, first, in the middle and last."""
    bench = Bench(session)

    def variant(index, text):
        return dataclasses.replace(
            program, instructions=[*program.instructions[:index], text, *program.instructions[index + 1 :]]
        )

    def flipped(index, bit):
        text = bytearray(program.instructions[index])
        text[bit // 8] ^= 1 << bit % 8
        return variant(index, bytes(text))

    last = len(program.instructions) - 1
    compute = last - 1
    depth = params.bank_words
    store = {"address": OFMAP, "count": 4}
    cases = [
        ("no opcode", ErrorCode.OPCODE, 0, variant(0, bytes(64))),
        ("unknown opcode", ErrorCode.OPCODE, 1, variant(1, instruction(15))),
        ("bit of the header", ErrorCode.OPCODE, 0, flipped(0, 63)),
        ("bit after a transfer", ErrorCode.OPCODE, last, flipped(last, 511)),
        ("bit after a layer", ErrorCode.OPCODE, compute, flipped(compute, 511)),
        ("own token", ErrorCode.TOKENS, 0, variant(0, instruction(Opcode.LOAD_MAP, give=["load"], count=1))),
        ("token of weights", ErrorCode.TOKENS, 2, variant(2, instruction(Opcode.LOAD_WEIGHTS, take=["load"], count=1))),
        (
            "forced mode",
            ErrorCode.LAYER,
            compute,
            variant(compute, instruction(Opcode.COMPUTE, take=["load"], layer={**layer, "mode": 4}, params=params)),
        ),
        (
            "ofmap in the ifmap's bank",
            ErrorCode.LAYER,
            compute,
            variant(
                compute,
                instruction(
                    Opcode.COMPUTE, take=["load"], layer={**layer, "ofmap_bank": layer["ifmap_bank"]}, params=params
                ),
            ),
        ),
        ("odd address", ErrorCode.ADDRESS, 0, variant(0, instruction(Opcode.LOAD_MAP, address=IFMAP + 2, count=1))),
        ("nothing to load", ErrorCode.RANGE, 0, variant(0, instruction(Opcode.LOAD_MAP, address=IFMAP))),
        (
            "load beyond a bank",
            ErrorCode.RANGE,
            0,
            variant(0, instruction(Opcode.LOAD_MAP, address=IFMAP, count=2, bank_addr=depth - 1)),
        ),
        (
            "parameters beyond their memory",
            ErrorCode.RANGE,
            1,
            variant(1, instruction(Opcode.LOAD_PARAMETERS, address=PARAMETERS, count=1, bank_addr=params.param_words)),
        ),
        (
            "load beyond the address space",
            ErrorCode.RANGE,
            2,
            variant(2, instruction(Opcode.LOAD_WEIGHTS, address=0xFFFF_FFF0, count=9)),
        ),
        (
            "store below the window",
            ErrorCode.RANGE,
            last,
            variant(last, instruction(Opcode.STORE_MAP, **{**store, "address": OFMAP - 4})),
        ),
        (
            "store across the window's end",
            ErrorCode.RANGE,
            last,
            variant(last, instruction(Opcode.STORE_MAP, **{**store, "address": END - 4})),
        ),
    ]
    for what, code, index, bad in cases:
        bench.fail(bad, code, index, what)
        bench.recover(program, what)
    bench.fail(dataclasses.replace(program, instructions=[]), ErrorCode.LENGTH, 0, "no program")
    bench.recover(program, "no program")
    bench.load(program)
    bench.driver.write("PROGRAM_ADDRESS", 32)
    bench.driver.start()
    try:
        bench.driver.wait(LIMIT)
        raise AssertionError("odd program address")
    except EngineError as error:
        assert (error.code, error.index) == (ErrorCode.ADDRESS, 0)
    bench.recover(program, "odd program address")
    return bench.finish()


def bus_errors(session, program):
    """SLVERR and DECERR of reads and writes, with and without back-pressure; then a good run."""
    last = len(program.instructions) - 1
    bench = Bench(session, seed=5)
    places = [(PROGRAM + 64 * 2, 2), (IFMAP + 16, 0), (PARAMETERS, 1), (WEIGHTS + 64, 2), (WEIGHTS + 8000, 2)]
    for stall in (0, 80):
        session.set(stall=stall, extra=stall)
        for response, name in ((2, "SLAVE"), (3, "DECODE")):
            for address, index in places:
                session.set(read_error=response, read_first=address, read_last=address + 3)
                what = f"{name} at {address:#x}"
                bench.fail(program, ErrorCode[f"READ_{name}"], index, what)
                session.set(read_error=0)
                bench.recover(program, what)
            for offset in (0, len(program.expected) - 4):
                session.set(write_error=response, write_first=OFMAP + offset, write_last=OFMAP + offset + 3)
                what = f"{name} of the write {offset}"
                bench.fail(program, ErrorCode[f"WRITE_{name}"], last, what)
                session.set(write_error=0)
                bench.recover(program, what)
    return bench.finish()


def watchdog(session, program, starved):
    """Memory that does not answer, and a token that does not come."""
    last = len(program.instructions) - 1
    bench = Bench(session)
    for address, index in ((PROGRAM, 0), (IFMAP, 0), (PARAMETERS, 1), (WEIGHTS + 64, None)):
        session.set(read_error=4, read_first=address, read_last=address + 3)
        bench.load(program, watchdog=3000)
        expect(bench, ErrorCode.WATCHDOG, index, f"no answer at {address:#x}")
        draining(bench)
        session.set(read_error=0)
        bench.recover(program, f"no answer at {address:#x}")
    session.set(write_error=4, write_first=OFMAP, write_last=OFMAP + 3)
    bench.load(program, watchdog=30000)
    expect(bench, ErrorCode.WATCHDOG, last, "no response")
    draining(bench)
    session.set(write_error=0)
    bench.recover(program, "no response")
    bench.load(starved, watchdog=3000)
    expect(bench, ErrorCode.WATCHDOG, None, "no token")
    bench.recover(program, "no token")
    # A watchdog that is just patient enough.
    counters = bench.run(program, "patience")
    bench.run(program, "patience", watchdog=counters["cycles"])
    return bench.finish()


def expect(bench, code, index, what):
    """Run what is loaded; it must be stopped."""
    bench.driver.start()
    try:
        bench.driver.wait(LIMIT)
    except EngineError as error:
        assert error.code is code and index in (None, error.index), f"{what}: {error}, not {code.name} at {index}"
        return
    raise AssertionError(f"{what}: no error")


def draining(bench):
    """A transaction is open, so the bus is not at rest."""
    assert bench.driver.fields("STATUS")["DRAINING"] == 1


def refusals(session, program):
    """A start while busy, a reset in the middle, registers that are not there."""
    bench = Bench(session, lite_gap=7)
    driver = bench.driver
    cycles = bench.run(program, "alone")["cycles"]
    bench.load(program)
    driver.start()
    for _ in range(3):
        assert not session.wait(cycles // 8)
        try:
            driver.start()
            raise AssertionError("a start while busy is accepted")
        except RefusedError as error:
            assert error.reason == "busy"
    driver.wait(LIMIT)
    bench.check_memory(program, True, "refused starts")
    assert driver.counters()["cycles"] == cycles
    for part in range(1, 12):
        bench.load(program)
        driver.start()
        session.wait(part * cycles // 12)
        driver.soft_reset()
        assert driver.read("STATUS") == 0
        bench.check_memory(program, False, f"reset after {part} parts of 12")
        assert bench.run(program, f"after a reset after {part} parts of 12")["cycles"] == cycles
    for access in (
        lambda: session.register_read(0x3FC),
        lambda: session.register_write(0x3FC, 0),
        lambda: session.register_write(0x0, 0),
    ):
        try:
            access()
            raise AssertionError("access to no register is accepted")
        except DriverError as error:
            assert "SLVERR" in str(error)
    bench.run(program, "at the end")
    return bench.finish()


def beyond_the_memory(session):
    """Something that the testbench cannot do."""
    session.memory_read(1 << 30, 4)
