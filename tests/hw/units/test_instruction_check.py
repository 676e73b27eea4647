"""Checks of instructions: each error by itself, the edges of what is allowed, beats of a transfer."""

import random

import pytest

from hw.interface.axi import ADDR_BITS
from hw.interface.instructions import BODY_OFFSET, PASSES, UNIT_OF, ErrorCode, Header, Opcode, Transfer, Unit
from hw.interface.layouts import GateMode, LayerRegisters
from hw.params import LANES, HwParams
from hw.units.instruction_check import InstructionCheck
from tests.hw.helpers import SMALL, simulate, ticks

PARAMS = [SMALL, HwParams(), HwParams(in_par=4, rq_lanes=1, axi_bits=32), HwParams(in_par=8, rq_lanes=2, axi_bits=128)]
TRANSFERS = [opcode for opcode in Opcode if opcode not in PASSES]
NAMES = {Unit.LOAD: "load", Unit.COMPUTE: "compute", Unit.STORE: "store"}


def word(opcode, *, take=(), give=(), layer=None, params=SMALL, **transfer):
    header = Header.const(
        {
            "opcode": opcode if isinstance(opcode, int) else opcode.value,
            "take": dict.fromkeys(take, 1),
            "give": dict.fromkeys(give, 1),
        }
    )
    value = header.as_value().value
    if layer is not None:
        return value | LayerRegisters(params).const(layer).as_value().value << BODY_OFFSET
    return value | Transfer.const({"address": 0, "count": 1, **transfer}).as_value().value << BODY_OFFSET


def layer(**registers):
    return {"mode": GateMode.GATED, "ifmap_bank": 0, "ofmap_bank": 1, "cond_entries": 9, **registers}


def pooling(**registers):
    return {"mode": GateMode.BASE, "ifmap_bank": 0, "ofmap_bank": 1, "pool": 1, **registers}


def check(params, cases, window=(0, 0xFFFFFFFF)):
    """Run (word, expected code, expected beats or None, what) cases one after the other."""
    dut = InstructionCheck(params)

    async def bench(ctx):
        ctx.set(dut.store_base, window[0])
        ctx.set(dut.store_end, window[1])
        for value, code, beats, what in cases:
            ctx.set(dut.word, value)
            await ticks(ctx, dut.LATENCY)
            assert ctx.get(dut.code) == code, what
            assert beats is None or ctx.get(dut.beats) == beats, what

    simulate(dut, bench, max_cycles=100_000)


def item_bytes(opcode, params):
    return {
        Opcode.LOAD_MAP: params.in_par,
        Opcode.STORE_MAP: params.in_par,
        Opcode.LOAD_PARAMETERS: 16 * params.rq_lanes,
        Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes,
    }[opcode]


