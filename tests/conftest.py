"""What all tests share: reproducible random numbers, paths of the repository, settings of Hypothesis."""

import random
import zlib
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Machines differ in speed, and a slow example is no defect. The same examples on every run, so that a failure in
# continuous integration is a failure here.
settings.register_profile("cdgate", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("cdgate")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=None, help="seed of the random numbers of every test")


@pytest.fixture
def seed(request):
    """Seed of a test's random numbers: what --seed says, or a function of the test's name and parameters.

    The file has no part in it, so that a test that moves keeps its numbers. Shown on failure.
    """
    value = request.config.getoption("--seed")
    if value is None:
        value = zlib.crc32(request.node.name.encode())
    request.node.user_properties.append(("seed", value))
    return value


@pytest.fixture
def rng(seed):
    """Random numbers of a test, from its seed."""
    return random.Random(seed)


@pytest.fixture
def root():
    """Root of the repository."""
    return ROOT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    seeds = [value for name, value in item.user_properties if name == "seed"]
    if report.failed and seeds:
        report.sections.append(("seed", f"repeat with --seed {seeds[0]}"))
    return report
