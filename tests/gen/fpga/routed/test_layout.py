"""Where cells and paths are: read from what nextpnr writes, and drawn."""

import numpy as np
import pytest

from gen.fpga.components import COMPONENTS
from gen.fpga.routed import picture
from gen.fpga.routed.layout import Cell, layout, read_cells

#: As nextpnr writes a placed design, with what else bears names, types and attributes.
PLACED = """\
{
  "creator": "Next Generation Place and Route",
  "modules": {
    "harness": {
      "settings": {
        "seed": "0000"
      },
      "ports": {
        "clk": {
          "direction": "input",
          "bits": [ 5 ]
        }
      },
      "cells": {
        "core.core.array.lane_0.product_0_MULT18X18D_P0": {
          "hide_name": 0,
          "type": "MULT18X18D",
          "parameters": {
            "CLK0_DIV": "ENABLED"
          },
          "attributes": {
            "BEL": "X4/Y10/MULT18_0",
            "NEXTPNR_BEL": "X4/Y10/MULT18_0",
            "module_not_derived": "00000000000000000000000000000001"
          },
          "port_directions": {
            "A0": "input"
          },
          "connections": {
            "A0": [ 7 ]
          }
        },
        "core.fetch.left_TRELLIS_FF_Q[0]": {
          "hide_name": 0,
          "type": "TRELLIS_FF",
          "parameters": {
          },
          "attributes": {
            "NEXTPNR_BEL": "X12/Y3/SLICEA.FF1"
          }
        }
      },
      "netnames": {
        "some": {
          "hide_name": 0,
          "bits": [ 5 ],
          "attributes": {
            "ROUTING": "X1/Y2/F1"
          }
        }
      }
    }
  }
}
"""

CELLS = {
    "core.core.array.lane_0.sum_TRELLIS_FF_Q": Cell("TRELLIS_FF", 2, 3),
    "core.core.array.lane_0.sum_LUT4_Z": Cell("TRELLIS_COMB", 2, 3),
    "core.core.array.lane_0.product_0_MULT18X18D_P0": Cell("MULT18X18D", 4, 4),
    "core.core.banks.bank_0_0_DP16KD": Cell("DP16KD", 5, 0),
    "core.core.layer_TRELLIS_FF_Q": Cell("TRELLIS_FF", 0, 0),
    "core.fetch.left_TRELLIS_FF_Q": Cell("TRELLIS_FF", 1, 0),
    "shift_out_TRELLIS_FF_Q": Cell("TRELLIS_FF", 1, 1),
    "clock_buffer": Cell("DCCA", 3, 0),
}


def test_cells_of_a_placed_design():
    assert read_cells(PLACED.splitlines(keepends=True)) == {
        "core.core.array.lane_0.product_0_MULT18X18D_P0": Cell("MULT18X18D", 4, 10),
        "core.fetch.left_TRELLIS_FF_Q[0]": Cell("TRELLIS_FF", 12, 3),
    }


def test_layout():
    names = ["core.fetch.left_TRELLIS_FF_Q", "unplaced", "core.core.layer_TRELLIS_FF_Q"]
    assert layout(CELLS, [(9.12345, names)]) == {
        "logic": {"lanes": [[2, 3, 2]], "jobs": [[0, 0, 1]], "units": [[1, 0, 1]], "harness": [[1, 1, 1]]},
        "blocks": [["lanes", "multiplier", 4, 4], ["banks", "RAM", 5, 0]],
        "paths": [{"ns": 9.123, "tiles": [[1, 0], [0, 0]]}],
    }


@pytest.mark.parametrize(
    "name, component",
    [
        ("core.array.lane_3.sum_TRELLIS_FF_Q", "lanes"),
        ("core.ring.room_TRELLIS_FF_Q", "lanes"),
        ("core.output.requantise_0.total_LUT4_Z", "requantiser"),
        ("core.parameters.scales_DP16KD", "parameters"),
        ("core.scheduler.chosen_LUT4_Z", "jobs"),
        ("core.layer_TRELLIS_FF_Q", "jobs"),
        ("near_TRELLIS_FF_Q", "harness"),
    ],
)
def test_component_of_a_cell_of_the_core_alone_and_within_the_engine(name, component):
    assert list(layout({name: Cell("TRELLIS_FF", 1, 2)}, [])["logic"]) == [component]
    if name.startswith("core."):
        assert list(layout({f"core.{name}": Cell("TRELLIS_FF", 1, 2)}, [])["logic"]) == [component]


def test_picture():
    paths = [(9.5, list(CELLS)[:4]), (9.0, list(CELLS)[4:6])]
    figure = picture.picture(layout(CELLS, paths), "a title")
    [axes] = figure.axes
    [shades] = [np.asarray(image.get_array()) for image in axes.images]
    assert shades.shape == (5, 6, 3), "as many tiles as are used"
    assert (shades[4, 0] == 1).all(), "an empty tile is white"
    lanes = np.array([int(picture.COLOURS["lanes"][at : at + 2], 16) / 255 for at in (1, 3, 5)])
    fill = 0.25 + 0.75 * 2 / 16
    assert shades[3, 2] == pytest.approx(1 - fill + fill * lanes), "a tile of one component has its colour"
    assert [tuple(line.get_xdata()) for line in axes.lines] == [(0, 1), (2, 2, 4, 5)], "the longest is on top"
    assert [dots.get_offsets().tolist() for dots in axes.collections] == [[[4, 4]], [[5, 0]]]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        *(name for name in COMPONENTS if name not in ("requantiser", "parameters")),
        "multiplier",
        "RAM",
        "longest path, 9.50 ns",
        "the next 1, to 9.00 ns",
    ]


def test_picture_file_and_nothing_to_draw(tmp_path):
    path = picture.draw(layout(CELLS, []), "title", tmp_path / "new" / "tiny.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    picture.draw(layout({}, []), "nothing", path)


def test_colours_of_all_components_differ():
    assert set(picture.COLOURS) == set(COMPONENTS) and len(set(picture.COLOURS.values())) == len(COMPONENTS)
