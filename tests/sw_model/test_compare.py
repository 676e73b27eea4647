"""Rows of the comparison on a few digits, from the command to the results file and on to the tables."""

import json

import pytest

from sw_model import compare, table
from sw_model.data.photographs import default_images
from sw_model.quantisation.random_network import random_network
from sw_model.results import figures
from sw_model.results.figures import mask_sheet
from tests.sw_model.training.few_digits import few_digits

ROWS = (("cdg75", 1), ("dgc", 1), ("fbs", 1), ("scdg", 1), ("scdg", 2))
OPTIONS = "--data few --depth 10 --epochs 1 --tune-epochs 1 --batch 16 --bn-batches 1".split()


@pytest.fixture(scope="module")
def few():
    return few_digits("CIFAR-10, not at all")


@pytest.fixture
def data(few, monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "load_data", lambda source: few)
    monkeypatch.chdir(tmp_path)


def run(row, *options):
    return compare.main(["--row", row, *OPTIONS, *options])


def test_rows_become_results_and_results_become_tables(data, tmp_path, capsys):
    for row, seed in ROWS:
        assert run(row, "--seed", str(seed)) == 0
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == [f"{row}_cifar10_seed{seed}.json" for row, seed in ROWS]
    results = {
        path.stem.replace("_cifar10", ""): json.loads(path.read_text()) for path in (tmp_path / "results").iterdir()
    }
    scdg, cdg, fbs = (results[f"{row}_seed1"] for row in ("scdg", "cdg75", "fbs"))
    assert scdg["network"]["slice_size"] == 4 and scdg["linear"]["1"]["index_reduction"] == 4
    assert cdg["network"]["overlap"] == 75 and cdg["fine_tuned"] is None and cdg["linear"]["2"]["index_reduction"] == 1
    assert fbs["linear"]["1"]["sparsity"] is None and fbs["linear"]["1"]["reduction"]["with_decisions"] > 1
    for result in (scdg, cdg, fbs):
        assert {point["phase"] for point in result["curve"]} >= {"contrastive"} and result["trial_steps"] is None
        assert any("knn" in point for point in result["curve"])

    assert scdg["command"].startswith("python -m sw_model.compare --row scdg --data DATA --depth 10")

    before = (tmp_path / "results" / "scdg_cifar10_seed1.json").read_bytes()
    checkpoint = tmp_path / "runs" / "table" / "scdg-1" / "supervised.ckpt"
    stamp = checkpoint.stat().st_mtime_ns
    capsys.readouterr()
    assert run("scdg", "--seed", "1") == 0  # nothing is trained or evaluated again
    assert checkpoint.stat().st_mtime_ns == stamp and "evaluating" not in capsys.readouterr().out
    again = json.loads((tmp_path / "results" / "scdg_cifar10_seed1.json").read_text())
    assert {**again, "wall_seconds": 0} == {**json.loads(before), "wall_seconds": 0}

    (tmp_path / "docs").mkdir()
    assert table.main([]) == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert (
        "ResNet-10, width 0.25, 4 gating groups, 1 contrastive epochs of 16x16 crops" in text
        and "trained in float32" in text
    )
    assert "Not trained yet: cdg0, cdg100, cdg50, dense." in text
    tuned = [100 * results[f"scdg_seed{seed}"]["fine_tuned"]["1"]["top1"] for seed in (1, 2)]
    assert "| 0 % |" not in text and "CDG_SimCLR" not in text and "No order of the methods is claimed" in text
    assert f"| 75 % | {100 * cdg['linear']['1']['linear']:.2f} |" in text
    assert f"| CIFAR-10 | {sum(tuned) / 2:.2f} ± {abs(tuned[0] - tuned[1]) / 2:.2f} | 90.37 |" in text
    for name in ("accuracy", "curves", "sparsity", "masks"):
        assert (tmp_path / "docs" / "results" / f"{name}.png").stat().st_size > 1000

    assert "ran away" not in text
    results["dgc_seed1"]["linear"]["1"]["diverged"]["test"] = 3
    (tmp_path / "results" / "dgc_cifar10_seed1.json").write_text(json.dumps(results["dgc_seed1"]))
    noted = table.markdown(table.Results(tmp_path / "results"), [])
    assert "ran away" in noted and "DGC: 3.\n" in noted

    other = {**results["scdg_seed1"], "data": "CIFAR-100"}
    other["fine_tuned"]["1"]["top1"] = 0.5
    (tmp_path / "results" / "scdg_cifar100_seed1.json").write_text(json.dumps(other))
    both = table.markdown(table.Results(tmp_path / "results"), [])
    assert "| CIFAR-100 | 50.00 | 65.94 | - |" in both
    assert [line for line in both.splitlines() if line[:13] != "| CIFAR-100 |"] == noted.splitlines()


