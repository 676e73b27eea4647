"""Features that diverged: they are found, they train nothing, and they are wrong."""

import pytest
import torch

from sw_model.evaluation.features import DIVERGED, diverged, knn_logits, top1
from sw_model.evaluation.protocols import fit_linear

BAD = (float("nan"), float("inf"), -float("inf"), -1e30, 2 * DIVERGED)


@pytest.fixture
def some():
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(30, 4, generator=generator) + 0.5
    return values, torch.randint(3, (30,), generator=generator)


def test_features_beyond_the_median_image_are_found(some):
    values, _ = some
    assert not diverged(values).any() and not diverged(-1e20 * values).any()
    for row, value in enumerate(BAD):
        values[row, row % 4] = value
    assert diverged(values).tolist() == [True] * len(BAD) + [False] * (30 - len(BAD))
    assert diverged(torch.full((3, 4), float("nan"))).all()


@pytest.mark.parametrize("value", BAD)
def test_one_image_does_not_spoil_the_classifiers(some, value):
    values, labels = some
    spoilt = values.clone()
    spoilt[0, 2] = value
    alone, without = fit_linear(spoilt, labels, 3, epochs=3), fit_linear(values[1:], labels[1:], 3, epochs=3)
    assert torch.equal(alone.weight, without.weight) and torch.equal(alone.bias, without.bias)
    votes = knn_logits(spoilt, labels, values[:5], 3, k=4)
    assert torch.equal(votes, knn_logits(values[1:], labels[1:], values[:5], 3, k=4))


def test_logits_that_are_not_finite_are_wrong():
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [float("nan"), 0.0], [float("inf"), 0.0]])
    assert top1(logits[:2], torch.tensor([0, 0])) == 0.5
    assert top1(logits, torch.tensor([0, 1, 0, 0])) == 0.5
    assert top1(logits[2:], torch.tensor([0, 0])) == 0.0
