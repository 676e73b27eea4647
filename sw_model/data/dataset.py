"""What a data set is to the rest of the package: images by index, labels, and how its images may be changed."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

__all__ = ["CIFAR_MEAN", "CIFAR_STD", "DataSet", "Images"]

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # of the CIFAR-10 training images, RGB, in [0, 1]
CIFAR_STD = (0.2470, 0.2435, 0.2616)


class Images(Protocol):
    """Square images, all of one size: a uint8 tensor (N, H, W, 3), or what decodes files when it is indexed."""

    @property
    def shape(self) -> Any:
        """(N, H, W, 3)."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: Any) -> Tensor:
        """Images of an int64 tensor of indices, or of a slice; (n, H, W, 3), uint8."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """Images and labels for training and for testing.

    Attributes
    ----------
    name
        What reports call it.
    classes
        Names of the classes.
    train, test
        Images, RGB.
    train_labels, test_labels
        (N,) int64.
    mean, std
        Of the colours, in [0, 1].
    flip
        Whether a mirrored image shows the same thing.
    least_area
        Least share of an image's area that a contrastive view shows.
    stem
        Stem of the networks for it, see `sw_model.network.resnet.ResNet`.
    exact_test
        Where the images are a lossy copy: exact pixels and labels of the first test images, if at hand.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    train_labels: Tensor
    test: Images
    test_labels: Tensor
    mean: tuple[float, float, float] = CIFAR_MEAN
    std: tuple[float, float, float] = CIFAR_STD
    flip: bool = True
    least_area: float = 0.2
    stem: str = "small"
    exact_test: tuple[Images, Tensor] | None = None

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return int(self.train.shape[1])
