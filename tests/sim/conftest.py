"""Simulators of the configurations, built once for all tests."""

from dataclasses import dataclass

import pytest

from gen.config import config
from hw.params import HwParams
from sim.runner import Simulator, build
from sim.verilog_cache import cached_verilog


@dataclass
class Engine:
    """A configuration and its simulator."""

    name: str
    params: HwParams
    simulator: Simulator


def engine_of(name, root):
    """Return the engine of a configuration, from the cache if it was built before."""
    path = cached_verilog(name, root / "build/verilog")
    return Engine(name, config(name), build(path, root / "build/verilator"))


@pytest.fixture(scope="session", params=["small", "full"])
def engine(request):
    """Each configuration."""
    return engine_of(request.param, request.config.rootpath)


@pytest.fixture(scope="session")
def small(request):
    """The small configuration."""
    return engine_of("small", request.config.rootpath)


@pytest.fixture(scope="session")
def full(request):
    """The default configuration."""
    return engine_of("full", request.config.rootpath)
