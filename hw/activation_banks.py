"""The four activation banks and the roles they have in a layer."""

from amaranth import *
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import BankAddress, BankWrite, LayerRegisters, OfmapWrite
from .params import NO_COLLISION


__all__ = ["ActivationBanks"]


class ActivationBanks(wiring.Component):
    """Four memories of chunks: in a layer one gives the ifmap, one the residual, one takes the ofmap.

    Each bank has one read and one write port. While ``running``, the layer's banks belong to the engine, port by
    port; the ports that are left serve ``load`` and ``read``. Engine reads answer after :attr:`READ_LATENCY`
    cycles, one a cycle, with no backpressure. The residual may be in the ofmap's bank. What a read returns of bits
    that are written in the same cycle is not defined: nothing reads there.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer, running : layer registers; whether the layer is under way.
    ifmap_addr, ifmap : read for the MAC array.
    residual_addr, residual : read for the requantiser.
    write_en, write : granule for the ofmap; in the bank two cycles later.
    load : stream of words to write. Waits while its bank takes the ofmap.
    read : stream of addresses to read back; waits while its bank's read port is in use.
    word : stream of the words read back, in order.
    """
    #: Cycles from an engine read's address to its data.
    READ_LATENCY = 3

    #: Banks.
    NUM_BANKS = 4

    #: Words read back that may wait for their consumer.
    READ_DEPTH = 8

    def __init__(self, params):
        self.params = params
        super().__init__({
            "layer":         In(LayerRegisters(params)),
            "running":       In(1),
            "ifmap_addr":    In(params.bank_addr_bits),
            "ifmap":         Out(params.chunk_bits),
            "residual_addr": In(params.bank_addr_bits),
            "residual":      Out(params.chunk_bits),
            "write_en":      In(1),
            "write":         In(OfmapWrite(params)),
            "load":          In(stream.Signature(BankWrite(params))),
            "read":          In(stream.Signature(BankAddress(params))),
            "word":          Out(stream.Signature(unsigned(params.chunk_bits))),
        })

    def elaborate(self, platform):
        m = Module()
        layer, params = self.layer, self.params

        # Words read back wait in a queue; a read starts only if its word has a place there.
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=params.chunk_bits, depth=self.READ_DEPTH)
        room = Signal(range(self.READ_DEPTH + 1), init=self.READ_DEPTH)
        read_accept = Signal()
        read_valid = Signal(self.READ_LATENCY)
        read_banks = Signal(2 * self.READ_LATENCY)
        m.d.comb += [
            read_accept.eq(self.read.valid & self.read.ready),
            self.word.payload.eq(words.r_data),
            self.word.valid.eq(words.r_rdy),
            words.r_en.eq(self.word.ready),
            words.w_en.eq(read_valid[-1]),
        ]
        m.d.sync += [
            room.eq(room - read_accept + (self.word.valid & self.word.ready)),
            read_valid.eq(Cat(read_accept, read_valid)),
            read_banks.eq(Cat(self.read.p.bank, read_banks)),
        ]

        outputs = []
        read_free = Signal(self.NUM_BANKS)
        load_free = Signal(self.NUM_BANKS)
        for n in range(self.NUM_BANKS):
            m.submodules[f"bank_{n}"] = bank = memory.Memory(
                shape=unsigned(params.chunk_bits), depth=params.bank_words, init=[], attrs=NO_COLLISION)
            write_port = bank.write_port(granularity=8 * params.rq_lanes)
            read_port = bank.read_port()
            is_ifmap = Signal(name=f"is_ifmap_{n}")
            is_residual = Signal(name=f"is_residual_{n}")
            is_ofmap = Signal(name=f"is_ofmap_{n}")
            m.d.sync += [
                is_ifmap.eq(self.running & (layer.ifmap_bank == n)),
                is_residual.eq(self.running & layer.residual_enable & (layer.residual_bank == n)),
                is_ofmap.eq(self.running & ~layer.logits & (layer.ofmap_bank == n)),
            ]
            m.d.comb += [
                read_free[n].eq(~is_ifmap & ~is_residual),
                load_free[n].eq(~is_ofmap),
            ]
            read_addr = Signal(params.bank_addr_bits, name=f"read_addr_{n}")
            write_en = Signal(params.word_subs, name=f"write_en_{n}")
            write_addr = Signal(params.bank_addr_bits, name=f"write_addr_{n}")
            write_data = Signal(params.chunk_bits, name=f"write_data_{n}")
            output = Signal(params.chunk_bits, name=f"output_{n}")
            m.d.sync += [
                read_addr.eq(Mux(is_ifmap, self.ifmap_addr, Mux(is_residual, self.residual_addr, self.read.p.addr))),
                output.eq(read_port.data),
            ]
            with m.If(is_ofmap):
                m.d.sync += [
                    write_en.eq(self.write_en << self.write.sub),
                    write_addr.eq(self.write.addr),
                    write_data.eq(self.write.codes.as_value().replicate(params.word_subs)),
                ]
            with m.Else():
                m.d.sync += [
                    write_en.eq((self.load.valid & (self.load.p.bank == n)).replicate(params.word_subs)),
                    write_addr.eq(self.load.p.addr),
                    write_data.eq(self.load.p.data),
                ]
            m.d.comb += [
                read_port.addr.eq(read_addr),
                write_port.en.eq(write_en),
                write_port.addr.eq(write_addr),
                write_port.data.eq(write_data),
            ]
            outputs.append(output)

        outputs = Array(outputs)
        m.d.comb += [
            self.read.ready.eq(Array(read_free)[self.read.p.bank] & (room != 0)),
            self.load.ready.eq(Array(load_free)[self.load.p.bank]),
            self.ifmap.eq(outputs[layer.ifmap_bank]),
            self.residual.eq(outputs[layer.residual_bank]),
            words.w_data.eq(outputs[read_banks[-2:]]),
        ]
        return m
