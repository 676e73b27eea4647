"""The four activation banks and the roles they have in a layer."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP, NO_COLLISION
from hw.interface.layouts import BankAddress, BankWrite, LayerRegisters, OfmapWrite
from hw.params import BANK_BITS, BANKS
from hw.streams.queue import Queue
from hw.streams.stream_register import StreamRegister

__all__ = ["ActivationBanks"]


class ActivationBanks(wiring.Component):
    """Four memories of chunks: in a layer one gives the ifmap, one the residual, one takes the ofmap.

    A bank is cut into a memory for each granule of ``rq_lanes`` bytes, with registers of its own at the memory, and
    lies where these find room: one register takes an address to each bank, the next to each memory.

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
    write_en, write : granule for the ofmap; in the bank three cycles later.
    load : stream of words to write. Waits while its bank takes the ofmap.
    read : stream of addresses to read back; waits while its bank's read port is in use.
    word : stream of the words read back, in order.
    """

    #: Cycles from an engine read's address to its data.
    READ_LATENCY = 5

    #: Words read back that may wait for their consumer.
    READ_DEPTH = 16

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "running": In(1),
                "ifmap_addr": In(params.bank_addr_bits),
                "ifmap": Out(params.chunk_bits),
                "residual_addr": In(params.bank_addr_bits),
                "residual": Out(params.chunk_bits),
                "write_en": In(1),
                "write": In(OfmapWrite(params)),
                "load": In(stream.Signature(BankWrite(params))),
                "read": In(stream.Signature(BankAddress(params))),
                "word": Out(stream.Signature(unsigned(params.chunk_bits))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, params = self.layer, self.params
        part_bits = 8 * params.rq_lanes

        # Words read back wait in a queue; a read starts only if its word has a place there.
        m.submodules.words = words = Queue(unsigned(params.chunk_bits), self.READ_DEPTH)
        m.submodules.shown = shown = StreamRegister(unsigned(params.chunk_bits))
        wiring.connect(m, words.o, shown.i)
        wiring.connect(m, shown.o, wiring.flipped(self.word))
        room = Signal(range(self.READ_DEPTH + 1), init=self.READ_DEPTH)
        has_room = Signal(init=1)  # for two, as it lags by a cycle
        read_accept = Signal()
        word_taken = Signal()
        read_valid = Signal(self.READ_LATENCY)
        read_banks = Signal(BANK_BITS * (self.READ_LATENCY - 2), reset_less=True)
        m.d.comb += [
            read_accept.eq(self.read.valid & self.read.ready),
            words.i.valid.eq(read_valid[-1]),
        ]
        m.d.sync += [
            room.eq(room - read_accept + word_taken),
            has_room.eq(room > 1),
            word_taken.eq(self.word.valid & self.word.ready),
            read_valid.eq(Cat(read_accept, read_valid)),
            read_banks.eq(Cat(self.read.p.bank, read_banks)),
        ]

        # The roles, and where a write or a load goes. A load that was accepted and a granule have one register each
        # before they meet at the memories.
        read_free = Signal(BANKS, attrs=KEEP)
        load_free = Signal(BANKS, attrs=KEEP)
        load_word = Signal(BankWrite(params), reset_less=True)
        m.d.sync += load_word.eq(self.load.payload)
        banks = []
        for n in range(BANKS):
            is_ifmap = Signal(name=f"is_ifmap_{n}")
            is_residual = Signal(name=f"is_residual_{n}")
            is_ofmap = Signal(name=f"is_ofmap_{n}")
            m.d.sync += [
                is_ifmap.eq(self.running & (layer.ifmap_bank == n)),
                is_residual.eq(self.running & layer.residual_enable & (layer.residual_bank == n)),
                is_ofmap.eq(self.running & ~layer.logits & (layer.ofmap_bank == n)),
                read_free[n].eq(
                    ~self.running | ((layer.ifmap_bank != n) & ~(layer.residual_enable & (layer.residual_bank == n)))
                ),
                load_free[n].eq(~self.running | layer.logits | (layer.ofmap_bank != n)),
            ]
            read_addr = Signal(params.bank_addr_bits, name=f"read_addr_{n}", reset_less=True)
            granule = Signal(OfmapWrite(params), name=f"granule_{n}", attrs=KEEP, reset_less=True)
            m.d.sync += [
                read_addr.eq(Mux(is_ifmap, self.ifmap_addr, Mux(is_residual, self.residual_addr, self.read.p.addr))),
                granule.eq(self.write),
            ]
            writes_granule = self.write_en & is_ofmap
            writes_word = self.load.valid & self.load.ready & (self.load.p.bank == n)
            banks.append((read_addr, is_ofmap, granule, writes_granule, writes_word))

        # The memories. Registers that are equal at several of them are kept apart, so that each is near its own.
        ifmap = Signal(params.chunk_bits, reset_less=True)
        residual = Signal(params.chunk_bits, reset_less=True)
        word = Signal(params.chunk_bits, reset_less=True)
        for sub in range(params.word_subs):
            outputs = []
            for n, (bank_read_addr, is_ofmap, granule, writes_granule, writes_word) in enumerate(banks):
                suffix = f"{n}_{sub}"
                m.submodules[f"bank_{suffix}"] = bank = memory.Memory(
                    shape=unsigned(part_bits), depth=params.bank_words, init=[], attrs=NO_COLLISION
                )
                write_port = bank.write_port()
                read_port = bank.read_port()
                read_addr = Signal(params.bank_addr_bits, name=f"read_addr_{suffix}", attrs=KEEP, reset_less=True)
                takes_addr = Signal(name=f"takes_addr_{suffix}", attrs=KEEP)
                takes_codes = Signal(name=f"takes_codes_{suffix}", attrs=KEEP)
                granule_en = Signal(name=f"granule_en_{suffix}")
                load_en = Signal(name=f"load_en_{suffix}", attrs=KEEP)
                write_en = Signal(name=f"write_en_{suffix}")
                write_addr = Signal(params.bank_addr_bits, name=f"write_addr_{suffix}", attrs=KEEP, reset_less=True)
                write_data = Signal(part_bits, name=f"write_data_{suffix}", attrs=KEEP, reset_less=True)
                output = Signal(part_bits, name=f"output_{suffix}", reset_less=True)
                m.d.sync += [
                    read_addr.eq(bank_read_addr),
                    takes_addr.eq(is_ofmap),
                    takes_codes.eq(is_ofmap),
                    granule_en.eq(writes_granule & (self.write.sub == sub)),
                    load_en.eq(writes_word),
                    write_en.eq(load_en | granule_en),
                    write_addr.eq(Mux(takes_addr, granule.addr, load_word.addr)),
                    write_data.eq(Mux(takes_codes, granule.codes, load_word.data.word_select(sub, part_bits))),
                    output.eq(read_port.data),
                ]
                m.d.comb += [
                    read_port.addr.eq(read_addr),
                    write_port.en.eq(write_en),
                    write_port.addr.eq(write_addr),
                    write_port.data.eq(write_data),
                ]
                outputs.append(output)
            outputs = Array(outputs)
            for target, source, name in (
                (ifmap, layer.ifmap_bank, "ifmap"),
                (residual, layer.residual_bank, "residual"),
                (word, read_banks[-BANK_BITS:], "word"),
            ):
                choice = Signal(BANK_BITS, name=f"{name}_bank_{sub}", attrs=KEEP, reset_less=True)
                m.d.sync += [
                    choice.eq(source),
                    target.word_select(sub, part_bits).eq(outputs[choice]),
                ]

        m.d.comb += [
            self.read.ready.eq(Array(read_free)[self.read.p.bank] & has_room),
            self.load.ready.eq(Array(load_free)[self.load.p.bank]),
            self.ifmap.eq(ifmap),
            self.residual.eq(residual),
            words.i.payload.eq(word),
        ]
        return m
