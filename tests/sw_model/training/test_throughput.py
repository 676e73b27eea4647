"""The timing of training."""

import pytest

from sw_model.training.throughput import TIMED, training_speed


def test_every_method_is_timed_and_related_to_dense():
    report = training_speed(width=0.25, seconds=0.01, size=8, batch=2)
    assert tuple(report["methods"]) == TIMED and report["methods"]["dense"]["cost"] == 1
    for row in report["methods"].values():
        dense = report["methods"]["dense"]["images_per_second"]
        assert row["cost"] == pytest.approx(dense / row["images_per_second"])
        assert 0 < row["convolution_share"] < 1
