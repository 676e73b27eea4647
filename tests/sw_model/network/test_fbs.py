"""Feature Boosting and Suppression against its definition."""

import pytest
import torch
from torch.nn import functional as F

from sw_model.network.fbs import FBSConv2d


def test_exactly_k_channels_are_kept_in_every_image():
    torch.manual_seed(0)
    for density, kept in ((0.62, 10), (0.5, 8), (1.0, 16)):
        conv = FBSConv2d(8, 16, density=density)
        gain, chosen = conv.gain(torch.rand(5, 8, 4, 4))
        assert conv.kept == kept and chosen.sum(1).tolist() == [kept] * 5
        assert ((gain > 0).sum(1) <= kept).all()
    conv = FBSConv2d(8, 16, density=0.5)
    torch.nn.init.zeros_(conv.predictor.weight)  # all saliencies are equal
    assert conv.gain(torch.rand(3, 8, 4, 4))[1].sum(1).tolist() == [8] * 3


def test_output_equals_a_loop_over_images_and_channels():
    torch.manual_seed(1)
    conv = FBSConv2d(4, 8, stride=2, density=0.5).eval()
    conv.norm.running_mean.normal_()
    x = torch.rand(3, 4, 6, 6)
    with torch.no_grad():
        y, psum = conv(x), F.conv2d(x, conv.weight, stride=2, padding=1)
        for n in range(3):
            g = (conv.predictor.weight @ x[n].mean((1, 2)) + conv.predictor.bias).clamp(min=0)
            top = sorted(range(8), key=lambda c, g=g: -g[c])[:4]
            scale = 8 / sum(g[c] for c in top)
            for c in range(8):
                normal = (psum[n, c] - conv.norm.running_mean[c]) / (1 + conv.norm.eps) ** 0.5
                expected = scale * g[c] * normal + conv.beta[c] if c in top else torch.zeros_like(normal)
                assert torch.allclose(y[n, c], expected, atol=1e-5)


def test_gradient_goes_through_the_kept_values_only():
    torch.manual_seed(2)
    conv = FBSConv2d(4, 8, density=0.25).eval()
    x = torch.rand(1, 4, 5, 5)
    conv(x).square().sum().backward()
    chosen = conv.gain(x)[1][0].bool()
    assert (conv.predictor.weight.grad[chosen] != 0).any()
    assert not conv.predictor.weight.grad[~chosen].any() and not conv.weight.grad[~chosen].any()
    assert conv.penalty.item() == pytest.approx(conv.gain(x)[0].sum().item())


def test_density_wrong():
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], not 0"):
        FBSConv2d(4, 8, density=0)