def test_results_of_another_scale_are_not_replaced(data, tmp_path, capsys):
    assert run("cdg75") == 0
    path = tmp_path / "results" / "cdg75_cifar10_seed1.json"
    before = path.read_bytes()
    capsys.readouterr()
    assert run("cdg75", "--run", "r", "--width", "0.5", "--lr", "0.1") == 2
    assert capsys.readouterr().err == (
        f"sw_model.compare: {path.relative_to(tmp_path)} must not be replaced by results of another network and "
        "contrastive; name other --results\n"
    )
    assert path.read_bytes() == before and not (tmp_path / "r").exists()
    path.write_text(json.dumps({"experiment": "comparison", "row": "cdg75", "accuracy": 0.9}))
    with pytest.raises(ValueError, match="cdg75_cifar10_seed1.json must have data and image_size and network"):
        table.Results(path.parent)


def test_slices_divide_every_output_group(few):
    for width, depth, size in ((0.25, 18, 4), (0.75, 18, 4), (1.0, 18, 8), (0.5, 20, 2)):
        args = compare.build_parser().parse_args(
            ["--row", "scdg", "--data", "few", "--width", str(width), "--depth", str(depth)]
        )
        assert compare.make_model(args, few).hparams["slice_size"] == size


def test_trials_stay_in_their_folder(data, tmp_path):
    assert run("cdg0", "--steps", "2", "--run", "r") == 0
    assert not (tmp_path / "results").exists()
    assert json.loads((tmp_path / "r" / "result.json").read_text())["trial_steps"] == 2


def test_a_run_goes_on_with_its_own_options_only(data, capsys):
    assert run("cdg50", "--steps", "1") == 0
    assert run("cdg50", "--steps", "2", "--lr", "0.1") == 2
    assert "runs/table/cdg50-1 must go on with its own lr and steps, not others; name another --run" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--row", "cgnet"], "--row must be one of dense, cdg0, cdg100, scdg, fbs, dgc, cdg50, cdg75, not 'cgnet'"),
        (["--epochs", "0"], "--epochs must be more than 0, not 0.0"),
        (["--tune-epochs", "inf"], "--tune-epochs must be a number from 0 to 1000000, not inf"),
        (["--size", "0"], "--size must be between 8 and 16, not 0"),
        (["--batch", "1"], "--batch must be a whole number from 2 to 1048576, not 1"),
        (["--batch", "65"], "--batch must be at most 64, not 65"),
        (["--groups", "0"], "--groups must be a whole number from 1 to 1024, not 0"),
        (["--precision", "8"], "--precision must be 32-true or bf16-mixed, not '8'"),
        (["--sparsity", "1"], "--sparsity must be a number between 0 and 1, without these, not 1.0"),
        (["--size", "24"], "--size must be between 8 and 16, not 24"),
        (["--groups", "3"], "gating groups must be at least 2 and divide 16 and 16 channels, not 3"),
        (["--depth", "50"], "depth must be one of 10, 18, 20, 34, not 50"),
    ],
)
def test_bad_input_is_one_line_and_status_2(data, tmp_path, capsys, options, message):
    assert run("cdg0", *options) == 2
    assert capsys.readouterr().err == f"sw_model.compare: {message}\n" and not list(tmp_path.iterdir())


def test_tables_without_rows_and_orders_beyond_the_spread(tmp_path, capsys):
    empty = table.Results(tmp_path)
    assert "No row of the comparison has been trained yet" in table.markdown(empty, [])
    assert table.main(["--results", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.endswith("nowhere\n")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="x.json must be JSON"):
        table.Results(tmp_path)

    def runs(*values):
        return [{"linear": {"1": {"linear": value}}} for value in values]

    empty.rows = {"cdg0": runs(0.90, 0.91), "cdg100": runs(0.88, 0.89), "dense": runs(0.95, 0.95)}
    text = table._order(empty)[0]
    assert "1.00 points" in text and "dense above cdg0 by 4.50; dense above cdg100 by 6.50." in text
    assert empty.cell("cdg0", table.linear(1)) == "90.50 ± 0.50" and empty.cell("fbs", table.linear(1)) == "-"


def test_a_row_has_one_colour_in_all_curves():
    def row(*keys):
        return [{"curve": [{"phase": "contrastive", "step": step, **dict.fromkeys(keys, 0.5)} for step in (1, 2)]}]

    rows = {"dense": row("loss", "knn"), "dgc": row("loss"), "scdg": row("loss", "knn", "sparsity")}
    panels = [{line.get_label(): line.get_color() for line in axes.lines} for axes in figures._curves(rows).axes]
    assert [len(panel) for panel in panels] == [3, 2, 1] and len(set(panels[0].values())) == 3
    assert all(panels[0][title] == colour for panel in panels for title, colour in panel.items())


def test_masks_over_images():
    figure = mask_sheet(random_network(width=0.5, seed=1), default_images(2))
    assert len(figure.axes) == 10 and "fire" in figure.axes[1].get_title()
