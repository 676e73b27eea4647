"""Named configurations."""

import dataclasses

import pytest

from gen.cli import UserError
from gen.config import CONFIGS, DEFAULT, config
from hw.params import HwParams


def test_sizes():
    assert {name: (params.macs, params.rq_lanes) for name, params in CONFIGS.items()} == {
        "full": (128, 4), "small": (32, 1)}
    assert config(DEFAULT) is CONFIGS["full"]


def test_every_map_of_resnet18_fits_a_bank_of_full():
    assert config("full").bank_words * config("full").in_par == 64 * 32 * 32


def test_immutable():
    with pytest.raises(TypeError):
        CONFIGS["full"] = HwParams()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config("full").in_par = 8


def test_unknown_name_lists_the_names():
    with pytest.raises(UserError, match=r"^configuration must be one of full, small, not 'huge'$"):
        config("huge")
