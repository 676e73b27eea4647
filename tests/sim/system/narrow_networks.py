"""Narrow networks for the small configuration: plans, and what comparing a run of one finds."""

import numpy as np

from sim.check.network import compare_network
from sim.plan import network as plan_module
from sw_model.data.photographs import default_images
from sw_model.quantisation.random_network import random_network


def photographs(count, size):
    """Return the first of the photographs, (count, size, size, 3) uint8."""
    return np.stack([pixels for _, pixels in default_images(count, size)])


def planned(params, seed, mode, count=2, size=16, groups=2, **options):
    """Plan a ResNet-10 of 16 to 128 channels; calibrated on small photographs."""
    network = random_network(width=0.25, groups=groups, blocks=1, seed=seed, images=photographs(8, 16), **options)
    return plan_module.plan(network, params, photographs(count, size), mode)


def compared(one, run, left=None, clock=None):
    """Compare a run of a plan with it."""
    return compare_network(one.program, one.job, run, one.golden, one.counts, left, clock)


def findings(result):
    """Return all that a comparison has found, as text."""
    total = result.total()
    return [str(mismatch) for mismatch in total.first] + total.broken
