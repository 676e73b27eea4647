"""Augmentations: shapes, ranges, and special cases with a known answer."""

import pytest
import torch

from sw_model.data.augment import color_jitter, contrastive_view, crop_flip, random_resized_crop, to_float


def images(n=4, size=32):
    return torch.randint(256, (n, size, size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_to_float_is_channels_last():
    x = to_float(images())
    assert x.shape == (4, 3, 32, 32) and x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal((x * 255).round().byte().permute(0, 2, 3, 1), images())


@pytest.mark.parametrize(("size", "pad"), [(24, 0), (32, 2), (32, 0)])
def test_crop_flip_takes_windows_of_the_padded_image(size, pad):
    x = images(16)
    padded = torch.nn.functional.pad(to_float(x), [pad] * 4, mode="reflect")
    crops = crop_flip(x, size, pad, generator())
    flipped = 0
    for crop, source in zip(crops, padded, strict=True):
        windows = source.unfold(1, size, 1).unfold(2, size, 1).permute(1, 2, 0, 3, 4)
        plain, mirrored = ((windows == c).all((2, 3, 4)).any().item() for c in (crop, crop.flip(2)))
        assert plain or mirrored
        flipped += mirrored and not plain
    assert 2 <= flipped <= 14


def test_crop_size_wrong():
    with pytest.raises(ValueError, match="crop size must be at most 32, not 33"):
        crop_flip(images(), 33, 0, generator())


def test_resized_crop_of_a_constant_image_is_constant():
    x = torch.full((3, 3, 32, 32), 0.25)
    out = random_resized_crop(x, 24, (0.2, 1.0), generator())
    assert out.shape == (3, 3, 24, 24) and torch.allclose(out, torch.tensor(0.25))


def test_resized_crop_stays_inside_the_image():
    ramp = torch.linspace(0, 1, 32).expand(64, 3, 32, 32)
    out = random_resized_crop(ramp, 24, (0.2, 1.0), generator())
    slope = out[:, 0, 0].diff()
    assert (slope[:, 1:-1].sign() == slope[:, 1:2].sign()).all()  # no reflection at a border in the middle
    span = (out[:, 0, 0, -1] - out[:, 0, 0, 0]).abs()
    assert span.min() > 0.3 and span.max() <= 1


def test_jitter_without_strength_changes_nothing():
    x = to_float(images())
    assert torch.allclose(color_jitter(x, (0, 0, 0, 0), 0.0, generator()), x, atol=1e-5)


def test_jitter_to_gray_keeps_the_luma():
    x = to_float(images()) * 0.5
    out = color_jitter(x, (0, 0, 0, 0), 1.0, generator())
    luma = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(out, luma.expand_as(out), atol=1e-4)


def test_view_is_a_function_of_the_generator_and_in_range():
    views = [contrastive_view(images(), 24, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert views[0].shape == (4, 3, 24, 24) and views[0].min() >= 0 and views[0].max() <= 1
