"""The requantiser's lane, bit by bit against the golden model, and its exact latencies."""

import itertools
import random

import pytest
import torch

from hw.datapath.requantise import Requantise
from sw_model.integer.ops import requantize
from tests.hw.helpers import INT32_MAX, INT32_MIN, simulate

LIMIT = 2**47


def total_of(psum, multiplier, bias, residual, layer):
    """The sum before the shift, by design section 2 item 6. None if it leaves 48 bits, which the quantiser refuses."""
    total = psum * multiplier + bias + residual * (layer["R0"] << layer["Q"]) + (1 << (layer["S"] - 1))
    return total if -LIMIT <= total < LIMIT else None


def golden(psum, multiplier, bias, residual, layer):
    signed = layer["signed"]
    [[[[code]]]] = requantize(
        torch.tensor([[[[psum]]]]),
        torch.tensor([multiplier]),
        torch.tensor([bias]),
        layer["S"],
        torch.tensor([[[[residual]]]]),
        layer["R0"],
        layer["Q"],
        -128 if signed else 0,
        127 if signed else 255,
    ).tolist()
    return code


def run(layer, operands, seed=0):
    """Feed an operand (psum, multiplier, bias, residual) each cycle; return the totals and codes at their cycles."""
    dut = Requantise()
    totals, codes = [], []

    async def feed(ctx):
        ctx.set(dut.residual_scale, layer["R0"])
        ctx.set(dut.residual_shift, layer["Q"])
        ctx.set(dut.shift, layer["S"])
        ctx.set(dut.signed_output, layer["signed"])
        rng = random.Random(seed)
        for cycle in range(len(operands) + Requantise.LATENCY):
            if cycle < len(operands):
                psum, multiplier, bias, _ = operands[cycle]
            else:  # what is not an operand must not matter
                psum, multiplier, bias = rng.getrandbits(31), rng.getrandbits(15), rng.getrandbits(46)
            late = cycle - Requantise.RESIDUAL_LATENCY
            offset = bias + (1 << (layer["S"] - 1))
            ctx.set(dut.psum, psum)
            ctx.set(dut.multiplier, multiplier)
            ctx.set(dut.offset, offset)
            ctx.set(dut.residual, operands[late][3] if 0 <= late < len(operands) else rng.randint(-128, 255))
            await ctx.tick()
            # After n edges the values are n cycles old.
            if cycle + 1 >= Requantise.TOTAL_LATENCY:
                totals.append(ctx.get(dut.total))
            if cycle + 1 >= Requantise.LATENCY:
                codes.append(ctx.get(dut.code))

    simulate(dut, feed)
    return totals, codes


def check(layer, operands, seed=0):
    totals, codes = run(layer, operands, seed)
    for n, operand in enumerate(operands):
        where = f"operand {n}: {operand} of {layer} (seed {seed})"
        total = total_of(*operand, layer)
        assert totals[n] == (total + 2**31) % 2**32 - 2**31, where
        assert codes[n] == golden(*operand, layer) % 256, where


def in_range(operands, layer):
    kept = [
        operand
        for operand in operands
        if total_of(*operand, layer) is not None and -LIMIT <= operand[2] + (1 << (layer["S"] - 1)) < LIMIT
    ]
    assert kept, f"nothing is left of {len(operands)} operands of {layer}"
    return kept


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("S", [1, 2, 8, 24, 39, 40])
def test_corners(S, signed):
    layer = {"S": S, "signed": signed, "R0": 0, "Q": 0}
    psums = [INT32_MIN, INT32_MIN + 1, -65537, -65536, -65535, -1, 0, 1, 65535, 65536, 65537, INT32_MAX]
    multipliers = [-(2**15), -(2**15) + 1, -1, 0, 1, 2**15 - 1]
    biases = [-(2**46), -1, 0, 1, 2**46]
    check(layer, in_range([(*operand, 0) for operand in itertools.product(psums, multipliers, biases)], layer))


@pytest.mark.parametrize("signed", [0, 1])
def test_extremes_of_the_sum(signed):
    # The least and the greatest sum that 48 bits hold, and that their sign survives every stage of the shift.
    for S in (1, 17, 40):
        layer = {"S": S, "signed": signed, "R0": 0, "Q": 0}
        half = 1 << (S - 1)
        check(
            layer,
            [
                (0, 0, LIMIT - 1 - half, 0),
                (0, 0, -LIMIT, 0),
                (INT32_MIN, -(2**15), LIMIT - 1 - half - 2**46, 0),
                (INT32_MIN, 2**15 - 1, -LIMIT + 2**31 * (2**15 - 1), 0),
            ],
        )


