"""The gated convolution against masks, a slow loop and finite differences."""

import pytest
import torch
from torch.nn import functional as F

from sw_model.network.gating import GatedConv2d, base_groups


def make(granularity="slice", stride=1, seed=0):
    torch.manual_seed(seed)
    conv = GatedConv2d(8, 64, stride=stride, granularity=granularity)
    with torch.no_grad():
        conv.tau.uniform_(-0.5, 0.8)
        for norm in conv.norm:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.2, 0.5)
    return conv


GROUPS_AND_OVERLAPS = [(2, 0), (2, 50), (2, 100), (3, 100), (4, 0), (4, 50), (4, 75), (4, 100), (8, 0), (8, 50)]


@pytest.mark.parametrize("branch", [1, 2])
@pytest.mark.parametrize(("groups", "overlap"), GROUPS_AND_OVERLAPS)
def test_base_and_conditional_masks_partition_the_weights(groups, overlap, branch):
    torch.manual_seed(1)
    conv = GatedConv2d(2 * groups, 3 * groups, groups_gating=groups, granularity="channel", overlap=overlap)
    base = conv.base_mask(branch)
    conditional = 1 - base
    assert set(base.unique().tolist()) == {0.0, 1.0}
    assert base.sum() * groups == base.numel()
    rows = base[::3, ::2, 0, 0]  # one entry per block: output group, input group
    assert rows.sum(1).tolist() == [1] * groups
    if branch == 1:
        assert torch.equal(rows, torch.eye(groups))
    elif overlap == 0:
        assert torch.equal(rows, torch.eye(groups).fliplr())
    x = torch.randn(2, 2 * groups, 5, 5)
    with torch.no_grad():
        split = [F.conv2d(x, conv.weight * mask, padding=1) for mask in (base, conditional)]
        assert torch.allclose(conv.base(x, branch), split[0], atol=1e-5)
        assert torch.allclose(F.conv2d(x, conv.weight, padding=1), split[0] + split[1], atol=1e-5)


@pytest.mark.parametrize(("groups", "overlap"), GROUPS_AND_OVERLAPS)
def test_branches_share_as_many_base_blocks_as_the_overlap_says(groups, overlap):
    conv = GatedConv2d(groups, groups, groups_gating=groups, granularity="channel", overlap=overlap)
    both = conv.base_mask(1) * conv.base_mask(2)
    assert both.sum() == groups * overlap / 100


def test_maps_of_the_posters_ablation():
    assert [base_groups(4, 2, o) for o in (0, 50, 75, 100)] == [(3, 2, 1, 0), (0, 1, 3, 2), (0, 1, 2, 0), (0, 1, 2, 3)]


