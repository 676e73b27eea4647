"""A program unpacked: what its instructions use, and what their tokens put in order.

It is written from the definition of the instructions, not from the hardware or the compiler.
"""

from dataclasses import dataclass, field

from gen.layer.packing import unpack
from hw.interface.instructions import BODY_OFFSET, PASSES, UNIT_OF, Header, Opcode, Transfer, Unit
from hw.interface.layouts import LayerRegisters
from hw.params import LANES

#: Units by the names of their tokens.
TOKENS = {"load": Unit.LOAD, "compute": Unit.COMPUTE, "store": Unit.STORE}


class ProgramError(AssertionError):
    """The program does something that no program may."""


@dataclass
class Decoded:
    """An instruction, unpacked: what it does, and the parts of banks, parameters and memory that it uses."""

    number: int
    opcode: Opcode
    take: list
    give: list
    body: dict
    reads: list = field(default_factory=list)  # (place, first, stop)
    writes: list = field(default_factory=list)

    @property
    def unit(self):
        return UNIT_OF[self.opcode]


def clash(one, other):
    """Return a part that one instruction writes and the other one uses, or None."""
    for writer, user in ((one, other), (other, one)):
        for place, first, stop in writer.writes:
            for what, begin, end in (*user.reads, *user.writes):
                if what == place and begin < stop and first < end:
                    return place, max(first, begin)
    return None


def decode(words, params):
    """Unpack a program of (n, 64) bytes, checking what the engine checks."""
    layout = LayerRegisters(params)
    program = []
    for number, word in enumerate(words):
        header = {name: value for name, value in unpack(Header, word[None, : BODY_OFFSET // 8]).items()}
        opcode = Opcode(int(header["opcode"][0]))
        body = unpack(layout if opcode in PASSES else Transfer, word[None, BODY_OFFSET // 8 :])
        take, give = ([name for name in TOKENS if header[way][name][0]] for way in ("take", "give"))
        one = Decoded(number, opcode, take, give, {name: int(value[0]) for name, value in body.items()})
        own = {unit: name for name, unit in TOKENS.items()}.get(one.unit)
        if own in take + give or own is None and take + give:
            raise ProgramError(f"instruction {number}: tokens {take} {give} of {one.unit}")
        _use(one, params)
        program.append(one)
    return program


def _use(one, params):
    """Note what an instruction uses."""
    body = one.body
    item = {
        Opcode.LOAD_MAP: params.in_par,
        Opcode.STORE_MAP: params.in_par,
        Opcode.LOAD_PARAMETERS: params.param_record_bytes,
        Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes,
    }
    if one.opcode in PASSES:
        if body["pool"] != (one.opcode is Opcode.POOL):
            raise ProgramError(f"instruction {one.number}: {one.opcode.name} with pool = {body['pool']}")
        # The ports of a bank are the pass's, so nobody else may use one.
        one.reads.append((f"bank {body['ifmap_bank']}", 0, params.bank_words))
        if body["residual_enable"]:
            one.reads.append((f"bank {body['residual_bank']}", 0, params.bank_words))
        if not body["logits"]:
            one.writes.append((f"bank {body['ofmap_bank']}", 0, params.bank_words))
            if body["ofmap_bank"] == body["ifmap_bank"]:
                raise ProgramError(f"instruction {one.number}: ofmap in the ifmap's bank")
        if body["pool"]:
            if body["logits"] or body["residual_enable"]:
                raise ProgramError(f"instruction {one.number} pools to logits or with a residual")
            return
        half = body["param_half"] * params.param_words // 2
        one.reads.append(("parameters", half, half + (body["slice_last"] + 1) * params.rq_phases))
        return
    size = body["count"] * item[one.opcode]
    memory = ("memory", body["address"], body["address"] + size)
    if body["address"] % params.axi_bytes or not body["count"]:
        raise ProgramError(f"instruction {one.number}: {body}")
    first = body["bank_addr"]
    part = {
        Opcode.LOAD_MAP: f"bank {body['bank']}",
        Opcode.STORE_MAP: f"bank {body['bank']}",
        Opcode.LOAD_PARAMETERS: "parameters",
    }.get(one.opcode)
    store = one.unit is Unit.STORE
    (one.writes if store else one.reads).append(memory)
    if part is None:
        return
    depth = params.param_words if part == "parameters" else params.bank_words
    if first + body["count"] > depth:
        raise ProgramError(f"instruction {one.number}: beyond {part}")
    (one.reads if store else one.writes).append((part, first, first + body["count"]))


def unordered(program):
    """Return pairs of instructions that use the same part, one of them changing it, and that nothing puts in order.

    If there is none, all interleavings of the units do what executing one instruction after the other does.
    """
    before, _ = _happens_before(program)
    return [
        (a.number, b.number, clash(a, b))
        for n, b in enumerate(program)
        for a in program[:n]
        if not before[b.number] >> a.number & 1 and clash(a, b)
    ]


def most_tokens(program):
    """Return the most tokens of two units that can wait at a time, whatever the interleaving."""
    before, pairs = _happens_before(program)
    return max(
        (
            n + 1 - sum(before[giver] >> taker & 1 for _, taker in edges)
            for edges in pairs.values()
            for n, (giver, _) in enumerate(edges)
        ),
        default=0,
    )


def _happens_before(program):
    """Return for each instruction a number with a bit for each one that has ended before it starts; and the edges."""
    before = [0] * len(program)
    last = {}
    given = {(a, b): [] for a in TOKENS for b in TOKENS}
    edges = {pair: [] for pair in given}
    names = {unit: name for name, unit in TOKENS.items()}
    for one in program:
        known = 0
        if one.unit in last:
            known |= before[last[one.unit]] | 1 << last[one.unit]
        for name in one.take:
            pair = (name, names[one.unit])
            if len(edges[pair]) >= len(given[pair]):
                raise ProgramError(f"instruction {one.number} takes a token that nobody before it gives")
            giver = given[pair][len(edges[pair])]
            edges[pair].append((giver, one.number))
            known |= before[giver] | 1 << giver
        before[one.number] = known
        last[one.unit] = one.number
        for name in one.give:
            given[names[one.unit], name].append(one.number)
    left = {pair: len(givers) - len(edges[pair]) for pair, givers in given.items() if len(givers) != len(edges[pair])}
    if left:
        raise ProgramError(f"tokens are left over: {left}")
    return before, edges
