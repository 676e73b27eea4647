"""NT-Xent against a loop, and the thresholds' penalty."""

import math

import pytest
import torch

from sw_model.training.losses import nt_xent, threshold_penalty


def nt_xent_reference(z1, z2, temperature):
    """Eq. 1 of the SimCLR paper, term by term."""
    z = [v / math.sqrt(sum(x * x for x in v)) for v in torch.cat([z1, z2]).double()]
    n, total = len(z1), 0.0
    for i in range(2 * n):
        similarity = [float((z[i] * z[k]).sum()) / temperature for k in range(2 * n)]
        denominator = sum(math.exp(s) for k, s in enumerate(similarity) if k != i)
        total -= math.log(math.exp(similarity[(i + n) % (2 * n)]) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_nt_xent_equals_the_formula(temperature):
    torch.manual_seed(3)
    z1, z2 = torch.randn(2, 5, 7)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(nt_xent_reference(z1, z2, temperature), rel=1e-5)


def test_nt_xent_ignores_lengths_order_and_which_view_is_first():
    torch.manual_seed(4)
    z1, z2 = torch.randn(2, 6, 8)
    loss = nt_xent(z1, z2)
    order = torch.randperm(6)
    assert torch.allclose(nt_xent(3 * z1, 0.5 * z2), loss)
    assert torch.allclose(nt_xent(z1[order], z2[order]), loss)
    assert torch.allclose(nt_xent(z2, z1), loss)


def test_nt_xent_is_least_for_equal_views():
    torch.manual_seed(5)
    z1, z2 = torch.randn(2, 6, 8)
    assert nt_xent(z1, z1) < nt_xent(z1, z2)


def test_threshold_penalty_and_its_gradient():
    taus = [torch.tensor([0.57, 1.57], requires_grad=True), torch.tensor([-0.43], requires_grad=True)]
    loss = threshold_penalty(taus, 0.57)
    loss.backward()
    assert loss.item() == pytest.approx(0.02)
    assert taus[0].grad.tolist() == pytest.approx([0.0, 0.02])
    assert taus[1].grad.tolist() == pytest.approx([-0.02])
