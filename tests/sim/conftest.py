"""Simulators of the configurations, built once for all tests."""

from dataclasses import dataclass

import pytest

from hw.configurations import CONFIGS
from hw.params import HwParams
from sim.run import system
from sim.run.core import Simulator, build
from sim.run.verilog_cache import cached_verilog


@dataclass
class Engine:
    """A configuration and its simulator."""

    name: str
    params: HwParams
    simulator: Simulator | system.NetworkSimulator


def engine_of(name, root):
    """Return the engine of a configuration, from the cache if it was built before."""
    path = cached_verilog(name, root / "build/verilog")
    return Engine(name, CONFIGS[name], build(path, root / "build/verilator"))


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


@pytest.fixture(scope="session")
def small_system(request):
    """The whole engine of the small configuration."""
    root = request.config.rootpath
    path = cached_verilog("small", root / "build/verilog", top="system")
    return Engine("small", CONFIGS["small"], system.build(path, root / "build/verilator"))
