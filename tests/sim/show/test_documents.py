"""What README.md and docs/ show of the commands is what these print, and every column and cost is told."""

import io
import re

import pytest
from rich.console import Console

from cdgate.cli import WIDTH
from sim import benchmark
from sim.check.verdict import Verdict
from sim.show.tables import in_words, last_lines, print_layers
from tests.sim.show.test_network_report import printed, report_of, results


@pytest.fixture(scope="module")
def readme(root_text):
    return root_text("README.md")


@pytest.fixture(scope="module")
def root_text(request):
    return lambda name: (request.config.rootpath / name).read_text(encoding="utf-8")


def headings(text):
    """Return the words of the tables' headings: all that stands above a rule of a table."""
    lines = text.splitlines()
    rules = [number for number, line in enumerate(lines) if line.strip().startswith("───")]
    return {word for number in rules for line in lines[max(number - 3, 0) : number] for word in line.split()}


def sample(readme):
    """Return the sample of what `make sim` prints."""
    return readme.split("`make sim` prints this:\n\n")[1].split("\n\n[docs/reports.md]")[0]


def test_sample_is_what_a_simulation_prints(readme):
    report = report_of(results())["layers"][1]
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    print_layers([report], Verdict(), "gated", console)
    shown = sample(readme)
    assert headings(console.file.getvalue()) & headings(shown) >= {
        "layer",
        "cycles",
        "theory",
        "ised",
        "ratio",
        "wrong",
    }
    assert headings(shown) - headings(console.file.getvalue()) <= set("full, 1 image(s): cat".split())
    last = [line.strip() for line in shown.splitlines()][-2:]
    assert [line.split(":")[0] for line in last] == [line.split(":")[0] for line in last_lines(report)]
    words = re.sub(r"[\d,.]+x?", "#", in_words({**report, "stress": {"outputs_checked": 1, "mismatches": 0}}))
    told = next(line.strip() for line in shown.splitlines() if "under stress" in line)
    assert re.sub(r"[\d,.]+x?", "#", told).split(": ", 1)[1] == words.split(": ", 1)[1]


def test_tables_name_the_network_if_it_is_not_of_a_checkpoint():
    for name, title in ((None, "full, 2 image(s): "), ("lenet5", "lenet5 on full, 2 image(s): ")):
        report = {**report_of(results())["layers"][1], "network": name}
        console = Console(file=io.StringIO(), width=WIDTH, highlight=False)
        print_layers([report], Verdict(), "gated", console)
        assert console.file.getvalue().startswith(title)


def test_figures_of_single_images_stand_there(readme):
    """Throughput of a batch beside the latency that a camera would see."""
    rows = dict(re.findall(r"^\| (\d+) \| (.* ms) \|$", readme, re.MULTILINE))
    assert set(rows) == {"1", "2", "4", "8"} and all(len(row.split(" | ")) == 9 for row in rows.values())
    assert re.search(r"takes\n?\s*\d\.\d GB", readme) and "`make sim`" in readme


def test_columns_are_explained(root_text):
    text = root_text("docs/reports.md")
    for column in ("goes by", "KiB moved", "idle, most of it for", "effic.", "sparsity", "ratio", "wrong"):
        assert f"| {column}" in text, column
    assert "goes by" in printed(report_of(results())) and "KiB" in printed(report_of(results()))


def test_photographs_are_none_of_the_classes():
    report = report_of(results())
    for prediction in report["predictions"]:
        prediction["label"] = None
    assert "a photograph may show none of them" in printed(report)


def test_caption_of_the_masks_says_which_picture_it_is(readme):
    assert "*What fires on a cat:" in readme


def test_size_of_waves_is_told(root_text):
    [size] = re.findall(
        r"1,000 cycles of `full` take about (\d+) MB", root_text("docs/debugging.md").replace("\n", " ")
    )
    assert 7 <= int(size) <= 8


def test_benchmark_says_how_long_it_takes(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "benchmark", lambda *args, **options: pytest.fail("not to be run"))
    with pytest.raises(pytest.fail.Exception):
        benchmark.main(["small", "-o", "build/none.json"])
    assert re.search(r"about \d+ minutes?", capsys.readouterr().err)
