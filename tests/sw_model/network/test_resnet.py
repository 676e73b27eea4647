"""Structure of the network."""

import pytest
import torch

from sw_model.data.dataset import CIFAR_MEAN, CIFAR_STD
from sw_model.network.resnet import ResNet


def test_layers_are_named_in_execution_order():
    names = [name for name, _, _ in ResNet(width=0.5).named_convs()]
    assert (
        names
        == (
            "conv1 conv2_1 conv2_2 conv2_3 conv2_4 conv3_1 conv3_2 down3 conv3_3 conv3_4 "
            "conv4_1 conv4_2 down4 conv4_3 conv4_4 conv5_1 conv5_2 down5 conv5_3 conv5_4"
        ).split()
    )


def test_sixteen_layers_are_gated_and_full_width_has_the_known_size():
    model = ResNet()
    assert len(model.gated_convs()) == 16
    assert sum(c.weight.numel() for c in model.gated_convs().values()) == 10_985_472
    assert [len(c.tau) for c in model.gated_convs().values()] == [8] * 4 + [16] * 4 + [32] * 4 + [64] * 4


@pytest.mark.parametrize("branch", [1, 2])
def test_output_shape_and_normalisation(branch):
    torch.manual_seed(0)
    model = ResNet(width=0.5, depth=10, num_classes=7).eval()
    x = torch.rand(2, 3, 16, 16)
    assert model(x, branch).shape == (2, 7)
    assert model.features(x, branch).shape == (2, 256)
    seen = []
    model.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(x)
    expected = (x - torch.tensor(CIFAR_MEAN).view(3, 1, 1)) / torch.tensor(CIFAR_STD).view(3, 1, 1)
    assert torch.allclose(seen[0], expected)


def test_sparsity_weights_layers_by_outputs_and_by_macs():
    model = ResNet(width=0.5)
    for conv in model.gated_convs().values():
        conv.fire_rate.fill_(1.0)
    assert model.sparsity() == {"output": 0.0, "mac": 0.0}
    conv = model.gated_convs()["conv2_1"]
    conv.fire_rate.fill_(0.0)
    outputs = [c.out_channels * 4.0 ** -int(n[4]) for n, c in model.gated_convs().items()]
    macs = [c.weight.numel() * 4.0 ** -int(n[4]) for n, c in model.gated_convs().items()]
    assert model.sparsity() == pytest.approx({"output": outputs[0] / sum(outputs), "mac": macs[0] / sum(macs)})


def test_dense_network_reports_no_sparsity():
    model = ResNet(width=0.5, depth=10, granularity="dense")
    assert model.gated_convs() == {} and model.sparsity() == {"output": 0.0, "mac": 0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 50}, "depth must be one of 10, 18, 20, 34, not 50"),
        ({"width": 0.3}, "width must make 64 \\* width a whole number from 1 to 512, not 0.3"),
        ({"width": 0.3, "depth": 20}, "width must make 16 \\* width a whole number from 1 to 1024, not 0.3"),
        ({"granularity": "pixel"}, "granularity must be one of slice, channel, dense, fbs, dgc, not 'pixel'"),
        ({"stem": "tiny"}, "stem must be one of small, large, not 'tiny'"),
        ({"overlap": 25}, "groups outside the overlap must be even in number"),
        ({"num_classes": 1}, "number of classes must be at least 2, not 1"),
        ({"width": 0.25}, "slice size must divide the 4 channels of an output group, not 8"),
    ],
)
def test_arguments_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)


@pytest.mark.parametrize(
    ("depth", "width", "gated", "weights"),
    [(20, 1.0, 18, 267_264), (20, 4.0, 18, 16 * 267_264), (34, 0.125, 32, 329_472)],
)
def test_other_depths(depth, width, gated, weights):
    model = ResNet(width=width, depth=depth, slice_size=1)
    convs = model.gated_convs()
    assert len(convs) == gated
    assert sum(c.weight.numel() for c in convs.values()) == weights
    assert list(convs)[-1] == ("conv5_6" if depth == 34 else "conv4_6")


def test_large_stem_reduces_by_four_before_the_blocks():
    model = ResNet(width=0.125, depth=10, slice_size=1, num_classes=100, stem="large").eval()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 100)
    assert seen == [(1, 8, 16, 16)] and model.conv1.weight.shape == (8, 3, 7, 7)


def test_clone_is_equal_and_independent():
    model = ResNet(width=0.5, depth=10, granularity="fbs")
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    other = model.clone()
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())
    other.fc.weight.data.add_(1)
    assert not torch.equal(other.fc.weight, model.fc.weight)


def test_clone_is_as_far_on_the_ramp_of_dgc():
    model = ResNet(width=0.125, depth=10, granularity="dgc")
    for conv in model.channel_convs().values():
        conv.progress = 0.25
    assert {conv.progress for conv in model.clone().channel_convs().values()} == {0.25}


@pytest.mark.parametrize(("mode", "ungated"), [("fbs", []), ("dgc", ["conv1"])])
def test_channel_methods_replace_all_convolutions_but_the_dgc_stem(mode, ungated):
    model = ResNet(width=0.5, depth=10, granularity=mode)
    assert [n for n, _, _ in model.named_convs() if n not in model.channel_convs()] == ungated
    assert model.gated_convs() == {}


def test_branch_wrong():
    with pytest.raises(ValueError, match="branch must be 1 or 2, not 0"):
        ResNet(width=0.5, depth=10)(torch.rand(1, 3, 8, 8), 0)
