"""The handwritten digits that come with scikit-learn: a data set that needs no download.

1,797 grey images of 8x8 with values 0 to 16 (a part of "Optical Recognition of Handwritten Digits" of the UCI
repository). Every pixel is doubled in both directions to 16x16, scaled to 0..255 and repeated for the three colours.
"""

import torch

from cdgate.errors import DataError
from sw_model.data.dataset import DataSet

__all__ = ["load_digits"]

#: Every so many-th image is a test image; the writers are spread over both parts.
TEST_EVERY = 5


def load_digits() -> DataSet:
    """Load the digits: 1,438 training and 359 test images of 16x16.

    Raises
    ------
    DataError
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise DataError("digits must come from the package scikit-learn, which is not installed") from None
    grey, labels = (torch.as_tensor(values) for values in load(return_X_y=True))
    codes = (grey.view(-1, 8, 8) * 255 / 16).round().to(torch.uint8)
    images = codes.repeat_interleave(2, 1).repeat_interleave(2, 2)[..., None].expand(-1, -1, -1, 3).contiguous()
    test = torch.arange(len(images)) % TEST_EVERY == TEST_EVERY - 1
    mean, std = images[~test].float().mean().item() / 255, images[~test].float().std().item() / 255
    return DataSet(
        name="digits of scikit-learn, 16x16",
        classes=tuple(map(str, range(10))),
        train=images[~test],
        train_labels=labels[~test].long(),
        test=images[test],
        test_labels=labels[test].long(),
        mean=(mean,) * 3,
        std=(std,) * 3,
        flip=False,
        least_area=0.5,
    )
