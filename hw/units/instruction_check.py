"""Finds out whether 64 bytes are an instruction that the engine can execute."""

from collections import defaultdict
from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.interface.axi import ADDR_BITS, BusTransfer
from hw.interface.instructions import (
    BODY_OFFSET,
    INSTRUCTION_BYTES,
    PASSES,
    UNIT_OF,
    ErrorCode,
    Header,
    Opcode,
    Tokens,
    Transfer,
    Unit,
    item_bytes,
)
from hw.interface.layouts import GateMode, LayerRegisters

__all__ = ["InstructionCheck"]


class InstructionCheck(wiring.Component):
    """Checks an instruction, and counts its beats on the bus.

    The answer is right :attr:`LATENCY` cycles after the word stands, and stays so as long as it does. Of several
    errors the one with the lowest code is told.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    word : the instruction.
    store_base, store_end : window of memory that stores may write.
    beats : of its transfer.
    code : what is wrong with it, or ``ErrorCode.NONE``.
    """

    #: Cycles from the word to the answer.
    LATENCY = 7

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "word": In(8 * INSTRUCTION_BYTES),
                "store_base": In(ADDR_BITS),
                "store_end": In(ADDR_BITS),
                "beats": Out(BusTransfer.members["beats"]),
                "code": Out(ErrorCode),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        header = data.View(Header, self.word[: Header.size])
        transfer = data.View(Transfer, self.word[BODY_OFFSET : BODY_OFFSET + Transfer.size])
        layer_size = LayerRegisters(params).size
        layer = data.View(LayerRegisters(params), self.word[BODY_OFFSET : BODY_OFFSET + layer_size])
        beat = exact_log2(params.axi_bytes)

        # By opcode the limit of what it counts within, by unit its own token. A unit that has none takes none either.
        depth = {
            Opcode.LOAD_MAP: params.bank_words,
            Opcode.STORE_MAP: params.bank_words,
            Opcode.LOAD_PARAMETERS: params.param_words,
        }
        own = {name: 1 << number for number, name in enumerate(Tokens.members)}

        # Step 1: what follows from the opcode.
        known = Signal()
        is_layer = Signal()
        pools = Signal()
        stores = Signal()
        in_bank = Signal()  # `bank_addr` and the depth mean something
        tokens = Signal(3)
        space = Signal(range(max(params.bank_words, params.param_words) + 1))
        with m.Switch(header.opcode):
            for opcode, unit in UNIT_OF.items():
                is_transfer = opcode not in PASSES
                with m.Case(opcode.value):
                    m.d.sync += [
                        known.eq(1),
                        tokens.eq(own.get(unit.name.lower(), ~0)),
                        is_layer.eq(not is_transfer),
                        pools.eq(opcode is Opcode.POOL),
                        stores.eq(unit is Unit.STORE),
                        in_bank.eq(opcode in depth),
                        space.eq(depth.get(opcode, 0)),
                    ]
            with m.Default():
                m.d.sync += known.eq(0)

        # Step 2: the size of a transfer, in bytes. Some opcodes have items of one size.
        size = Signal(ADDR_BITS)
        by_shift = defaultdict(list)
        for opcode in UNIT_OF:
            if opcode not in PASSES:
                by_shift[exact_log2(item_bytes(opcode, params))].append(opcode.value)
        sizes = []
        for shift, opcodes in by_shift.items():
            shifts = Signal(name=f"shifts_{shift}")
            m.d.sync += shifts.eq(header.opcode.matches(*opcodes))
            sizes.append(Mux(shifts, transfer.count << shift, 0))
        m.d.sync += size.eq(reduce(or_, sizes))

        # Step 3: sums.
        end = Signal(ADDR_BITS + 1)
        last_word = Signal(25)
        m.d.sync += [
            end.eq(transfer.address + size),
            last_word.eq(transfer.bank_addr + transfer.count),
            self.beats.eq((size + (params.axi_bytes - 1)) >> beat),
        ]

        # Step 4: what makes something wrong.
        def told(name, value):
            flag = Signal(name=name)
            m.d.sync += flag.eq(value)
            return flag

        def any_of(name, bits):
            """Whether any of many bits is set, of groups of them first."""
            groups = [told(f"{name}_{start}", bits[start : start + 32].any()) for start in range(0, len(bits), 32)]
            return told(name, Cat(groups).any())

        head_used = any_of("head_used", self.word[Header.size : BODY_OFFSET])
        layer_used = any_of("layer_used", self.word[BODY_OFFSET + layer_size :])
        transfer_used = any_of("transfer_used", self.word[BODY_OFFSET + Transfer.size :])
        is_base = told("is_base", layer.mode.as_value() == GateMode.BASE.value)
        no_mode = told("no_mode", layer.mode.as_value() > GateMode.CHANNEL.value) if params.gating else ~is_base
        no_cond = told("no_cond", layer.cond_entries == 0)
        onto_itself = told("onto_itself", (layer.ifmap_bank == layer.ofmap_bank) & ~layer.logits)
        adds_itself = told("adds_itself", (layer.ifmap_bank == layer.residual_bank) & layer.residual_enable)
        nothing = told("nothing", transfer.count == 0)
        beyond = told("beyond", end > (1 << ADDR_BITS))
        too_deep = told("too_deep", last_word > space)
        has_place = told("has_place", (transfer.bank_addr != 0) | (transfer.bank != 0))
        below = told("below", transfer.address < self.store_base)
        above = told("above", end > self.store_end)

        # Step 5: one bit for each thing that can be wrong.
        unused = Signal()
        token = Signal()
        wrong_layer = Signal()
        unaligned = Signal()
        outside = Signal()
        m.d.sync += [
            unused.eq(~known | head_used | Mux(is_layer, layer_used, transfer_used)),
            token.eq(((header.take.as_value() | header.give.as_value()) & tokens).any()),
            wrong_layer.eq(
                is_layer
                & (
                    no_mode
                    | (~is_base & no_cond)
                    | onto_itself
                    | adds_itself
                    | (layer.pool != pools)
                    | (layer.pool & (~is_base | layer.residual_enable | layer.logits))
                )
            ),
            unaligned.eq(~is_layer & transfer.address[:beat].any()),
            outside.eq(~is_layer & (nothing | beyond | Mux(in_bank, too_deep, has_place) | (stores & (below | above)))),
        ]

        # Step 6: the first of them.
        m.d.sync += self.code.eq(ErrorCode.NONE)
        for wrong, code in (
            (outside, ErrorCode.RANGE),
            (unaligned, ErrorCode.ADDRESS),
            (wrong_layer, ErrorCode.LAYER),
            (token, ErrorCode.TOKENS),
            (unused, ErrorCode.OPCODE),
        ):
            with m.If(wrong):
                m.d.sync += self.code.eq(code)
        return m