@pytest.mark.parametrize("S", [1, 2, 7, 16, 40])
def test_half_rounds_up_for_both_signs(S):
    # Exactly n + 1/2, and one unit to either side: floor(x + 1/2), so -1/2 becomes 0 and -3/2 becomes -1.
    layer = {"S": S, "signed": 1, "R0": 0, "Q": 0}
    half = 1 << (S - 1)
    cases = [(n, nudge) for n in (-3, -2, -1, 0, 1, 2) for nudge in (-1, 0, 1)]
    operands = [(0, 0, (n << S) + half + nudge, 0) for n, nudge in cases]
    expected = [n + (nudge >= 0) for n, nudge in cases]
    _, codes = run(layer, operands)
    assert codes[: len(operands)] == [code % 256 for code in expected]


@pytest.mark.parametrize("signed, low, high", [(0, 0, 255), (1, -128, 127)])
def test_clamp_borders(signed, low, high):
    layer = {"S": 4, "signed": signed, "R0": 0, "Q": 0}
    values = [
        low - 1,
        low,
        low + 1,
        -1,
        0,
        1,
        high - 1,
        high,
        high + 1,
        255,
        256,
        257,
        -129,
        -256,
        -257,
        2**30,
        -(2**30),
    ]
    _, codes = run(layer, [(value, 16, 0, 0) for value in values])
    assert codes[: len(values)] == [min(max(value, low), high) % 256 for value in values]


@pytest.mark.parametrize("Q", [0, 1, 3, 4, 15, 23])
@pytest.mark.parametrize("R0", [0, 1, 2**15, 2**16 - 1])
def test_residual_corners(R0, Q):
    for signed in (0, 1):
        layer = {"S": Q + 9, "signed": signed, "R0": R0, "Q": Q}
        codes = [-128, -127, -1, 0, 1, 127, 128, 255]
        check(layer, in_range([(psum, 7, -3, code) for code in codes for psum in (-1000, 0, 999)], layer))


def test_largest_residual_shift():
    # 255 * R0 * 2^Q stays below 2^47 up to Q = 31 for the least factors.
    for R0 in (1, 2, 255):
        layer = {"S": 40, "signed": 1, "R0": R0, "Q": 31}
        check(layer, in_range([(5, 5, 5, code) for code in (-128, -1, 0, 1, 127, 255)], layer))


@pytest.mark.parametrize("relu", [0, 1])
def test_random(relu, seed):
    rng = random.Random(seed)
    for _ in range(8):
        layer = {"S": rng.randint(1, 40), "signed": 1 - relu, "R0": rng.getrandbits(16), "Q": rng.randint(0, 22)}
        operands = []
        for _ in range(60):
            # Of every magnitude; a third of the sums near the range of the codes.
            psum = rng.randint(-1, 1) * rng.getrandbits(rng.randint(1, 31))
            multiplier = rng.choice([-1, 1]) * rng.getrandbits(rng.randint(1, 15))
            bias = rng.choice([-1, 1]) * rng.getrandbits(rng.randint(1, 46))
            residual = rng.randint(-128, 255)
            if rng.random() < 0.33:
                bias = (rng.randint(-300, 300) << layer["S"]) - psum * multiplier
                bias = max(min(bias, 2**46), -(2**46))
            operands.append((psum, multiplier, bias, residual))
        check(layer, in_range(operands, layer), seed)


def test_latency():
    # One operand among zeros shows at exactly one cycle; its residual comes RESIDUAL_LATENCY later.
    assert (Requantise.LATENCY, Requantise.TOTAL_LATENCY, Requantise.RESIDUAL_LATENCY) == (9, 5, 1)
    dut = Requantise()
    layer = {"S": 1, "R0": 3, "Q": 0, "signed": 0}
    totals, codes = {}, {}

    async def bench(ctx):
        ctx.set(dut.residual_scale, layer["R0"])
        ctx.set(dut.shift, layer["S"])
        for cycle in range(25):
            ctx.set(dut.psum, 10 if cycle == 4 else 0)
            ctx.set(dut.multiplier, 2 if cycle == 4 else 0)
            ctx.set(dut.offset, 1 if cycle == 4 else 0)
            ctx.set(dut.residual, 5 if cycle == 4 + Requantise.RESIDUAL_LATENCY else 0)
            totals[cycle], codes[cycle] = ctx.get(dut.total), ctx.get(dut.code)
            await ctx.tick()

    simulate(dut, bench)
    assert {cycle: total for cycle, total in totals.items() if total} == {4 + 5: 36}
    assert {cycle: code for cycle, code in codes.items() if code} == {4 + 9: 18}
