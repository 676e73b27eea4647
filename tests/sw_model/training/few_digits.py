"""A data set of a few digits, for tests that train."""

from sw_model.data.dataset import DataSet
from sw_model.data.sources import load_data


def few_digits(name):
    """Return 64 training and 16 test images of the digits under a name."""
    digits = load_data("digits")
    return DataSet(
        name=name,
        classes=digits.classes,
        train=digits.train[:64],
        train_labels=digits.train_labels[:64],
        test=digits.test[:16],
        test_labels=digits.test_labels[:16],
        flip=False,
    )
