"""Learning-rate factors."""

import pytest

from sw_model.training.rates import half_cosine, linear_decay, scaled_rate, warmup_constant, warmup_cosine


def test_warm_up_then_constant():
    assert [warmup_constant(s, 4) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup_constant(0, 0) == 1


def test_linear_decay_ends_at_zero():
    assert [linear_decay(s / 4) for s in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]


def test_cosine_ends_at_zero():
    assert [warmup_cosine(s, 2, 6) for s in (0, 1, 2, 4, 6, 7)] == pytest.approx([0.5, 1, 1, 0.5, 0, 0])
    assert warmup_cosine(0, 0, 1) == 1
    assert [half_cosine(p) for p in (0, 0.5, 1, 2)] == pytest.approx([1, 0.5, 0, 0])


def test_the_rate_grows_with_the_root_of_the_batch():
    assert scaled_rate(0.1, 64, 64) == 0.1 and scaled_rate(0.1, 64, 256) == pytest.approx(0.2)
