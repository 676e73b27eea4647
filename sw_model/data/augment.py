"""Random augmentation of whole batches, drawn from a given generator.

Images come in as (N, H, W, 3) uint8 on any device and leave as (N, 3, size, size) float32 in [0, 1] on the same device,
channels last in memory. The random numbers are drawn on the CPU, so that they are the same for every device, which is
not waited for.

kornia's augmentations draw from the global generator instead of one that a step's number seeds, and were measured to be
two to three times slower than these (`docs/training.md`).
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sw_model.data.draws import bring

LUMA = (0.299, 0.587, 0.114)
# RGB to YIQ (NTSC); a rotation of the I-Q plane is a change of hue, a scaling of it one of saturation.
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@functools.cache
def _colours(device: torch.device) -> tuple[Tensor, Tensor]:
    """The matrices from RGB to YIQ and back, on a device."""
    yiq = torch.tensor(YIQ)
    return yiq.to(device), torch.linalg.inv(yiq).to(device)


def to_float(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def crop_flip(images: Tensor, size: int, pad: int, generator: torch.Generator, flip: bool = True) -> Tensor:
    """Random crop after reflecting padding, and a horizontal flip of every other image on average.

    Parameters
    ----------
    images
        (N, H, W, 3) uint8.
    size
        Height and width of the crops, at most H + 2 pad.
    pad
        Reflected border.
    generator
        Source of the random numbers.
    flip
        Whether images are flipped.

    Returns
    -------
    Tensor
        (N, 3, size, size) float32 in [0, 1].

    Raises
    ------
    ValueError
        The crop is larger than the padded image.
    """
    n, height = images.shape[:2]
    room = height + 2 * pad - size
    if room < 0:
        raise ValueError(f"crop size must be at most {height + 2 * pad}, not {size}")
    corner = torch.randint(room + 1, (2, n, 1), generator=generator)
    mirrored = (torch.rand(n, 1, generator=generator) < 0.5) & flip
    line = torch.arange(size)
    rows = corner[0] + line
    cols = corner[1] + torch.where(mirrored, line.flip(0), line)
    rows, cols = (bring(_reflect(i - pad, height), images.device) for i in (rows, cols))
    image = torch.arange(n, device=images.device)
    return to_float(images[image[:, None, None], rows[:, :, None], cols[:, None, :]])


def _reflect(index: Tensor, size: int) -> Tensor:
    """Mirror indices outside 0..size-1 at the border pixel: -1 becomes 1, size becomes size - 2."""
    return size - 1 - (size - 1 - index.abs()).abs()


def random_resized_crop(
    images: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator, flip: bool = True
) -> Tensor:
    """Crop of random area and aspect ratio (3/4 to 4/3), resized bilinearly; flipped with probability 1/2.

    Parameters
    ----------
    images
        (N, 3, H, W) float32.
    size
        Height and width of the result.
    scale
        Least and greatest share of the image's area, in (0, 1].
    generator
        Source of the random numbers.
    flip
        Whether images are flipped.

    Returns
    -------
    Tensor
        (N, 3, size, size) float32.
    """
    n = len(images)
    u = torch.rand(5, n, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * u[0]
    aspect = torch.exp(math.log(4 / 3) * (2 * u[1] - 1))
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.where((u[4] < 0.5) & flip, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (2 * u[2] - 1) * (1 - width)
    theta[:, 1, 2] = (2 * u[3] - 1) * (1 - height)
    grid = F.affine_grid(bring(theta, images.device), [n, 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def color_jitter(
    images: Tensor,
    strength: tuple[float, float, float, float],
    gray: float,
    generator: torch.Generator,
    probability: float = 0.8,
) -> Tensor:
    """SimCLR's colour distortion: brightness, contrast, saturation and hue, then grey, each drawn per image.

    Parameters
    ----------
    images
        (N, 3, H, W) float32 in [0, 1].
    strength
        Greatest relative change of brightness, contrast and saturation, and of hue in turns.
    gray
        Probability that an image loses its colours.
    generator
        Source of the random numbers.
    probability
        Probability that an image's colours are changed at all.

    Returns
    -------
    Tensor
        (N, 3, H, W) float32 in [0, 1].
    """
    n = len(images)
    u = bring(torch.rand(6, n, generator=generator), images.device)
    on = (u[4] < probability).float()
    bright, contrast, saturation = (1 + on * s * (2 * v - 1) for s, v in zip(strength[:3], u[:3], strict=True))
    angle = on * 2 * math.pi * strength[3] * (2 * u[3] - 1)
    saturation = torch.where(u[5] < gray, 0.0, saturation)
    turn = torch.zeros(n, 3, 3, device=images.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * torch.cos(angle)
    turn[:, 2, 1] = saturation * torch.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    yiq, rgb = _colours(images.device)
    matrix = rgb @ turn @ yiq
    images = (images * bright.view(n, 1, 1, 1)).clamp(0, 1)
    luma = (images * yiq[0].view(3, 1, 1)).sum(1).mean((1, 2)).view(n, 1, 1, 1)
    images = (luma + contrast.view(n, 1, 1, 1) * (images - luma)).clamp(0, 1)
    return torch.einsum("nij,njhw->nihw", matrix, images).clamp(0, 1)


def contrastive_view(
    images: Tensor, size: int, generator: torch.Generator, least_area: float = 0.2, flip: bool = True
) -> Tensor:
    """One SimCLR view: resized crop, flip, colour jitter, grey; (N, 3, size, size).

    Strengths as in a published CIFAR-10 recipe (jitter 0.4, 0.4, 0.4, 0.1; grey 0.1; no blur).

    Parameters
    ----------
    images
        (N, H, W, 3) uint8.
    size
        Height and width of the view.
    generator
        Source of the random numbers.
    least_area
        Least share of the image's area that a crop shows.
    flip
        Whether images are flipped.
    """
    x = random_resized_crop(to_float(images), size, (least_area, 1.0), generator, flip)
    x = color_jitter(x, (0.4, 0.4, 0.4, 0.1), 0.1, generator)
    return x.contiguous(memory_format=torch.channels_last)