@pytest.mark.parametrize("params", PARAMS, ids=lambda p: f"{p.in_par}-{p.rq_lanes}-{p.axi_bits}")
def test_transfers_of_every_kind_and_their_beats(params, seed):
    rng, cases = random.Random(seed), []
    for opcode in TRANSFERS:
        limit = {Opcode.LOAD_PARAMETERS: params.param_words}.get(opcode, params.bank_words)
        for count in [1, 2, 3, limit, *(rng.randint(1, limit) for _ in range(10))]:
            size = count * item_bytes(opcode, params)
            value = word(opcode, address=params.axi_bytes * rng.randrange(1 << 20), count=count)
            cases.append((value, ErrorCode.NONE, -(-size // params.axi_bytes), f"{opcode} {count} (seed {seed})"))
    check(params, cases)


def test_opcodes_and_bits_that_no_field_takes():
    good = word(Opcode.LOAD_MAP)
    cases = [(good, ErrorCode.NONE, None, "good"), (0, ErrorCode.OPCODE, None, "empty memory")]
    known = {opcode.value for opcode in Opcode}
    cases += [(word(n), ErrorCode.OPCODE, None, f"opcode {n}") for n in range(16) if n not in known]
    spare = [*range(Header.size, BODY_OFFSET), *range(BODY_OFFSET + Transfer.size, 512)]
    cases += [(good | 1 << bit, ErrorCode.OPCODE, None, f"bit {bit}") for bit in spare]
    run = word(Opcode.COMPUTE, layer=layer())
    end = BODY_OFFSET + LayerRegisters(SMALL).size
    cases += [
        (run, ErrorCode.NONE, None, "layer"),
        (run | 1 << end, ErrorCode.OPCODE, None, "after the layer"),
        (run | 1 << 511, ErrorCode.OPCODE, None, "last bit"),
    ]
    check(SMALL, cases)


def test_tokens_of_the_own_unit_and_of_a_unit_without():
    cases = []
    for opcode, unit in UNIT_OF.items():
        for name in NAMES.values():
            wrong = unit is Unit.WEIGHTS or name == NAMES[unit]
            for way in ("take", "give"):
                body = {"layer": pooling() if opcode is Opcode.POOL else layer()} if opcode in PASSES else {}
                code = ErrorCode.TOKENS if wrong else ErrorCode.NONE
                cases.append((word(opcode, **{way: [name]}, **body), code, None, f"{opcode} {way} {name}"))
    check(SMALL, cases)


def test_poolings():
    cases = [
        (word(Opcode.POOL, layer=pooling()), ErrorCode.NONE, None, "good"),
        (word(Opcode.POOL, layer=pooling(pool=0)), ErrorCode.LAYER, None, "not pooling"),
        (word(Opcode.COMPUTE, layer=layer(pool=1)), ErrorCode.LAYER, None, "pooling"),
        (word(Opcode.COMPUTE, layer=pooling()), ErrorCode.LAYER, None, "pooling without conditional path"),
        (word(Opcode.POOL, layer=pooling(ofmap_bank=0)), ErrorCode.LAYER, None, "one bank"),
        (word(Opcode.POOL, layer=pooling(residual_bank=2, residual_enable=1)), ErrorCode.LAYER, None, "residual"),
        (word(Opcode.POOL, layer=pooling(residual_bank=2)), ErrorCode.NONE, None, "no residual"),
        (word(Opcode.POOL, layer=pooling(logits=1)), ErrorCode.LAYER, None, "logits"),
    ]
    cases += [
        (
            word(Opcode.POOL, layer=pooling(mode=mode, cond_entries=9)),
            ErrorCode.NONE if mode is GateMode.BASE else ErrorCode.LAYER,
            None,
            str(mode),
        )
        for mode in GateMode
    ]
    check(SMALL, cases)


def test_layers():
    cases = [
        (
            word(Opcode.COMPUTE, layer=layer(mode=mode)),
            ErrorCode.LAYER if mode is GateMode.FORCED else ErrorCode.NONE,
            None,
            str(mode),
        )
        for mode in GateMode
    ]
    cases += [
        (word(Opcode.COMPUTE, layer=layer(ofmap_bank=0)), ErrorCode.LAYER, None, "one bank"),
        (word(Opcode.COMPUTE, layer=layer(ofmap_bank=0, logits=1)), ErrorCode.NONE, None, "logits have no ofmap"),
        (word(Opcode.COMPUTE, layer=layer(residual_bank=0, residual_enable=1)), ErrorCode.LAYER, None, "residual"),
        (word(Opcode.COMPUTE, layer=layer(residual_bank=1, residual_enable=1)), ErrorCode.NONE, None, "in place"),
        (word(Opcode.COMPUTE, layer=layer(residual_bank=0)), ErrorCode.NONE, None, "no residual"),
    ]
    cases += [
        (
            word(Opcode.COMPUTE, layer=layer(mode=mode, cond_entries=0)),
            ErrorCode.NONE if mode is GateMode.BASE else ErrorCode.LAYER,
            None,
            f"{mode} without conditional path",
        )
        for mode in GateMode
    ]
    cases += [
        (
            word(Opcode.COMPUTE, layer=layer()) | mode << BODY_OFFSET | 7 << BODY_OFFSET,
            ErrorCode.LAYER,
            None,
            "no such mode",
        )
        for mode in (5, 6, 7)
    ]
    check(SMALL, cases)


@pytest.mark.parametrize("opcode", TRANSFERS)
def test_edges_of_transfers(opcode):
    params = SMALL
    top, beat, size = 1 << ADDR_BITS, params.axi_bytes, item_bytes(opcode, params)
    cases = [
        (
            word(opcode, address=address),
            ErrorCode.ADDRESS if address % beat else ErrorCode.NONE,
            None,
            f"address {address}",
        )
        for address in range(2 * beat)
    ]
    cases.append((word(opcode, count=0), ErrorCode.RANGE, None, "nothing"))
    # The last bytes of the address space.
    least = beat if size < beat else size
    fits = opcode not in (Opcode.STORE_MAP, Opcode.STORE_LOGITS)  # these are bounded by the window
    cases.append(
        (
            word(opcode, address=top - least, count=least // size),
            ErrorCode.NONE if fits else ErrorCode.RANGE,
            None,
            "top",
        )
    )
    cases.append((word(opcode, address=top - least, count=least // size + 1), ErrorCode.RANGE, None, "beyond the top"))
    depth = {
        Opcode.LOAD_MAP: params.bank_words,
        Opcode.STORE_MAP: params.bank_words,
        Opcode.LOAD_PARAMETERS: params.param_words,
    }.get(opcode)
    if depth is None:
        cases.append((word(opcode, bank_addr=1), ErrorCode.RANGE, None, "no bank is meant"))
        cases.append((word(opcode, bank=1), ErrorCode.RANGE, None, "no bank is meant"))
    else:
        cases.append((word(opcode, bank_addr=depth - 3, count=3), ErrorCode.NONE, None, "to the end"))
        cases.append((word(opcode, bank_addr=depth - 3, count=4), ErrorCode.RANGE, None, "beyond the end"))
        cases.append((word(opcode, bank_addr=0xFFFF, count=(1 << 24) - 1), ErrorCode.RANGE, None, "far beyond"))
    check(params, cases)


@pytest.mark.parametrize("opcode", [Opcode.STORE_MAP, Opcode.STORE_LOGITS])
def test_stores_stay_in_the_window(opcode):
    params = SMALL
    size = 8 * item_bytes(opcode, params)
    cases = []
    for address, code in (
        (0x1000, ErrorCode.NONE),
        (0x2000 - size, ErrorCode.NONE),
        (0x1000 - params.axi_bytes, ErrorCode.RANGE),
        (0x2000 - size + params.axi_bytes, ErrorCode.RANGE),
    ):
        cases.append((word(opcode, address=address, count=8), code, None, hex(address)))
    cases.append((word(Opcode.LOAD_MAP, address=0, count=8), ErrorCode.NONE, None, "loads may read anywhere"))
    check(params, cases, window=(0x1000, 0x2000))


def test_the_first_of_several_errors_is_told():
    wrong = word(0, take=["load"], address=1, count=0)
    check(
        SMALL,
        [
            (wrong, ErrorCode.OPCODE, None, "all"),
            (word(Opcode.LOAD_MAP, take=["load"], address=1, count=0), ErrorCode.TOKENS, None, "without opcode"),
            (word(Opcode.LOAD_MAP, address=1, count=0), ErrorCode.ADDRESS, None, "without tokens"),
        ],
    )
