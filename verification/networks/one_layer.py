"""Programs of one layer, put together by hand: what the errors and the bus are tested with."""

from dataclasses import dataclass

import numpy as np

from gen.host.driver import LoadedNetwork
from gen.layer.compiler import compile_layer
from gen.layer.packing import pack, unpack
from hw.interface.instructions import (
    BODY_OFFSET,
    INSTRUCTION_BYTES,
    ChannelParameters,
    Header,
    Opcode,
    Transfer,
    item_bytes,
)
from hw.interface.layouts import LayerRegisters

#: Where things lie in memory, in bytes.
PROGRAM, IFMAP, RESIDUAL, PARAMETERS, WEIGHTS, OFMAP, LOGITS, END = (n << 16 for n in range(8))


def instruction(opcode, *, take=(), give=(), layer=None, params=None, **transfer):
    """Return an instruction's 64 bytes; `opcode` is an `Opcode` or a number."""

    def tokens(units):
        return {name: int(name in units) for name in ("load", "compute", "store")}

    header = pack(Header, {"opcode": getattr(opcode, "value", opcode), "take": tokens(take), "give": tokens(give)}, 1)
    if layer is not None:
        body = pack(LayerRegisters(params), layer, 1)
    else:
        body = pack(Transfer, {"address": 0, "count": 0, "bank_addr": 0, "bank": 0, **transfer}, 1)
    head = header[0].tobytes().ljust(BODY_OFFSET // 8, b"\0")
    return (head + body[0].tobytes()).ljust(INSTRUCTION_BYTES, b"\0")


@dataclass
class OneLayer:
    """A program and its memory."""

    instructions: list
    regions: list  # (address, bytes)
    expected: bytes  # what must come to lie at OFMAP, or at LOGITS
    address: int

    def transfers(self, params):
        """Return opcode, address and bytes of each instruction; of one that computes, the last two are 0."""
        found = []
        for text in self.instructions:
            opcode = Opcode(text[0] & 15)
            if opcode is Opcode.COMPUTE:
                found.append((opcode, 0, 0))
                continue
            body = unpack(Transfer, np.frombuffer(text[BODY_OFFSET // 8 :], dtype=np.uint8)[None])
            found.append((opcode, int(body["address"][0]), int(body["count"][0]) * item_bytes(opcode, params)))
        return found

    def loaded(self):
        """The same for `gen.host.driver`."""
        program = (PROGRAM, b"".join(self.instructions))
        return LoadedNetwork(
            regions=(program, *self.regions),
            program=PROGRAM,
            instructions=len(self.instructions),
            window=(OFMAP, END),
            images=(IFMAP, 0),
            logits=(LOGITS, END - LOGITS),
        )


def one_layer(case, params, mode="gated"):
    """Return a program that loads, computes and stores a `sim.plan.cases.Case`."""
    program = compile_layer(case.layer, case.ifmap, case.residual, params, mode)
    tap = case.golden(mode)
    regions, loads = [], []
    places = [(IFMAP, 0)] + ([(RESIDUAL, 1)] if case.residual is not None else [])
    for address, bank in places:
        chosen = program.load_bank == bank
        words, first = program.load_words[chosen], int(program.load_addr[chosen][0])
        assert np.array_equal(program.load_addr[chosen], first + np.arange(len(words)))
        regions.append((address, words.tobytes()))
        loads.append(instruction(Opcode.LOAD_MAP, address=address, count=len(words), bank=bank, bank_addr=first))
    fields, lanes, count = program.parameters, params.rq_lanes, program.parameter_count
    channels = {
        "multiplier": np.asarray(fields["scales"]["multiplier"]).reshape(-1),
        "offset": np.asarray(fields["scales"]["offset"]).reshape(-1),
        "threshold": np.asarray(fields["thresholds"]).reshape(-1),
        "reserved": 0,
    }
    regions.append((PARAMETERS, pack(ChannelParameters, channels, count * lanes).tobytes()))
    regions.append((WEIGHTS, program.weights.tobytes()))
    loads.append(instruction(Opcode.LOAD_PARAMETERS, give=["compute"], address=PARAMETERS, count=count))
    weights = instruction(Opcode.LOAD_WEIGHTS, address=WEIGHTS, count=len(program.weights))
    if program.ofmap is None:
        compute = instruction(Opcode.COMPUTE, take=["load"], layer=program.registers, params=params)
        slices = program.geometry.slices
        store = instruction(Opcode.STORE_LOGITS, address=LOGITS, count=slices * len(tap.ofmap) * params.rq_phases)
        logits = np.pad(tap.ofmap.numpy(), ((0, 0), (0, 8 * slices - tap.ofmap.shape[1])))
        expected = logits.reshape(-1, slices, 8).transpose(1, 0, 2).astype("<i4").tobytes()
        return OneLayer([*loads, weights, compute, store], regions, expected, LOGITS)
    compute = instruction(Opcode.COMPUTE, take=["load"], give=["store"], layer=program.registers, params=params)
    words = program.ofmap.to_words(tap.ofmap.numpy(), params.in_par)
    count = words.size // params.in_par
    store = instruction(
        Opcode.STORE_MAP,
        take=["compute"],
        address=OFMAP,
        count=count,
        bank=program.ofmap.bank,
        bank_addr=program.ofmap.base,
    )
    return OneLayer([*loads, weights, compute, store], regions, words.tobytes(), OFMAP)
