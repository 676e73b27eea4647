"""Performance counters: every cycle of a pass is accounted for once."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.layouts import CounterLayout, IdleCause

__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counts cycles, steps, decisions, and idle cycles by cause.

    While ``running``, each cycle is a base step, a conditional step or idle, so
    ``cycles == base_steps + cond_steps + sum(idle)``. An event shows in ``counts`` three cycles later, and so does
    ``clear``, whose own cycle is the first to be counted again. Decisions count whether ``running`` or not.

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
        # What happened is registered first where it is known, and then at its counter.
        running = Signal()
        step = Signal()
        step_cond = Signal()
        cause = Signal(IdleCause)
        decided = Signal()
        fired = Signal()
        clear = Signal()
        for register, value in (
            (running, self.running),
            (step, self.step),
            (step_cond, self.step_cond),
            (cause, self.cause),
            (decided, self.decided),
            (fired, self.fired),
            (clear, self.clear),
        ):
            m.d.sync += register.eq(value)
        counted = [
            ("cycles", self.counts.cycles, running),
            ("base_steps", self.counts.base_steps, running & step & ~step_cond),
            ("cond_steps", self.counts.cond_steps, running & step & step_cond),
            ("decisions", self.counts.decisions, decided),
            ("fired", self.counts.fired, fired),
        ]
        counted += [
            (f"idle_{each.name.lower()}", self.counts.idle[each.value], running & ~step & (cause == each))
            for each in IdleCause
        ]
        for name, count, happened in counted:
            event = Signal(name=f"{name}_event")
            clear_count = Signal(name=f"{name}_clear", attrs=KEEP)
            m.d.sync += [event.eq(happened), clear_count.eq(clear)]
            with m.If(clear_count):
                m.d.sync += count.eq(event)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
        return m
