"""What an engine takes by estimate: whether it is what synthesis counts, and what a device is too small for."""

import dataclasses

import pytest
from rich.console import Console

from cdgate.errors import UsageError, UserError
from gen.fpga.devices import DEVICES, UNROUTED, Unrouted
from gen.fpga.estimate import COEFFICIENTS, check_fits, drivers, estimate, fitted
from gen.fpga.harness import harness_verilog
from gen.fpga.preparation import prepare
from gen.fpga.reports import RESOURCES, resources
from gen.fpga.toolchain import TARGETS
from hw.configurations import CONFIGS

#: How far the estimate of LUTs and flip-flops may be off.
BOUND = 0.15


@pytest.mark.slow
def test_estimate_is_what_synthesis_counts(tmp_path):
    counted, off = [], []
    for name, params in CONFIGS.items():
        text = harness_verilog(params, "system")
        prepared = prepare(TARGETS["ecp5-85f"], text, name, tmp_path, Console(quiet=True))
        counts, found = resources(prepared.facts["cells"]), estimate(params)
        counted.append((params, counts))
        off += [
            f"{name}: {key} {found[key]}, not {counts[key]}" for key in ("dsps", "brams") if found[key] != counts[key]
        ]
        off += [
            f"{name}: {key} about {found[key]}, not {counts[key]}"
            for key in ("luts", "ffs")
            if abs(found[key] / counts[key] - 1) > BOUND
        ]
    assert not off, f"{'; '.join(off)}; COEFFICIENTS that are fitted on these: {fitted(counted)}"


def test_fit_finds_an_engine_that_has_changed(monkeypatch):
    counted = [(params, estimate(params)) for params in CONFIGS.values()]
    assert fitted(counted) == {name: dict(factors) for name, factors in COEFFICIENTS.items()}, "nothing has changed"
    changed = {name: {key: 1.3 * factor for key, factor in factors.items()} for name, factors in COEFFICIENTS.items()}
    changed["requantiser"]["luts"] *= 2
    monkeypatch.setattr("gen.fpga.estimate.COEFFICIENTS", changed)
    counted = [(params, estimate(params)) for params in CONFIGS.values()]
    monkeypatch.setattr("gen.fpga.estimate.COEFFICIENTS", COEFFICIENTS)
    monkeypatch.setattr("gen.fpga.estimate.COEFFICIENTS", fitted(counted))
    for params, counts in counted:
        for key in ("luts", "ffs"):
            assert estimate(params)[key] == pytest.approx(counts[key], rel=0.02)


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_of_the_estimate(name):
    found = estimate(CONFIGS[name])
    assert set(drivers(CONFIGS[name])) == set(COEFFICIENTS) == set(found["luts_of"]) == set(found["ffs_of"])
    for key in ("luts", "ffs"):
        assert sum(found[f"{key}_of"].values()) == found[key]
        assert min(found[f"{key}_of"].values()) >= 0


@pytest.mark.parametrize(
    "choice, less, more",
    [("in_par", 4, 16), ("rq_lanes", 1, 4), ("psum_slots", 8, 16), ("axi_bits", 32, 128), ("max_map", 64, 256)],
)
def test_more_of_anything_takes_more(choice, less, more):
    small, large = (estimate(dataclasses.replace(CONFIGS["small"], **{choice: value})) for value in (less, more))
    for key in ("luts", "ffs"):
        assert small[key] < large[key]


def fitting(target):
    found = []
    for name, params in CONFIGS.items():
        try:
            check_fits(target, name, params)
        except UserError:
            continue
        found.append(name)
    return found


def test_which_configurations_fit_which_device():
    assert {target: fitting(target) for target in (*DEVICES, *UNROUTED)} == {
        "ecp5-85f": ["full", "half", "small", "tiny"],
        "ecp5-45f": ["half", "small", "tiny"],
        "ecp5-25f": ["tiny"],
        "ice40up5k": [],
    }


def test_room_of_the_devices():
    assert {name: device.room for name, device in DEVICES.items()} == {
        "ecp5-85f": {"luts": 83640, "ffs": 83640, "dsps": 156, "brams": 208},
        "ecp5-45f": {"luts": 43848, "ffs": 43848, "dsps": 72, "brams": 108},
        "ecp5-25f": {"luts": 24288, "ffs": 24288, "dsps": 28, "brams": 56},
    }
    assert UNROUTED["ice40up5k"].memory_bits == 120 * 1024 + 2**20
    assert set(DEVICES["ecp5-85f"].room) == set(RESOURCES)


def test_every_resource_that_overflows_is_told(monkeypatch):
    found = estimate(CONFIGS["full"])
    small = dataclasses.replace(DEVICES["ecp5-45f"], luts=9_000)
    monkeypatch.setattr("gen.fpga.estimate.DEVICES", {"ecp5-45f": small})
    of = "of an ECP5-45F, CABGA381"
    with pytest.raises(UserError) as error:
        check_fits("ecp5-45f", "full", CONFIGS["full"])
    assert str(error.value) == (
        f"configuration full must take at most the 9,000 LUTs {of}, not about {found['luts']:,}; "
        f"at most the 9,000 flip-flops {of}, not about {found['ffs']:,}; "
        f"at most the 72 multipliers {of}, not 140; at most the 108 block RAMs {of}, not 172"
    )


def test_engine_that_fits_a_device_without_place_and_route(monkeypatch):
    large = Unrouted("Large", cells=100_000, multipliers=100, products=1, rams=((1, 2**30),))
    monkeypatch.setattr("gen.fpga.estimate.UNROUTED", {"large": large})
    with pytest.raises(UsageError, match="^target must be one that can be routed here, .*, which large is not$"):
        check_fits("large", "tiny", CONFIGS["tiny"])
    small = dataclasses.replace(large, rams=((1, 1024),))
    monkeypatch.setattr("gen.fpga.estimate.UNROUTED", {"large": small})
    bits = estimate(CONFIGS["tiny"])["memory_bits"]
    with pytest.raises(UserError, match=f"at most the 1,024 bits of memory of an Large, not {bits:,}$"):
        check_fits("large", "tiny", CONFIGS["tiny"])
