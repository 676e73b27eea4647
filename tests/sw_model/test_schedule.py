"""Learning-rate factors."""

from sw_model.schedule import linear_decay, warmup_constant


def test_warm_up_then_constant():
    assert [warmup_constant(s, 4) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup_constant(0, 0) == 1


def test_linear_decay_ends_at_zero():
    assert [linear_decay(s, 4) for s in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]