@pytest.mark.parametrize("granularity", ["slice", "channel"])
@pytest.mark.parametrize("branch", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_decisions_and_output_equal_a_slow_loop(granularity, branch, stride):
    conv = make(granularity, stride).eval()
    x = torch.randn(2, 8, 5, 5)
    with torch.no_grad():
        out = conv(x, branch)
        psum = F.conv2d(x, conv.weight * conv.base_mask(branch), padding=1, stride=stride)
        full = F.conv2d(x, conv.weight, padding=1, stride=stride)
    norm, size, fired = conv.norm[branch - 1], 8 if granularity == "slice" else 1, 0
    for n, unit, r, c in torch.cartesian_prod(*map(torch.arange, (2, 64 // size, *out.shape[2:]))).tolist():
        channels = slice(unit * size, (unit + 1) * size)
        saliency = sum(psum[n, channels, r, c].tolist()) / size
        z = (saliency - norm.running_mean[unit]) / (norm.running_var[unit] + norm.eps) ** 0.5 - conv.tau[unit]
        assert abs(z) > 1e-5  # no decision of this case hangs on the order of additions
        fired += bool(z > 0)
        expected = full if z > 0 else psum
        assert torch.allclose(out[n, channels, r, c], expected[n, channels, r, c], atol=1e-5)
    assert conv.fire_rate.item() == pytest.approx(fired / (out.numel() / size))
    assert 0.1 < conv.fire_rate < 0.9


@pytest.mark.parametrize("granularity", ["slice", "channel"])
def test_tau_gradient_equals_finite_differences_of_the_surrogate(granularity):
    conv = make(granularity).double().eval()
    x, direction = torch.randn(2, 8, 4, 4).double(), torch.randn(2, 64, 4, 4).double()

    def surrogate(tau):
        base, full = conv.base(x), F.conv2d(x, conv.weight, padding=1)
        z = conv.norm[0](base.view(2, len(tau), -1, 4, 4).mean(2)) - tau[:, None, None]
        soft = torch.sigmoid(2 * z).repeat_interleave(64 // len(tau), 1)
        return ((base + soft * (full - base)) * direction).sum()

    (conv(x) * direction).sum().backward()
    with torch.no_grad():
        for i in range(len(conv.tau)):
            step = torch.zeros_like(conv.tau)
            step[i] = 1e-5
            difference = (surrogate(conv.tau + step) - surrogate(conv.tau - step)) / 2e-5
            assert conv.tau.grad[i].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-8)


def test_weight_gradient_is_that_of_the_selected_paths():
    conv = make().eval()
    x, direction = torch.randn(2, 8, 4, 4), torch.randn(2, 64, 4, 4)
    conv.tau.data.fill_(-1e3)  # the surrogate's slope vanishes far from the threshold
    (conv(x) * direction).sum().backward()
    full = torch.autograd.grad((F.conv2d(x, conv.weight, padding=1) * direction).sum(), conv.weight)[0]
    assert torch.allclose(conv.weight.grad, full, atol=1e-4)
    conv.weight.grad = None
    conv.tau.data.fill_(1e3)
    (conv(x) * direction).sum().backward()
    assert torch.allclose(conv.weight.grad, full * conv.base_mask(), atol=1e-4)


@pytest.mark.parametrize(("branch", "overlap"), [(1, 0), (2, 0), (2, 50), (2, 75)])
@pytest.mark.parametrize("granularity", ["slice", "channel"])
def test_gradients_equal_those_that_autograd_finds_itself(granularity, branch, overlap):
    """The functions with gradients of their own against plain operations, with a surrogate that autograd can follow."""
    torch.manual_seed(2)
    conv = GatedConv2d(8, 64, granularity=granularity, overlap=overlap).double()
    with torch.no_grad():
        conv.tau.uniform_(-0.5, 0.8)
    x = torch.randn(3, 8, 5, 6, dtype=torch.float64, requires_grad=True)
    g = torch.randn(3, 64, 5, 6, dtype=torch.float64)
    found = torch.autograd.grad(conv(x, branch), (x, conv.weight, conv.tau), g)

    full, base = (F.conv2d(x, w, padding=1) for w in (conv.weight, conv.weight * conv.base_mask(branch)))
    saliency = base.unflatten(1, (-1, conv.slice_size)).mean(2)
    z = F.batch_norm(saliency, None, None, training=True) - conv.tau[:, None, None]
    surrogate = torch.sigmoid(2 * z)
    decision = (z > 0) + surrogate - surrogate.detach()
    # The psums take their gradients by the decision, the decision takes its own by the psums as they are.
    fired = (z > 0).double().repeat_interleave(conv.slice_size, 1)
    merged = base + fired * (full - base)
    merged = merged + (decision - decision.detach()).repeat_interleave(conv.slice_size, 1) * (full - base).detach()
    expected = torch.autograd.grad(merged, (x, conv.weight, conv.tau), g)
    for name, own, other in zip(("x", "weight", "tau"), found, expected, strict=True):
        assert own.abs().max() > 1e-3 and torch.allclose(own, other, rtol=0, atol=1e-9), name


def test_branches_keep_their_own_statistics():
    conv = make().train()
    before = [norm.running_mean.clone() for norm in conv.norm]
    conv(torch.randn(4, 8, 4, 4), 2)
    assert torch.equal(conv.norm[0].running_mean, before[0])
    assert not torch.equal(conv.norm[1].running_mean, before[1])


def test_dense_mode_is_an_ordinary_convolution():
    conv = GatedConv2d(8, 32, granularity="dense")
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, padding=1))
    assert dict(conv.named_parameters()).keys() == {"weight"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"granularity": "pixel"}, "granularity must be one of slice, channel, dense, not 'pixel'"),
        ({"groups_gating": 3}, "gating groups must be at least 2 and divide 8 and 32 channels, not 3"),
        ({"slice_size": 16}, "slice size must divide the 8 channels of an output group, not 16"),
        ({"overlap": 60}, "overlap must be a percentage that makes a whole number of 4 groups, not 60"),
        ({"overlap": 125}, "overlap must be a percentage that makes a whole number of 4 groups, not 125"),
        ({"overlap": 25}, "groups outside the overlap must be even in number, .* there are 3 with 4 gating groups"),
    ],
)
def test_arguments_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedConv2d(8, 32, **arguments)


def test_disjoint_branches_need_an_even_number_of_groups():
    with pytest.raises(ValueError, match="must be even in number, .* there are 3 with 3 gating groups and overlap 0"):
        GatedConv2d(9, 9, groups_gating=3, slice_size=3)
