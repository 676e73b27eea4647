"""Re-estimated BatchNorm statistics."""

import pytest
import torch

from sw_model.data.augment import to_float
from sw_model.data.draws import step_generator
from sw_model.evaluation.bn_stats import reestimate
from sw_model.network.resnet import ResNet


def network_and_images():
    torch.manual_seed(0)
    model = ResNet(width=0.5, depth=10)
    images = torch.randint(256, (8, 16, 16, 3), dtype=torch.uint8)
    for _ in range(2):
        model.train()(torch.rand(4, 3, 16, 16), 1)
    return model, images


def test_statistics_are_the_mean_over_the_batches():
    model, images = network_and_images()
    order = torch.randperm(8, generator=step_generator(0, 0))
    stem = [model.conv1((to_float(images[order[i : i + 4]]) - model.mean) / model.std) for i in (0, 4)]
    reestimate(model, images, 1, batches=2, batch_size=4)
    assert not model.training and model.bn1.momentum == 0.1
    expected_mean = torch.stack([y.mean((0, 2, 3)) for y in stem]).mean(0)
    expected_var = torch.stack([y.var((0, 2, 3)) for y in stem]).mean(0)
    assert torch.allclose(model.bn1.running_mean, expected_mean, atol=1e-5)
    assert torch.allclose(model.bn1.running_var, expected_var, atol=1e-5)
    assert model.bn1.num_batches_tracked == 2


@pytest.mark.parametrize("branch", [1, 2])
def test_only_the_saliency_statistics_of_the_branch_change(branch):
    model, images = network_and_images()
    convs = model.gated_convs().values()
    before = [[norm.running_mean.clone() for norm in conv.norm] for conv in convs]
    reestimate(model, images, branch, batches=2, batch_size=4)
    for conv, old in zip(convs, before, strict=True):
        assert not torch.equal(conv.norm[branch - 1].running_mean, old[branch - 1])
        assert torch.equal(conv.norm[2 - branch].running_mean, old[2 - branch])


def test_the_result_does_not_depend_on_the_statistics_before():
    model, images = network_and_images()
    reestimate(model, images, batches=3, batch_size=4)
    first = {k: v.clone() for k, v in model.state_dict().items()}
    model.bn1.running_mean.add_(5)
    reestimate(model, images, batches=3, batch_size=4)
    assert all(torch.equal(v, first[k]) for k, v in model.state_dict().items())


def test_too_few_images():
    model, images = network_and_images()
    with pytest.raises(ValueError, match="number of images must be at least the batch size 256, not 8"):
        reestimate(model, images)
