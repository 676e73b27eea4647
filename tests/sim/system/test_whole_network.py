"""Whole networks on the small configuration, one after the other without a reset: programs, memory and comparison."""

import numpy as np

from sim.plan import network as plan_module
from sim.run.scenario import run_networks
from sw_model.quantisation.random_network import random_network
from tests.gen.network.networks import GRAPHS
from tests.sim.system.narrow_networks import compared, findings, photographs, planned


def check_in_turn(plans, runs):
    """Compare networks that ran one after the other in the same memory, without a reset."""
    memory = None
    for one, run in zip(plans, runs, strict=True):
        found = np.fromfile(run.memory, dtype=np.uint8)
        result = compared(one, run, memory)
        assert not findings(result), (one.program.mode, findings(result)[:5])
        assert result.total().outputs_checked > 0
        memory = found if memory is None or len(found) >= len(memory) else np.concatenate([found, memory[len(found) :]])


def test_random_bus_and_a_second_network_without_reset(small_system, tmp_path):
    """Back-pressure on every channel and random latency; then other networks, with what the last one left in memory."""
    params = small_system.params
    plans = [
        planned(params, 22, "gated"),
        planned(params, 23, "dense", branch=2),
        planned(params, 24, "base", count=1),
        planned(params, 25, "gated", slice_size=1, count=1, size=12),
        planned(params, 22, "gated"),
    ]
    settings = {"bandwidth": 6, "latency": 30, "extra": 80, "stall": 70, "lite_gap": 5, "seed": 9}
    runs = small_system.simulator.run(run_networks, ([one.job for one in plans], settings), tmp_path / "run")
    check_in_turn(plans, runs)
    assert runs[0].logits == runs[-1].logits


def test_graphs_with_maps_read_more_than_once(small_system, tmp_path):
    """A residual that is the ifmap itself, maps with three readers, skips over several layers."""
    images = photographs(2, 16)
    networks = [random_network(plan=plan, groups=2, seed=27, images=images) for plan in GRAPHS.values()]
    plans = [plan_module.plan(one, small_system.params, images, "gated") for one in networks]
    settings = {"bandwidth": 8, "latency": 40, "stall": 40, "seed": 10}
    runs = small_system.simulator.run(run_networks, ([one.job for one in plans], settings), tmp_path / "run")
    check_in_turn(plans, runs)
