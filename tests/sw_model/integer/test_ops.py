"""Golden operators against loops over Python integers."""

import random

import pytest
import torch

from cdgate.base_path import base_input_groups
from sw_model.integer import convolution
from sw_model.integer import ops as int_ops
from sw_model.integer.convolution import conv2d
from verification.independent.loops import loop_conv, loop_max_pool, loop_requantize

INT32_MIN, INT32_MAX = int_ops.INT32_MIN, int_ops.INT32_MAX


def random_case(seed, groups=1, size=5):
    rng = torch.Generator().manual_seed(seed)
    out_ch, in_ch = 8 * groups, 2 * groups
    x = torch.randint(0, 256, (2, in_ch, size, size), generator=rng)
    weight = torch.randint(-127, 128, (out_ch, in_ch, 3, 3), generator=rng).to(torch.int8)
    return x, weight


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("seed", [1, 2])
def test_conv2d_equals_the_loop(stride, pad, seed):
    x, weight = random_case(seed)
    for pad_code in ((0, 0), (125, 7)):
        expected = loop_conv(x.tolist(), weight.tolist(), stride, pad, pad_code)
        got = conv2d(x, weight, stride, pad, pad_code)
        assert got.dtype == torch.int64
        assert got.tolist() == expected, f"{seed=} {pad_code=}"


def test_conv2d_is_exact_where_one_float32_sum_would_round():
    # 512 channels: |psum| reaches 255 * 127 * 4608 = 1.5e8, far beyond 2^24.
    x = torch.full((1, 512, 3, 3), 255)
    x[0, ::3, 1, 1] = 254
    weight = torch.full((2, 512, 3, 3), 127, dtype=torch.int8)
    weight[1, 1::2] = -126
    expected = (x[0] * weight.to(torch.int64)).sum((1, 2, 3))
    got = conv2d(x, weight)
    assert got[0, :, 0, 0].tolist() == expected.tolist()
    assert int(got[0, 0, 0, 0]) % 2 == 1 or int(got.abs().max()) > 2**24


def test_conv2d_equals_int64_on_wide_layers():
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        x = torch.randint(0, 256, (2, 256, 4, 4), generator=rng)
        weight = torch.randint(-127, 128, (16, 256, 3, 3), generator=rng).to(torch.int8)
        columns = torch.nn.functional.unfold(x.double(), 3, padding=1, stride=2).long()
        expected = (weight.to(torch.int64).flatten(1) @ columns).reshape(2, 16, 2, 2)
        assert torch.equal(conv2d(x, weight, 2, 1), expected), f"{seed=}"


def test_conv2d_falls_back_to_float64(monkeypatch):
    x, weight = random_case(3)
    expected = conv2d(x, weight, 1, 1, (9, 0))
    monkeypatch.setattr(convolution, "_float32_convolution_is_exact", lambda: False)
    assert torch.equal(conv2d(x, weight, 1, 1, (9, 0)), expected)


def test_conv2d_single_channel_beyond_float32():
    x = torch.full((1, 1, 25, 25), 255)
    weight = torch.full((1, 1, 25, 25), 127, dtype=torch.int8)
    assert conv2d(x, weight).tolist() == [[[[255 * 127 * 625]]]]


def test_conv2d_refuses_wrong_codes():
    x, weight = random_case(4)
    with pytest.raises(ValueError, match=r"activation codes must be in \[0, 255\], not in \[0, 256\]"):
        conv2d(torch.tensor([[[[0, 256]]]]).expand(1, 2, 1, 2), weight[:, :, :1, :1])
    with pytest.raises(ValueError, match=r"weight codes must be in \[-127, 127\]"):
        conv2d(x, torch.full_like(weight, -128))
    with pytest.raises(TypeError, match="activation codes must be integer codes"):
        conv2d(x.float(), weight)


def test_conv2d_refuses_an_overflow():
    weight = torch.full((1, 66400, 1, 1), 127, dtype=torch.int8)
    with pytest.raises(OverflowError, match="psum must fit int32"):
        conv2d(torch.zeros(1, 66400, 1, 1, dtype=torch.int64), weight)


@pytest.mark.parametrize("groups", [2, 4, 8])
@pytest.mark.parametrize("branch", [1, 2])
def test_split_weight_and_gated_psums(groups, branch):
    seed = 10 * groups + branch
    x, weight = random_case(seed, groups)
    chosen = base_input_groups(groups, branch)
    base, conditional = int_ops.split_weight(weight, chosen)
    for o in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            group = o // 8 if branch == 1 else groups - 1 - o // 8
            is_base = i // 2 == group
            assert torch.equal(base[o, i], weight[o, i] * is_base), f"{seed=} {o=} {i=}"
            assert torch.equal(conditional[o, i], weight[o, i] * (not is_base)), f"{seed=} {o=} {i=}"
    for stride in (1, 2):
        psum_base, psum = int_ops.gated_psums(x, weight, stride, 1, chosen)
        expected = conv2d(x, base, stride, 1)
        assert torch.equal(psum_base, expected), f"{seed=}"
        assert torch.equal(psum, expected + conv2d(x, conditional, stride, 1)), f"{seed=}"
        assert torch.equal(int_ops.base_psum(x, weight, stride, 1, chosen), expected), f"{seed=}"


