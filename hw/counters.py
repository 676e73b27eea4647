"""Performance counters: every cycle of a pass is accounted for once."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .layouts import CounterLayout, IdleCause


__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counts cycles, steps, decisions, and idle cycles by cause.

    While ``running``, each cycle is a base step, a conditional step or idle, so
    ``cycles == base_steps + cond_steps + sum(idle)``. An event shows in ``counts`` two cycles later. The
    counts stand until ``clear``. Decisions count whether ``running`` or not.

    Members
    -------
    clear : starts over.
    running : the cycle counts.
    step, step_cond : the MAC array is given a step; of a conditional job.
    cause : why not, otherwise.
    decided, fired : a decision; one to fire.
    counts : the counters.
    """
    clear: In(1)
    running: In(1)
    step: In(1)
    step_cond: In(1)
    cause: In(IdleCause)
    decided: In(1)
    fired: In(1)
    counts: Out(CounterLayout)

    def elaborate(self, platform):
        m = Module()
        # What happened is registered first, so that no counter's carry chain follows other logic.
        base_step = Signal()
        cond_step = Signal()
        idle = Signal(len(IdleCause))
        cycle = Signal()
        decided = Signal()
        fired = Signal()
        m.d.sync += [
            cycle.eq(self.running),
            base_step.eq(self.running & self.step & ~self.step_cond),
            cond_step.eq(self.running & self.step & self.step_cond),
            decided.eq(self.decided),
            fired.eq(self.fired),
        ]
        events = [(self.counts.cycles, cycle), (self.counts.base_steps, base_step), (self.counts.cond_steps, cond_step),
                  (self.counts.decisions, decided), (self.counts.fired, fired)]
        for cause in IdleCause:
            m.d.sync += idle[cause.value].eq(self.running & ~self.step & (self.cause == cause))
            events.append((self.counts.idle[cause.value], idle[cause.value]))
        for count, event in events:
            with m.If(self.clear):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
        return m
