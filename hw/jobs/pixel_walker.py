"""The order of base jobs: slice by slice, in each slice image by image, row by row, pixel by pixel."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.interface.layouts import LayerRegisters
from hw.jobs.payloads import BasePixel
from hw.params import LANES

__all__ = ["PixelWalker"]


class PixelWalker(wiring.Component):
    """Walks over all pixels of all slices of a layer and gives for each the addresses of its first tap and of its
    output.

    One pixel every two cycles. A slice is opened before its first pixel is offered. No multiplier: every address is
    the last one plus a step. In a pooling pass slices are of whole words: of ``in_par`` channels, or of 8.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    begin : starts a layer, whose registers are valid.
    open, can_open : to and from :class:`SliceTable`.
    o : stream of pixels.
    done : no layer is under way: the last pixel of the last slice was taken.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "begin": In(1),
                "open": Out(1),
                "can_open": In(1),
                "o": Out(stream.Signature(BasePixel(params))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, params = self.layer, self.params
        addr_bits = params.bank_addr_bits

        slice_ = Signal(params.slice_bits, name="slice", reset_less=True)
        image = Signal(params.image_bits, reset_less=True)
        row = Signal(params.map_bits, reset_less=True)
        col = Signal(params.map_bits, reset_less=True)
        # First tap of the pixel, of its row's and of its image's first pixel; as if nothing was outside the map.
        # Only the pixel's own address has the missing tap row of the first row added.
        pixel_addr = Signal(addr_bits, reset_less=True)
        row_addr = Signal(addr_bits, reset_less=True)
        image_addr = Signal(addr_bits, reset_less=True)
        ofmap_addr = Signal(addr_bits, reset_less=True)
        ofmap_image = Signal(addr_bits, reset_less=True)
        residual_addr = Signal(addr_bits, reset_less=True)
        residual_image = Signal(addr_bits, reset_less=True)

        last_row = row == layer.row_last
        last_col = col == layer.col_last
        last_image = image == layer.image_last
        last_pixel = last_row & last_col & last_image
        # Registered: where a pixel is left, they have not changed in the cycle before.
        at_last_col = Signal()
        at_last_row = Signal()
        at_last_image = Signal()
        at_last_slice = Signal()
        m.d.sync += [
            at_last_col.eq(last_col),
            at_last_row.eq(last_row),
            at_last_image.eq(last_image),
            at_last_slice.eq(slice_ == layer.slice_last),
        ]
        no_top = layer.pad_top & (row == 0)
        no_left = layer.pad_left & (col == 0)
        # First word of the slice within a pixel of the ofmap.
        slice_word = ((slice_ * LANES) >> ceil_log2(params.in_par))[:addr_bits]
        if params.in_par > LANES:
            slice_word = Mux(layer.pool, slice_, slice_word)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM(name="walk") as walk:
            with m.State("Idle"):
                with m.If(self.begin):
                    m.d.sync += slice_.eq(0)
                    m.next = "Open"
            with m.State("Open"):
                # The newest slice is that of the pixel on offer, so the last pixel goes first.
                m.d.comb += self.open.eq(self.can_open & ~self.o.valid)
                m.d.sync += [
                    image.eq(0),
                    row.eq(0),
                    col.eq(0),
                    image_addr.eq(layer.ifmap_base),
                    ofmap_image.eq(layer.ofmap_base + slice_word),
                    residual_image.eq(layer.residual_base + slice_word),
                ]
                with m.If(self.open):
                    m.next = "Image"
            with m.State("Image"):
                m.d.sync += [
                    row_addr.eq(image_addr),
                    pixel_addr.eq(image_addr + Mux(layer.pad_top, layer.tap_row_step, 0)),
                    ofmap_addr.eq(ofmap_image),
                    residual_addr.eq(residual_image),
                ]
                m.next = "Pixel"
            with m.State("Pixel"):
                with m.If(~self.o.valid):
                    m.d.sync += [
                        self.o.valid.eq(1),
                        self.o.p.tap_addr.eq(pixel_addr + Mux(no_left, layer.tap_col_step, 0)),
                        self.o.p.flags.top.eq(no_top),
                        self.o.p.flags.bottom.eq(layer.pad_bottom & last_row),
                        self.o.p.flags.left.eq(no_left),
                        self.o.p.flags.right.eq(layer.pad_right & last_col),
                        self.o.p.ofmap_addr.eq(ofmap_addr),
                        self.o.p.residual_addr.eq(residual_addr),
                        self.o.p.image.eq(image),
                        self.o.p.row.eq(row),
                        self.o.p.col.eq(col),
                        self.o.p.slice.eq(slice_),
                        self.o.p.last.eq(last_pixel),
                    ]
                    m.next = "Advance"
            with m.State("Advance"):
                next_row_addr = Signal(addr_bits)
                m.d.comb += next_row_addr.eq(row_addr + layer.ifmap_row_step)
                m.d.sync += [
                    ofmap_addr.eq(ofmap_addr + layer.ofmap_col_step),
                    residual_addr.eq(residual_addr + layer.ofmap_col_step),
                ]
                m.next = "Pixel"
                with m.If(~at_last_col):
                    m.d.sync += [
                        col.eq(col + 1),
                        pixel_addr.eq(pixel_addr + layer.ifmap_col_step),
                    ]
                with m.Elif(~at_last_row):
                    m.d.sync += [
                        col.eq(0),
                        row.eq(row + 1),
                        row_addr.eq(next_row_addr),
                        pixel_addr.eq(next_row_addr),
                    ]
                with m.Elif(~at_last_image):
                    m.d.sync += [
                        col.eq(0),
                        row.eq(0),
                        image.eq(image + 1),
                        image_addr.eq(image_addr + layer.ifmap_image_step),
                        ofmap_image.eq(ofmap_image + layer.ofmap_image_step),
                        residual_image.eq(residual_image + layer.residual_image_step),
                    ]
                    m.next = "Image"
                with m.Elif(~at_last_slice):
                    m.d.sync += slice_.eq(slice_ + 1)
                    m.next = "Open"
                with m.Else():
                    m.next = "Drain"
            with m.State("Drain"):
                with m.If(~self.o.valid):
                    m.next = "Idle"
        m.d.comb += self.done.eq(walk.ongoing("Idle"))
        return m
