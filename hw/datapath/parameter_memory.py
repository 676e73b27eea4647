"""Memories of per-channel requantisation parameters and thresholds."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import NO_COLLISION
from hw.interface.layouts import ParameterWord

__all__ = ["ParameterMemory"]


class ParameterMemory(wiring.Component):
    """Holds multiplier, offset and threshold of every channel.

    One parameter word is taken a cycle, at any time, and written a cycle later; words of the layer under way must not
    be replaced. ``scales``
    answers ``address`` after :attr:`SCALES_LATENCY` cycles, ``thresholds`` its own after one.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of parameter words.
    address, scales : word of ``rq_lanes`` channels.
    threshold_addr, thresholds : thresholds of ``rq_lanes`` channels.
    """

    #: Cycles from ``address`` to ``scales``.
    SCALES_LATENCY = 3

    def __init__(self, params):
        self.params = params
        self._scales = ParameterWord(params).members["scales"]
        self._thresholds = ParameterWord(params).members["thresholds"]
        super().__init__(
            {
                "i": In(stream.Signature(ParameterWord(params))),
                "address": In(params.param_addr_bits),
                "scales": Out(self._scales),
                "threshold_addr": In(params.param_addr_bits),
                "thresholds": Out(self._thresholds),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.scale_words = scale_words = memory.Memory(
            shape=unsigned(self._scales.size), depth=params.param_words, init=[], attrs=NO_COLLISION
        )
        m.submodules.thresholds = thresholds = memory.Memory(
            shape=unsigned(self._thresholds.size), depth=params.param_words, init=[], attrs=NO_COLLISION
        )
        scale_write, scale_read = scale_words.write_port(), scale_words.read_port()
        threshold_write, threshold_read = thresholds.write_port(), thresholds.read_port()

        given = Signal(ParameterWord(params), reset_less=True)
        given_en = Signal()
        m.d.sync += [given.eq(self.i.payload), given_en.eq(self.i.valid)]
        m.d.comb += [
            self.i.ready.eq(1),
            scale_write.en.eq(given_en),
            scale_write.addr.eq(given.address),
            scale_write.data.eq(given.scales),
            threshold_write.en.eq(given_en),
            threshold_write.addr.eq(given.address),
            threshold_write.data.eq(given.thresholds),
            scale_read.addr.eq(self.address),
            threshold_read.addr.eq(self.threshold_addr),
            self.thresholds.eq(threshold_read.data),
        ]
        # Two registers, one near the memory and one near the multipliers.
        fetched = Signal(self._scales, reset_less=True)
        scales = Signal(self._scales, reset_less=True)
        m.d.sync += [
            fetched.eq(scale_read.data),
            scales.eq(fetched),
        ]
        m.d.comb += self.scales.eq(scales)
        return m