@pytest.mark.parametrize("chosen", [(0, 1, 2, 0), (0, 0, 0, 0), (3, 1, 3, 2)])
def test_base_paths_that_share_an_input_group(chosen):
    seed = 7
    x, weight = random_case(seed, 4)
    base, conditional = int_ops.split_weight(weight, chosen)
    for o in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            kept = weight[o, i] * (i // 2 == chosen[o // 8])
            assert torch.equal(base[o, i], kept) and torch.equal(conditional[o, i], weight[o, i] - kept)
    zero = (0,) * 8
    psum_base, psum = int_ops.gated_psums(x, weight, 1, 1, chosen)
    assert psum_base.tolist() == loop_conv(x.tolist(), base.tolist(), 1, 1, zero)
    assert psum.tolist() == loop_conv(x.tolist(), weight.tolist(), 1, 1, zero)
    assert torch.equal(int_ops.base_psum(x, weight, 1, 1, chosen), psum_base)


def test_split_weight_refuses_groups_and_branch():
    weight = torch.zeros(8, 6, 3, 3, dtype=torch.int8)
    with pytest.raises(ValueError, match="groups must divide the channels 6 and 8, not be 4"):
        int_ops.split_weight(weight, (0, 1, 2, 3))
    with pytest.raises(ValueError, match="branch must be 1 or 2, not 3"):
        base_input_groups(2, 3)
    for chosen in ((0,), (0, 2), (-1, 0)):
        with pytest.raises(ValueError, match="base groups must be 2 numbers of 0 to 1, not"):
            base_input_groups(2, 1, chosen)


def test_decide_slices_equals_the_loop_and_a_tie_does_not_fire():
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        psum = torch.randint(-50, 51, (2, 16, 3, 3), generator=rng)
        sums = psum.reshape(2, 2, 8, 3, 3).sum(2)
        threshold = sums[0, :, 1, 1].to(torch.int32)  # a tie at one pixel of either slice
        fire = int_ops.decide_slices(psum, threshold)
        for n in range(2):
            for s in range(2):
                for y in range(3):
                    for x in range(3):
                        total = sum(int(psum[n, 8 * s + c, y, x]) for c in range(8))
                        assert bool(fire[n, s, y, x]) == (total > int(threshold[s])), f"{seed=}"
        assert not fire[0, :, 1, 1].any()


def test_decide_at_the_limits():
    psum = torch.tensor([-30_000_000, 0, 30_000_000]).reshape(1, 1, 1, 3).expand(1, 8, 1, 3)
    always, never = (torch.tensor([k], dtype=torch.int64) for k in (INT32_MIN, INT32_MAX))
    assert int_ops.decide_slices(psum, always).all()
    assert not int_ops.decide_slices(psum, never).any()
    assert int_ops.decide_slices(psum, torch.tensor([8 * 30_000_000 - 1])).tolist() == [[[[False, False, True]]]]


def test_decide_channels_and_its_refusals():
    psum = torch.tensor([[4, 5, 6], [-1, 0, 1]]).reshape(1, 2, 1, 3)
    fire = int_ops.decide_channels(psum, torch.tensor([5, -1]))
    assert fire.tolist() == [[[[False, False, True]], [[False, True, True]]]]
    with pytest.raises(ValueError, match=r"thresholds must be one per saliency \(2\), not 3"):
        int_ops.decide_channels(psum, torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="multiple of the slice size 8"):
        int_ops.decide_slices(psum, torch.tensor([1]))
    with pytest.raises(OverflowError, match="saliency must fit int32"):
        int_ops.decide_channels(torch.full((1, 1, 1, 1), INT32_MIN), torch.tensor([0]))


def test_requantize_rounds_halves_up_for_both_signs():
    acc = torch.tensor([-5, -3, -2, -1, 0, 1, 2, 3, 5]).reshape(1, 1, 1, 9)
    one, zero = torch.ones(1, dtype=torch.int16), torch.zeros(1, dtype=torch.int64)
    got = int_ops.requantize(acc, one, zero, 1, lo=-128, hi=127)
    assert got.flatten().tolist() == [-2, -1, -1, 0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
def test_requantize_equals_the_loop(signed, with_residual):
    rng = random.Random(f"{signed} {with_residual}")
    lo, hi = (-128, 127) if signed else (0, 255)
    for case in range(200):
        shift = rng.choice([1, 2, 15, 20, 24, 39, 40])
        q = rng.randrange(0, 12)
        r0 = rng.randrange(0, 2**16) if with_residual else 0
        m = [rng.choice([-32768, -1, 0, 1, 32767, rng.randrange(-32768, 32768)]) for _ in range(3)]
        b = [rng.randrange(-(2**45), 2**45) if case % 2 else rng.randrange(-300, 300) << (shift - 1) for _ in range(3)]
        if case % 2 == 0:
            b = [max(-(2**45), min(2**45, value)) for value in b]
        acc = [rng.choice([0, 1, -1, 150_000_000, -150_000_000, rng.randrange(-(10**6), 10**6)]) for _ in range(3)]
        res = [rng.choice([-128, -1, 0, 1, 127] if signed else [0, 1, 128, 255]) for _ in range(3)]
        got = int_ops.requantize(
            torch.tensor(acc).reshape(1, 3, 1, 1), torch.tensor(m, dtype=torch.int16), torch.tensor(b), shift,
            torch.tensor(res).reshape(1, 3, 1, 1) if with_residual else None, r0, q, lo, hi,
        )  # fmt: skip
        used = res if with_residual else [0, 0, 0]
        rows = zip(acc, m, b, used, strict=True)
        expected = [loop_requantize(*row[:3], shift, row[3], r0, q, lo, hi) for row in rows]
        assert got.flatten().tolist() == expected, f"{case=} {shift=} {m=} {b=} {acc=} {res=} {r0=} {q=}"


def requantize_once(acc=1, m=1, b=0, shift=1, residual=None, r0=0, q=0, lo=0, hi=255):
    residual = None if residual is None else torch.tensor(residual).reshape(1, 1, 1, 1)
    return int_ops.requantize(
        torch.tensor(acc).reshape(1, 1, 1, 1), torch.tensor([m]), torch.tensor([b]), shift, residual, r0, q, lo, hi
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shift": 0}, "S must be 1 to 40, not 0"),
        ({"shift": 41}, "S must be 1 to 40, not 41"),
        ({"m": 2**15}, r"M must be in \[-32768, 32767\]"),
        ({"b": 2**47}, "B must be in"),
        ({"acc": 2**31}, "acc must be in"),
        ({"residual": -129, "r0": 1}, r"residual codes must be in \[-128, 255\]"),
        ({"r0": 2**16}, "R0 must be uint16"),
        ({"q": 32}, "Q 0 to 31"),
        ({"lo": 0, "hi": 127}, r"\(lo, hi\) must be"),
    ],
)
def test_requantize_parameter_wrong(wrong, message):
    with pytest.raises(ValueError, match=message):
        requantize_once(**wrong)


def test_requantize_refuses_an_int48_overflow():
    assert requantize_once(acc=0, b=2**47 - 2, shift=1).item() == 255
    with pytest.raises(OverflowError, match="int48"):
        requantize_once(acc=0, b=2**47 - 1, shift=1)
    with pytest.raises(OverflowError, match="int48"):
        requantize_once(acc=0, b=0, residual=255, r0=0xFFFF, q=31)


def test_classifier_equals_the_loop():
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        x = torch.randint(0, 256, (2, 5, 2, 3), generator=rng)
        weight = torch.randint(-127, 128, (3, 5), generator=rng).to(torch.int8)
        bias = torch.randint(-(10**6), 10**6, (3,), generator=rng)
        got = int_ops.classifier(x, weight, bias)
        for n in range(2):
            for k in range(3):
                total = int(bias[k])
                for c in range(5):
                    for y in range(2):
                        for z in range(3):
                            total += int(x[n, c, y, z]) * int(weight[k, c])
                assert int(got[n, k]) == total, f"{seed=}"


def test_classifier_refuses_an_overflow():
    weight = torch.full((2, 4), 127, dtype=torch.int8)
    with pytest.raises(OverflowError, match="logits must fit int32"):
        int_ops.classifier(torch.zeros(1, 4, 1, 1, dtype=torch.int64), weight, torch.tensor([0, 2**31 - 1]))


@pytest.mark.parametrize(("window", "pad"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("lo", [0, -128])
def test_max_pooling_equals_the_loop(window, pad, stride, lo, seed):
    rng = torch.Generator().manual_seed(seed)
    for size in ((3, 3), (5, 4), (4, 7)):
        x = torch.randint(lo, lo + 256, (2, 3, *size), generator=rng)
        x[0, 0], x[1, 1] = lo, lo + 255
        got = int_ops.max_pool(x, window, stride, pad, lo, lo + 255)
        assert got.dtype == torch.int64
        assert got.tolist() == loop_max_pool(x.tolist(), window, stride, pad), f"{seed=} {size=}"


def test_padding_is_never_the_greatest():
    assert int_ops.max_pool(torch.full((1, 1, 3, 3), -128), 3, 2, 1, -128, 127).unique().tolist() == [-128]


def test_max_pooling_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"activation codes must be in \[0, 255\], not in \[-1, 0\]"):
        int_ops.max_pool(torch.tensor([[[[0, -1], [0, 0]]]]), 2, 2, 0)
    with pytest.raises(ValueError, match=r"map must have at least 3 rows and columns, not \(2, 5\)"):
        int_ops.max_pool(torch.zeros(1, 1, 2, 5, dtype=torch.int64), 3, 2, 0)
