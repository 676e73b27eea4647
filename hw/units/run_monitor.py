"""Gathers from all of the engine what becomes of a run."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.interface.instructions import INDEX_BITS
from hw.units.signatures import Failure, Progress, RunStatus

__all__ = ["RunMonitor"]


class RunMonitor(wiring.Component):
    """Tells whether a run is under way, whether it gets on, and what went wrong.

    What the units tell reaches ``status`` one cycle later; that all of them are at rest, and which instruction the
    watchdog would name, two cycles later.

    Parameters
    ----------
    unit_count, failure_count : :class:`int`
        Numbers of units and of sources of errors.

    Members
    -------
    units : progress by unit. Of several that are busy the watchdog would name the last one's instruction.
    failures : errors by source. Of several in one cycle the last one is told.
    dispatched : all instructions were handed over to the units.
    index : number of the instruction at hand, which the watchdog would name if no unit is busy.
    status : what becomes of the run.
    """

    def __init__(self, unit_count, failure_count):
        self.unit_count = unit_count
        self.failure_count = failure_count
        super().__init__(
            {
                "units": In(Progress).array(unit_count),
                "failures": In(Failure).array(failure_count),
                "dispatched": In(1),
                "index": In(INDEX_BITS),
                "status": Out(RunStatus),
            }
        )

    def elaborate(self, platform):
        m = Module()
        busy = Signal(self.unit_count)
        dispatched = Signal()
        m.d.sync += [
            busy.eq(Cat(unit.busy for unit in self.units)),
            dispatched.eq(self.dispatched),
            self.status.idle.eq(dispatched & ~busy.any()),
            self.status.complete.eq(Cat(unit.complete for unit in self.units).any()),
        ]

        m.d.sync += self.status.failure.valid.eq(0)
        for failure in self.failures:
            with m.If(failure.valid):
                m.d.sync += [
                    self.status.failure.valid.eq(1),
                    self.status.failure.code.eq(failure.code),
                    self.status.failure.index.eq(failure.index),
                ]

        stuck = self.index
        for number, unit in enumerate(self.units):
            index = Signal(INDEX_BITS, name=f"index_{number}")
            m.d.sync += index.eq(unit.index)
            stuck = Mux(busy[number], index, stuck)
        m.d.sync += self.status.stuck_index.eq(stuck)
        return m
