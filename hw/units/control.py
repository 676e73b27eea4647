"""The registers, and the life of a run: start, end, error, interrupt, soft reset."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attributes import KEEP
from hw.interface.axi import ADDR_BITS, RegisterPort
from hw.interface.instructions import INDEX_BITS, INSTRUCTION_BYTES, ErrorCode
from hw.interface.layouts import Refusal
from hw.interface.registers import COUNTERS, IDENTITY, REGISTERS, register
from hw.units.signatures import RunStatus

__all__ = ["COUNTER_BITS", "Control"]


#: Width of a counter as the registers show it, in bits.
COUNTER_BITS = 64


class Control(wiring.Component):
    """Register file and state of the engine.

    A run starts with the start bit and ends when all is dispatched and nothing is under way; or it is stopped by the
    first error: nothing new is asked of the bus then, and what is under way there is brought to its end. Only a soft
    reset leads on from an error. A soft reset clears the rest of the engine once the bus is at rest. A start that
    cannot be is refused, and changes nothing else.

    A register is read three cycles after its address. The watchdog counts cycles since an instruction was completed.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    registers : reads and writes of registers.
    start : strobe: a run begins.
    running : a run is under way.
    program_address, program_length, store_base, store_end : registers.
    counters : by `COUNTERS`, which are shown as they are.
    status : what becomes of the run, from :class:`RunMonitor`.
    bus_idle : nothing is under way on the bus.
    drain : nothing new may be asked of the bus.
    clear : strobe: resets everything else, within three cycles.
    interrupt : interrupt line.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "registers": In(RegisterPort()),
                "start": Out(1),
                "running": Out(1),
                "program_address": Out(ADDR_BITS),
                "program_length": Out(INDEX_BITS),
                "store_base": Out(ADDR_BITS),
                "store_end": Out(ADDR_BITS),
                "counters": In(data.ArrayLayout(COUNTER_BITS, len(COUNTERS))),
                "status": In(RunStatus),
                "bus_idle": In(1),
                "drain": Out(1),
                "clear": Out(1),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        values = {
            entry.name: Signal(32, name=entry.name.lower(), init=entry.init)
            for entry in REGISTERS
            if not entry.name.endswith(("_LOW", "_HIGH"))
        }
        self._registers(m, values)
        m.d.comb += [
            self.program_address.eq(values["PROGRAM_ADDRESS"]),
            self.program_length.eq(values["PROGRAM_LENGTH"]),
            self.store_base.eq(values["STORE_BASE"]),
            self.store_end.eq(values["STORE_END"]),
        ]
        self._run(m, values)
        return m

    def _registers(self, m, values):
        """Reads and writes; what software cannot write is assigned in `_run`."""
        params = self.params
        facts = {
            "IN_PAR": params.in_par,
            "RQ_LANES": params.rq_lanes,
            "AXI_BYTES": params.axi_bytes,
            "BANK_LOG2": exact_log2(params.bank_words),
            "RING_LOG2": exact_log2(params.ring_entries),
        }
        m.d.comb += [
            values["IDENTITY"].eq(IDENTITY),
            values["CONFIGURATION"].eq(
                sum(facts[part.name] << part.offset for part in register("CONFIGURATION").fields)
            ),
        ]
        # The answer to a read is picked in two steps, each a cycle: in each group of eight words, which is 0 unless its
        # own is wanted, then any of the groups. A cycle before, each group has registers of the address.
        words = {
            register(name).address // 4: value if register(name).access != "wo" else Const(0, 32)
            for name, value in values.items()
        }
        first = register(f"{COUNTERS[0][0].upper()}_LOW").address // 4
        words |= {first + n: self.counters.as_value().word_select(n, 32) for n in range(2 * len(COUNTERS))}
        groups, known, hits = [], [], []
        for start in range(0, 1 << len(self.registers.read_addr), 8):
            group = Signal(32, name=f"group_{start // 8}")
            hit = Signal(name=f"hit_{start // 8}")
            numbers = range(start, start + 8)
            if not any(n in words for n in numbers):
                continue
            wanted = Signal(name=f"wanted_{start // 8}", attrs=KEEP)
            low = Signal(3, name=f"low_{start // 8}", attrs=KEEP)
            m.d.sync += [
                wanted.eq(self.registers.read_addr[3:] == start // 8),
                low.eq(self.registers.read_addr[:3]),
                hit.eq(wanted & Const(sum((n in words) << (n - start) for n in numbers), 8).bit_select(low, 1)),
            ]
            for half in range(2):  # each with an address of its own
                place = Signal(3, name=f"low_{start // 8}_{half}", attrs=KEEP)
                choices = Array(Value.cast(words.get(n, Const(0, 32))).word_select(half, 16) for n in numbers)
                m.d.sync += [
                    place.eq(self.registers.read_addr[:3]),
                    group.word_select(half, 16).eq(Mux(wanted, choices[place], 0)),
                ]
            groups.append(group)
            known.append(hit)
        m.d.sync += [
            self.registers.read_data.eq(reduce(or_, groups)),
            self.registers.read_hit.eq(Cat(known).any()),
        ]
        # A write reaches the registers one cycle later.
        written = Signal(32)
        m.d.sync += written.eq(self.registers.write_data)
        for name, value in values.items():
            access = register(name).access
            if access == "ro":
                continue
            hit = Signal(name=f"write_hit_{name.lower()}")
            chosen = Signal(name=f"write_{name.lower()}")
            m.d.comb += hit.eq(self.registers.write_addr == register(name).address // 4)
            m.d.sync += chosen.eq(self.registers.write & hit)
            hits.append(hit)
            if access == "wo":
                m.d.comb += value.eq(Mux(chosen, written, 0))
            else:
                with m.If(chosen):
                    m.d.sync += value.eq(written if access == "rw" else value & ~written)
        m.d.comb += self.registers.write_hit.eq(Cat(hits).any())

    def _run(self, m, values):
        def bit(name, part):
            [offset] = [entry.offset for entry in register(name).fields if entry.name == part]
            return values[name][offset]

        start = Signal()
        reset = Signal()
        m.d.sync += [start.eq(bit("CONTROL", "START")), reset.eq(bit("CONTROL", "RESET"))]
        done = Signal()
        error = Signal()
        resetting = Signal()
        at_rest = Signal(8)  # cycles, each a bit
        rested = Signal()
        m.d.comb += [
            values["STATUS"].eq(Cat(self.running, done, error, resetting | (self.drain & ~self.bus_idle))),
            self.interrupt.eq((values["INTERRUPT"] & values["INTERRUPT_ENABLE"]).any()),
        ]
        m.d.sync += [
            self.start.eq(0),
            self.clear.eq(0),
            self.drain.eq(error | resetting),
            at_rest.eq(Mux(resetting & self.drain & self.bus_idle, Cat(1, at_rest), 0)),
            rested.eq(at_rest.all()),
        ]

        quiet = Signal(32)  # cycles since an instruction was completed
        timeout = Signal()
        failed = Signal()
        code = Signal(ErrorCode)
        index = Signal(INDEX_BITS)
        started = Signal(6)  # long enough ago for `idle` to speak of this run
        m.d.sync += [
            quiet.eq(Mux(self.status.complete | ~self.running, 0, quiet + 1)),
            timeout.eq(self.running & (quiet >= values["WATCHDOG"])),
            failed.eq(self.status.failure.valid | timeout),
            code.eq(Mux(self.status.failure.valid, self.status.failure.code, ErrorCode.WATCHDOG)),
            index.eq(Mux(self.status.failure.valid, self.status.failure.index, self.status.stuck_index)),
            started.eq(Mux(self.running, Cat(1, started), 0)),
        ]

        def stop(why, where):
            return [
                self.running.eq(0),
                error.eq(1),
                bit("INTERRUPT", "ERROR").eq(1),
                values["ERROR_CODE"].eq(why),
                values["ERROR_INDEX"].eq(where),
            ]

        with m.If(self.running & failed):
            m.d.sync += stop(code, index)
        with m.Elif(self.running & started.all() & self.status.idle):
            m.d.sync += [self.running.eq(0), done.eq(1), bit("INTERRUPT", "DONE").eq(1)]

        length, address = values["PROGRAM_LENGTH"], values["PROGRAM_ADDRESS"]
        wrong_length = Signal()
        wrong_address = Signal()
        m.d.sync += [
            wrong_length.eq((length == 0) | length[INDEX_BITS:].any()),
            wrong_address.eq(address[: exact_log2(INSTRUCTION_BYTES)].any()),
        ]
        with m.If(start & ~reset):
            with m.If(self.running | resetting | error):
                m.d.sync += [
                    values["REFUSAL"].eq(Mux(error, Refusal.STOPPED, Refusal.BUSY)),
                    bit("INTERRUPT", "REFUSED").eq(1),
                ]
            with m.Else():
                m.d.sync += [values["REFUSAL"].eq(0), done.eq(0)]
                with m.If(wrong_length):
                    m.d.sync += stop(ErrorCode.LENGTH, 0)
                with m.Elif(wrong_address):
                    m.d.sync += stop(ErrorCode.ADDRESS, 0)
                with m.Else():
                    m.d.sync += [self.start.eq(1), self.running.eq(1)]

        with m.If(reset):
            # One that comes late in a soft reset begins it anew. What is refused from now on stays to be seen.
            m.d.sync += [resetting.eq(1), self.running.eq(0), at_rest.eq(0), rested.eq(0)]
            m.d.sync += [values[name].eq(0) for name in ("REFUSAL", "INTERRUPT")]
        with m.Elif(resetting & at_rest[3] & ~at_rest[4]):
            m.d.sync += self.clear.eq(1)
        with m.Elif(resetting & rested):  # `clear` has reached all of the engine, which may ask again from now on
            m.d.sync += [resetting.eq(0), error.eq(0), done.eq(0)]
            m.d.sync += [values[name].eq(0) for name in ("ERROR_CODE", "ERROR_INDEX")]
