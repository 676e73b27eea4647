"""Floorplans of made-up netlists with the blocks of every configuration that fits: the plan's promises."""

import re

import pytest

from cdgate.errors import UserError
from gen.fpga.devices import DEVICES
from gen.fpga.estimate import estimate, memories
from gen.fpga.floorplan import fix_clock, floorplan, place
from hw.configurations import CONFIGS
from hw.params import BANKS, LANES

FITTING = [("ecp5-85f", name) for name in CONFIGS] + [
    ("ecp5-45f", "half"),
    ("ecp5-45f", "small"),
    ("ecp5-45f", "tiny"),
    ("ecp5-25f", "tiny"),
]


def netlist_of(params, prefix="core.core."):
    """Return a netlist with the blocks of an engine, by the names that Yosys gives them, in no order."""
    names = {}
    for lane in range(LANES):
        for k in range(params.in_par):
            names[f"array.lane_{lane}.${k + 7}_MULT18X18D_P9"] = "MULT18X18D"
    for lane in range(params.rq_lanes):
        for k in range(3):
            names[f"output.requantise_{lane}.${k}_MULT18X18D_P9"] = "MULT18X18D"
    sizes = {memory.name: memory for memory in memories(params)}
    for lane in range(LANES):
        for k in range(sizes["ring"].block_rams // LANES):
            names[f"array.lane_{lane}.weights.0.{k}"] = "DP16KD"
    for bank in range(BANKS):
        for granule in range(params.word_subs):
            for k in range(sizes["banks"].block_rams // BANKS // params.word_subs):
                names[f"banks.bank_{bank}_{granule}.0.{k}"] = "DP16KD"
    for name, memory in (("scale_words", "scales"), ("thresholds$22", "thresholds")):
        for k in range(sizes[memory].block_rams):
            names[f"parameters.{name}.0.{k}"] = "DP16KD"
    names["output.places.0.0"] = "TRELLIS_DPR16X4"
    cells = {
        prefix + name: {"type": kind, "connections": {"CLK": [2], "D": [3]}, "attributes": {}}
        for name, kind in sorted(names.items(), key=lambda item: hash(item[0]))
    }
    return {"modules": {"top": {"cells": cells, "ports": {"clk": {"direction": "input", "bits": [2]}}}}}


def placed(target, config, prefix="core.core."):
    params = CONFIGS[config]
    sites = place(DEVICES[target], netlist_of(params, prefix), "top")
    return params, {name.removeprefix(prefix): site for name, site in sites.items()}


@pytest.mark.parametrize("target, config", FITTING)
def test_every_block_has_a_place_of_its_own(target, config):
    params, sites = placed(target, config)
    wanted = estimate(params)
    assert len(sites) == len(set(sites.values())) == wanted["dsps"] + wanted["brams"]
    device = DEVICES[target]
    multipliers = {site for row in device.multiplier_rows for site in device.multipliers(row)}
    rams = {site for block in device.ram_blocks() for site in device.rams(*block)}
    assert all(site in (rams if re.search(r"\.\d+\.\d+$", name) else multipliers) for name, site in sites.items())


@pytest.mark.parametrize("target, config", FITTING)
def test_lanes_are_runs_and_a_chain(target, config):
    params, sites = placed(target, config)
    device, runs = DEVICES[target], []
    for lane in range(LANES):
        run = [sites[f"array.lane_{lane}.${k + 7}_MULT18X18D_P9"] for k in range(params.in_par)]
        row = device.multipliers(run[0].y)
        start = row.index(run[0])
        assert run == row[start : start + params.in_par], f"lane {lane}"
        runs.append((device.multiplier_rows.index(run[0].y), start // params.in_par))
    for before, behind in zip(runs, runs[1:], strict=False):
        assert abs(before[0] - behind[0]) + abs(before[1] - behind[1]) == 1, (
            "lanes that follow each other are neighbours"
        )
    assert runs[0][0] == len(device.multiplier_rows) - 1, "the first one is beside the banks"


@pytest.mark.parametrize("target, config", FITTING)
def test_bits_of_the_four_banks_stand_together(target, config):
    params, sites = placed(target, config)
    for name, site in sites.items():
        if match := re.fullmatch(r"banks\.bank_0_(\d+)\.0\.(\d+)", name):
            others = [sites[f"banks.bank_{bank}_{match[1]}.0.{match[2]}"] for bank in range(BANKS)]
            assert {other.y for other in others} == {site.y}
            assert max(other.x for other in others) - min(other.x for other in others) <= 6, name


@pytest.mark.parametrize("target, config", FITTING)
def test_parameters_are_at_the_requantisers_edge_of_the_die(target, config):
    _, sites = placed(target, config)
    mean = {}
    for part in ("requantise", "parameters"):
        found = [site.x for name, site in sites.items() if part in name]
        mean[part] = sum(found) / len(found)
    columns = DEVICES[target].columns
    assert abs(mean["requantise"] - mean["parameters"]) < (columns[-1] - columns[0]) / 2, mean


def test_full_on_an_85f_is_the_plan_that_was_measured():
    """The first column of each lane's multipliers, row by row; lane 0 in the middle of the row beside the banks."""
    _, sites = placed("ecp5-85f", "full")
    found = [
        (sites[f"array.lane_{n}.$7_MULT18X18D_P9"].y, sites[f"array.lane_{n}.$7_MULT18X18D_P9"].x) for n in range(8)
    ]
    assert found == [(58, 40), (58, 4), (34, 4), (10, 4), (10, 40), (10, 78), (34, 78), (34, 40)]
    assert {site.y for name, site in sites.items() if "requantise" in name} == {58}
    assert {site.y for name, site in sites.items() if "bank_" in name} == {46, 70, 82}


def test_the_core_alone_has_the_same_plan():
    assert placed("ecp5-85f", "small", "core.") == placed("ecp5-85f", "small")


@pytest.mark.parametrize(
    "target, config, message",
    [
        ("ecp5-45f", "full", "the 72 multipliers of an ECP5-45F, CABGA381, not 140"),
        ("ecp5-25f", "small", "the 28 multipliers of an ECP5-25F, CABGA381, not 35"),
    ],
)
def test_too_large(target, config, message):
    with pytest.raises(UserError, match=f"^configuration must take at most {message}$"):
        place(DEVICES[target], netlist_of(CONFIGS[config]), "top")


def test_a_netlist_without_an_engine_stays_as_it_is():
    netlist = {"modules": {"top": {"cells": {"a": {"type": "LUT4"}}, "ports": {}}}}
    assert floorplan(DEVICES["ecp5-85f"], netlist, "top") == 0
    assert netlist["modules"]["top"]["cells"] == {"a": {"type": "LUT4"}}


def test_places_and_the_clock_are_written_into_the_netlist():
    device, netlist = DEVICES["ecp5-25f"], netlist_of(CONFIGS["tiny"])
    cells = netlist["modules"]["top"]["cells"]
    count = floorplan(device, netlist, "top")
    places = [cell["attributes"]["BEL"] for cell in cells.values() if "BEL" in cell["attributes"]]
    assert len(places) == len(set(places)) == count
    fix_clock(device, netlist, "top")
    buffer = cells.pop("clock_buffer")
    assert buffer["attributes"] == {"BEL": device.clock_buffer}
    assert buffer["connections"]["CLKI"] == [2]
    [clock] = buffer["connections"]["CLKO"]
    assert clock not in (2, 3)
    assert all(cell["connections"] == {"CLK": [clock], "D": [3]} for cell in cells.values())


def test_clock_is_no_port_that_leads_nowhere():
    netlist = netlist_of(CONFIGS["tiny"])
    netlist["modules"]["top"]["ports"]["unused"] = {"direction": "input", "bits": [4, 5]}
    fix_clock(DEVICES["ecp5-85f"], netlist, "top")
    assert netlist["modules"]["top"]["cells"]["clock_buffer"]["connections"]["CLKO"] == [6]


def test_pins():
    assert DEVICES["ecp5-45f"].constraints().startswith('LOCATE COMP "clk" SITE "A10";\n')
