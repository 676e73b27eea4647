"""Pictures: the numbers in them, that the files are pictures, and what happens where they cannot be written."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cdgate.errors import UserError
from sim.plan.cases import random_case
from sim.plan.layer import Pass
from sim.show import masks, pictures

IMAGES = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
NAMES = ["left", "right"]


def passes_of(case, mode="gated", batch=1):
    tap = case.golden(mode)
    return [
        Pass(
            case.layer,
            mode,
            first,
            None,
            replace(
                tap,
                **{
                    name: getattr(tap, name)[first : first + batch]
                    for name in ("ifmap", "psum_base", "psum", "decision", "ofmap")
                    if getattr(tap, name) is not None
                },
            ),
            None,
        )
        for first in range(0, len(tap.ifmap), batch)
    ]


def report_of(layer, modes=("dense", "gated"), **changes):
    runs = {
        mode: {
            "cycles": 1000,
            "steps": {"base": 250, "conditional": 700},
            "idle": {"start": 20, "end": 30},
            "decisions_checked": 128,
            "mismatches": 0,
            **changes,
        }
        for mode in modes
    }
    return {"layer": layer, "images": 2, "runs": runs}


def is_picture(path):
    with Image.open(path) as picture:
        picture.load()
        # More than a few colours: something was drawn.
        return picture.format == "PNG" and picture.width > 500 and len(picture.convert("RGB").getcolors(1 << 20)) > 20


def texts(figure):
    found = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        found += [
            axes.get_title(),
            *(text.get_text() for legend in [axes.get_legend()] if legend is not None for text in legend.get_texts()),
        ]
    return found


def test_share_of_fired_slices():
    tap = random_case(3, images=2, size=(4, 5)).golden("gated")
    share = masks.fired_share(tap)
    assert share.shape == (2, 4, 5)
    assert share[1, 2, 3] == tap.decision[1, :, 2, 3].sum() / tap.decision.shape[1]
    assert np.isclose(share.mean(), tap.decision.numpy().mean())


def test_saliency_is_above_zero_where_a_slice_fires():
    case = random_case(4, images=2, size=(4, 5))
    tap = case.golden("gated")
    values = masks.relative_saliency(case.layer, tap)
    fired = tap.decision.numpy().transpose(1, 0, 2, 3).reshape(-1)
    assert np.array_equal(values > 0, fired) and (values == 0).any()  # the ties
    assert np.allclose(values.reshape(tap.decision.shape[1], -1).std(axis=1), 1)


def test_thresholds_at_the_limits_are_left_out():
    case = random_case(5, size=(4, 4))
    threshold = case.layer.K.clone()
    threshold[0], threshold[1] = 2**31 - 1, -(2**31)
    case = replace(case, layer=replace(case.layer, K=threshold))
    tap = case.golden("gated")
    assert len(masks.relative_saliency(case.layer, tap)) == tap.decision.numel() - 2 * 16
    never = replace(case, layer=replace(case.layer, K=torch.full_like(threshold, 2**31 - 1)))
    tap = never.golden("gated")
    assert masks.mask_picture(never.layer, tap, IMAGES[:1], NAMES[:1], "gated", "") is not None


def test_decisions_of_channels():
    case = random_case(6, size=(4, 4))
    tap = case.golden("gated")
    decision = tap.psum_base > (case.layer.K >> 3).repeat_interleave(8)[None, :, None, None]
    values = masks.relative_saliency(case.layer, replace(tap, decision=decision))
    assert np.array_equal(values > 0, decision.numpy().transpose(1, 0, 2, 3).reshape(-1))


def test_ungated_layer_has_no_mask():
    case = random_case(7, groups=1)
    tap = case.golden("gated")
    for wrong in (lambda: masks.fired_share(tap), lambda: masks.relative_saliency(case.layer, tap)):
        with pytest.raises(ValueError, match="ungated"):
            wrong()


def test_mask_picture_says_the_sparsity():
    case = random_case(8, images=2, size=(4, 5))
    tap = case.golden("gated")
    figure = masks.mask_picture(case.layer, tap, IMAGES, NAMES, "gated", "where from")
    sparsity = 1 - tap.decision.numpy().mean()
    found = texts(figure)
    assert found[0].startswith(f"case8, gated mode: sparsity {sparsity:.3f} over 8 slices a pixel")
    assert {"where from", "left", "right", f"not above K: {100 * sparsity:.1f} %"} <= set(found)
    for n in range(2):
        assert f"4 x 5 pixels, sparsity {1 - tap.decision[n].numpy().mean():.3f}" in found


def test_histogram_counts_every_decision():
    case = random_case(9, images=2, size=(8, 8))
    tap = case.golden("gated")
    figure = masks.mask_picture(case.layer, tap, IMAGES, NAMES, "gated", "")
    [axes] = [axes for axes in figure.axes if axes.get_ylabel() == "decisions"]
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches]
    assert sum(height for *_, height in bars) == tap.decision.numel()
    assert sum(height for left, width, height in bars if left + width / 2 > 0) == tap.decision.sum()


@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
def test_files(tmp_path, mode):
    case = random_case(10, images=2, size=(6, 6))
    modes = ("dense",) if mode == "dense" else ("dense", mode)
    reports = [report_of("case10", modes)]
    [path] = pictures.draw(passes_of(case, mode), IMAGES, NAMES, mode, reports, tmp_path / "case10", whole=False)
    assert path == tmp_path / "case10/mask.png" and is_picture(path)
    passes = passes_of(case, mode, 2) + passes_of(random_case(11, images=2), mode, 2)
    paths = pictures.draw(passes, IMAGES, NAMES, mode, reports + [report_of("case11", modes)], tmp_path, whole=True)
    assert paths == [tmp_path / "masks.png", tmp_path / "cycles.png"] and all(map(is_picture, paths))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case10", "cycles.png", "masks.png"]


def test_ungated_layer_has_no_picture(tmp_path):
    reports = [report_of("case12")]
    passes = passes_of(random_case(12, groups=1))
    assert pictures.draw(passes, IMAGES[:1], NAMES[:1], "gated", reports, tmp_path, whole=False) == []
    assert [
        path.name for path in pictures.draw(passes, IMAGES[:1], NAMES[:1], "gated", reports, tmp_path, whole=True)
    ] == ["cycles.png"]


def test_bars_add_up_to_the_cycles():
    reports = [report_of("a"), report_of("b", steps={"base": 100, "conditional": 50})]
    figure = pictures.cycles_chart(reports, "gated")
    [axes] = figure.axes
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches if bar.get_facecolor()[3] == 0]
    assert np.allclose(tops, np.array([1000, 200, 1000, 200]) / 2 / 1000)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    assert "1.00 to 1" in texts(figure)[0]


def test_sheet_of_all_layers():
    taps = [(case.layer, case.golden("gated")) for case in (random_case(n) for n in range(20, 36))]
    figure = masks.mask_sheet(taps, IMAGES[0], "cat", "gated", "")
    found = texts(figure)
    assert found[0].startswith("masks of the 16 gated layers, gated mode: sparsity 0.")
    assert sum(text.startswith("case") for text in found) == 16


def test_no_text_overlaps():
    taps = [(case.layer, case.golden("gated")) for case in (random_case(n) for n in range(20, 36))]
    layer, tap = taps[0]
    reports = [report_of(f"conv{n}_1") for n in range(21)]
    for figure in (
        masks.mask_sheet(taps, IMAGES[0], "cat", "gated", "note"),
        masks.mask_picture(layer, tap, IMAGES[:1], ["cat"], "gated", "note"),
        pictures.cycles_chart(reports, "gated"),
    ):
        figure.draw_without_rendering()
        titles = [axes.title for axes in figure.axes if axes.get_title()]
        titles += [legend for axes in figure.axes if (legend := axes.get_legend()) is not None]
        titles += [text for text in (figure._suptitle, figure._supxlabel) if text is not None]
        boxes = [title.get_window_extent() for title in titles]
        for n, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[n + 1 :]), titles[n]
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, titles[n]


@pytest.mark.parametrize(
    "mode, changes, text",
    [
        ("gated", {}, "the engine made the same, 128 compared"),
        ("gated", {"mismatches": 3}, "the engine differs from the golden model in 3 places"),
        ("base", {"decisions_checked": 0}, "nothing is decided in base mode"),
    ],
)
def test_note(tmp_path, monkeypatch, mode, changes, text):
    notes = []
    monkeypatch.setattr(pictures, "mask_picture", lambda *args: notes.append(args[-1]))
    monkeypatch.setattr(pictures, "save", lambda figure, path: path)
    pictures.draw(
        passes_of(random_case(13), mode),
        IMAGES[:1],
        NAMES[:1],
        mode,
        [report_of("case13", ("dense", mode), **changes)],
        tmp_path,
        whole=False,
    )
    assert text in notes[0]


def test_note_of_a_sheet_says_that_one_image_is_shown(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(pictures, "mask_sheet", lambda *args: notes.append(args[-1]))
    monkeypatch.setattr(pictures, "save", lambda figure, path: path)
    passes = passes_of(random_case(15, images=2), batch=2)
    pictures.draw(passes, IMAGES, NAMES, "gated", [report_of("case15")], tmp_path, whole=True)
    assert notes[0].endswith("the engine made the same, 128 compared; shown is the first of 2 images")


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"mask\.png cannot be written: File exists$"):
        pictures.draw(
            passes_of(random_case(14)),
            IMAGES[:1],
            NAMES[:1],
            "gated",
            [report_of("case14")],
            tmp_path / "file",
            whole=False,
        )
