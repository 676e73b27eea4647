"""Dynamic Group Convolution against its definition."""

import pytest
import torch
from torch.nn import functional as F

from sw_model.network.dgc import HEADS, DGCConv2d, pruned_share


def test_ramp():
    progress = [0, 1 / 12, 1 / 4, 5 / 12, 3 / 4, 1]
    assert [pruned_share(p, 0.6) for p in progress] == pytest.approx([0, 0, 0.15, 0.3, 0.6, 0.6])


def test_heads_keep_the_share_that_the_ramp_says():
    conv = DGCConv2d(32, 16, density=0.47)
    assert conv.kept == 15  # 32 - round(0.53 * 32)
    conv.progress = 0.0
    assert conv.kept == 32
    conv.progress = 5 / 12
    assert conv.kept == 24  # half of 0.53


def test_output_equals_a_loop_over_images_and_heads():
    torch.manual_seed(0)
    conv = DGCConv2d(8, 12, stride=2, density=0.5).eval()
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        for layer in conv.squeeze:
            layer.weight.abs_()  # no hidden value is cut off, so no two saliencies are equal
        y = conv(x)
        assert y.shape == (2, 12, 3, 3)
        u = torch.relu(x / (1 + conv.norm.eps) ** 0.5)
        for n in range(2):
            for h in range(HEADS):
                hidden = (conv.squeeze[h].weight @ u[n].mean((1, 2))).clamp(min=0)
                m = (conv.excite[h].weight @ hidden + conv.excite[h].bias).clamp(min=0)
                top = sorted(range(8), key=lambda c, m=m: -m[c])[:4]
                masked = torch.stack([u[n, c] * m[c] if c in top else torch.zeros(6, 6) for c in range(8)])
                weight = conv.weight[3 * h : 3 * h + 3]
                expected = F.conv2d(masked[None], weight, stride=2, padding=1)[0]
                assert torch.allclose(y[n, h::HEADS], expected, atol=1e-5)  # interleaved


def test_start_and_penalty():
    conv = DGCConv2d(160, 16)
    assert conv.hidden == 10 and DGCConv2d(64, 16).hidden == 8
    assert all(layer.bias.eq(1).all() for layer in conv.excite)
    x = torch.rand(2, 160, 4, 4)
    conv(x)
    u = torch.relu(conv.norm(x))
    assert conv.penalty.item() == pytest.approx(conv.saliencies(u).mean((0, 2)).sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": 1.5}, r"density must be in \(0, 1\], not 1.5"),
        ({"out_channels": 6}, "output channels must be a multiple of 4 heads, not 6"),
    ],
)
def test_arguments_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        DGCConv2d(**{"in_channels": 8, "out_channels": 8} | arguments)
