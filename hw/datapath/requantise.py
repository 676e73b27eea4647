"""One lane of the requantiser: from a psum to an activation code."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Requantise"]


class Requantise(wiring.Component):
    """Scales a psum to an activation code, with the residual added before rounding.

    Computes
    ``clamp((psum * multiplier + offset + (residual * residual_scale << residual_shift)) >> shift, lo, hi)``,
    where ``offset`` holds the rounding term ``1 << (shift - 1)`` and (lo, hi) is (-128, 127) if ``signed_output``,
    else (0, 255). The sum must fit 48 bits: the quantiser proves it. One code a cycle, latency :attr:`LATENCY`; no
    backpressure.

    Members
    -------
    psum, multiplier, offset : operands.
    residual : code of the residual as a 9-bit integer, ``RESIDUAL_LATENCY`` cycles after the other operands; else 0.
    residual_scale, residual_shift, shift, signed_output : constants of the layer.
    total : low 32 bits of the sum before the shift, ``TOTAL_LATENCY`` cycles after the operands.
    code : activation code, 8 bits.
    """

    #: Cycles from the operands to ``code``.
    LATENCY = 9
    #: Cycles from the operands to ``total``.
    TOTAL_LATENCY = 5
    #: Cycles from the operands to the residual that belongs to them.
    RESIDUAL_LATENCY = 1

    psum: In(signed(32))
    multiplier: In(signed(16))
    offset: In(signed(48))
    residual: In(signed(9))
    residual_scale: In(16)
    residual_shift: In(5)
    shift: In(6)
    signed_output: In(1)
    total: Out(signed(32))
    code: Out(8)

    def elaborate(self, platform):
        m = Module()

        # The product from two halves of the psum, each within an 18 x 18 multiplier.
        s1_low = Signal(signed(33), reset_less=True)
        s1_high = Signal(signed(32), reset_less=True)
        s1_offset = Signal(signed(48), reset_less=True)
        m.d.sync += [
            s1_low.eq(self.psum[:16] * self.multiplier),
            s1_high.eq(self.psum[16:].as_signed() * self.multiplier),
            s1_offset.eq(self.offset),
        ]
        s2_product = Signal(signed(48), reset_less=True)
        s2_offset = Signal(signed(48), reset_less=True)
        s2_residual = Signal(signed(25), reset_less=True)
        m.d.sync += [
            s2_product.eq((s1_high << 16) + s1_low),
            s2_offset.eq(s1_offset),
            s2_residual.eq(self.residual * self.residual_scale),
        ]
        s3_sum = Signal(signed(48), reset_less=True)
        s3_residual = Signal(signed(48), reset_less=True)
        m.d.sync += [
            s3_sum.eq(s2_product + s2_offset),
            s3_residual.eq(s2_residual << self.residual_shift[:2]),
        ]
        s4_sum = Signal(signed(48), reset_less=True)
        s4_residual = Signal(signed(48), reset_less=True)
        m.d.sync += [
            s4_sum.eq(s3_sum),
            s4_residual.eq(s3_residual << (self.residual_shift[2:] << 2)),
        ]
        s5_total = Signal(signed(48), reset_less=True)
        m.d.sync += s5_total.eq(s4_sum + s4_residual)
        m.d.comb += self.total.eq(s5_total)

        # The arithmetic shift, two bits of its amount a stage.
        s6_shifted = Signal(signed(48), reset_less=True)
        s7_shifted = Signal(signed(48), reset_less=True)
        s8_shifted = Signal(signed(48), reset_less=True)
        m.d.sync += [
            s6_shifted.eq(s5_total >> self.shift[:2]),
            s7_shifted.eq(s6_shifted >> (self.shift[2:4] << 2)),
            s8_shifted.eq(s7_shifted >> (self.shift[4:] << 4)),
        ]

        # The code fits if all bits above it are its sign: bit 7 of an int8, a zero of a uint8. Bit 47 is one of
        # them, as the shift is at least 1.
        negative = s8_shifted[47]
        above = s8_shifted[8:47]
        sign = self.signed_output & s8_shifted[7]
        with m.If(above == sign.replicate(39)):
            m.d.sync += self.code.eq(s8_shifted)
        with m.Else():
            m.d.sync += self.code.eq(Mux(self.signed_output, Mux(negative, 0x80, 0x7F), Mux(negative, 0, 0xFF)))
        return m
