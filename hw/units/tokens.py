"""Dependency tokens: what puts instructions of different units in order."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.interface.instructions import TOKEN_BITS, Tokens
from hw.units.signatures import TokenPort

__all__ = ["TokenCounters"]


class TokenCounters(wiring.Component):
    """Counts, for each ordered pair of different units, the tokens that were given and not yet taken.

    The scheme is that of TVM's VTA (Moreau et al., "A Hardware-Software Blueprint for Flexible Deep Learning
    Specialization", 2019), with a pair of queues between any two units. Units are numbered as the fields of
    `Tokens`. What is given or taken counts one cycle later: a token given in a cycle can be taken two cycles later, and
    whoever took some asks again two cycles later at the earliest.

    Members
    -------
    units : by unit. A token from the unit itself never comes.
    overflow : strobe, one cycle later: a token was lost, as more were given than are counted. A run that ends with the
        token's unit at rest ends later than that.
    """

    def __init__(self):
        super().__init__({"units": In(TokenPort).array(len(Tokens.members)), "overflow": Out(1)})

    def elaborate(self, platform):
        m = Module()
        names = list(Tokens.members)
        given_by, taken_by = [], []
        for unit, name in zip(self.units, names, strict=True):
            given = Signal(Tokens, name=f"given_by_{name}")
            taken = Signal(Tokens, name=f"taken_by_{name}")
            m.d.sync += [given.eq(unit.give), taken.eq(Mux(unit.take, unit.want.as_value(), 0))]
            given_by.append(given)
            taken_by.append(taken)
        lost = []
        for taker, taker_name in enumerate(names):
            for giver, giver_name in enumerate(names):
                wanted = self.units[taker].want[giver_name]
                if giver == taker:
                    m.d.comb += self.units[taker].missing[giver_name].eq(wanted)
                    continue
                count = Signal(TOKEN_BITS, name=f"from_{giver_name}_to_{taker_name}")
                some = Signal(name=f"some_from_{giver_name}_to_{taker_name}")
                given = given_by[giver][taker_name]
                taken = taken_by[taker][giver_name]
                m.d.sync += count.eq(count + given - taken)
                m.d.comb += [
                    some.eq(count != 0),
                    self.units[taker].missing[giver_name].eq(wanted & ~some),
                ]
                lost.append(given & ~taken & count.all())
            m.d.comb += self.units[taker].ready.eq(~self.units[taker].missing.as_value().any())
        m.d.comb += self.overflow.eq(Cat(lost).any())
        return m
