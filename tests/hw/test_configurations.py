"""Configurations by name, from files, and as choices."""

import dataclasses

import pytest

from cdgate.errors import UserError
from hw.configurations import CONFIGS, Configuration, configuration
from hw.params import HwParams

OWN = "in_par = 8\nrq_lanes = 2\nbank_words = 2048\nring_entries = 1024\n"


def test_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN + "trace = false\n")
    expected = HwParams(in_par=8, rq_lanes=2, bank_words=2048, ring_entries=1024, trace=False)
    assert configuration(path) == configuration(str(path)) == Configuration("own", expected)


def test_choices_have_a_name_that_depends_on_them():
    own = HwParams(in_par=8, rq_lanes=2)
    assert configuration(own).params is own and configuration(own).name.startswith("own_")
    other = configuration(dataclasses.replace(own, bank_words=2048)).name
    assert configuration(own).name == configuration(HwParams(in_par=8, rq_lanes=2)).name != other
    assert configuration(CONFIGS["half"]) == configuration("half") == configuration(configuration("half"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("in_par = 3", "in_par must be one of 2, 4, 8, 16, not 3"),
        ("in_par = '8'", "in_par must be an integer, not '8'"),
        ("trace = 1", "trace must be a bool, not 1"),
        ("bank_words = 10000000000000000000000", "bank_words must be a power of two in 16..65536"),
        ("in_parr = 8", "key must be one of in_par, .*, trace, not 'in_parr'"),
        ("[engine]\nin_par = 8", "key must be one of .*, not 'engine'"),
        ("in_par = ", "must be TOML: "),
        ("in_par = 2\nrq_lanes = 4", "rq_lanes must be at most in_par"),
    ],
)
def test_bad_file(tmp_path, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"^configuration file {path}:? .*{message}") as error:
        configuration(path)
    assert "\n" not in str(error.value)


def test_file_that_begins_with_the_mark_of_its_encoding(tmp_path):
    (tmp_path / "own.toml").write_bytes(b"\xef\xbb\xbfin_par = 8\nrq_lanes = 2\n")
    assert configuration(tmp_path / "own.toml").params == HwParams(in_par=8, rq_lanes=2)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="configuration file .*none.toml cannot be read: No such file"):
        configuration(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="bytes.toml must be TOML: "):
        configuration(tmp_path / "bytes.toml")
    names = "full, half, small, tiny"
    for source in ("huge", "full.v", ""):
        with pytest.raises(UserError, match=f"^configuration must be one of {names} or a file that ends with .toml"):
            configuration(source)


@pytest.mark.parametrize("name", ["full", "a b", "9", "x" * 33, "ä"])
def test_names_that_no_module_can_have(tmp_path, name):
    (tmp_path / f"{name}.toml").write_text(OWN)
    with pytest.raises(UserError, match="its name must be a letter, then letters, digits and _, 32 at most"):
        configuration(tmp_path / f"{name}.toml")
