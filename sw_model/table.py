"""Tables and figures of what was trained: `python -m sw_model.table` writes docs/results.md from results/*.json.

Only rows with a results file are listed. A number is the mean over a row's seeds; the spread is the
greatest less the smallest.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, run
from cdgate.errors import DataError, UsageError
from cdgate.files import write_file
from sw_model.evaluation.features import DIVERGED
from sw_model.network.methods import METHODS
from sw_model.results import figures
from sw_model.results.poster import ABLATION, METHOD_ROWS, STRUCTURED
from sw_model.training.machine import PRECISIONS

__all__ = ["Results", "main", "markdown"]

PROG = "sw_model.table"

Figure = Callable[[dict[str, Any]], float | None]

#: What tables and figures read of a row's results.
ROW_KEYS = ("row", "data", "image_size", "network", "contrastive", "fine_tuning", "precision", "linear", "fine_tuned",
            "curve")  # fmt: skip

INTRODUCTION = """\
Made by `make table` from `results/*.json`; how rows are trained is in [training.md](training.md). Percentages; ± is
half the spread between seeds."""
NOTHING = """\
No row of the comparison has been trained yet; `make compare ARGS="--row ROW --data FOLDER"` trains one, and
its tables appear here."""
NOT_THE_POSTERS = """\
The poster trained longer and at its own width: differences between rows can be compared with its differences, values
cannot."""
OVERLAPS = """\
Four gating groups, linear evaluation. 100 % is CGNet_SimCLR. The poster does not name the data set of this table; by
its values it is CIFAR-10."""
COUNTING = """\
CGNet_SimCLR and CDG at 100 % overlap are the same computation: trained once, listed twice. FLOP reduction: for CDG and
CGNet the poster's formula on the gated layers' output-weighted sparsity, deciding not counted; for FBS all convolutions
at density in x density out (the first of a block reads a dense sum) with predictors, pooling and gains; for DGC
convolutions at the share of channels that a head keeps, with the heads' generators and pooling. Batch normalisation and
ReLU are counted nowhere."""
DIVERGING = f"""\
Images whose features ran away in the frozen encoder, beyond {DIVERGED:g} times the median image's or out of float32's
range; the linear and kNN classifiers are trained without them, and logits that are not finite count as wrong. Of the
test images, by seed:"""
SLICES = """\
One decision for a slice of output channels at a pixel; slices have 8 channels, at quarter width 4. The index reduction
is the number of output activations to a bit of the mask."""


class Results:
    """The results files of a folder.

    Parameters
    ----------
    folder
        Holds JSON files; those of comparison rows have "experiment": "comparison".

    Attributes
    ----------
    rows
        By row, the results of its seeds, on the data set that most rows are of.
    elsewhere
        By the short name of another data set, such rows.
    shipped
        Results of the quantised network that the repository ships, or None.

    Raises
    ------
    DataError
        A file is not JSON, or has not what a results file has.
    """

    def __init__(self, folder: Path) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.shipped: dict[str, Any] | None = None
        by_data: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for path in sorted(folder.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise DataError(f"results file {path} must be JSON") from None
            if not isinstance(content, dict):
                continue
            if content.get("experiment") == "comparison":
                missing = [key for key in ROW_KEYS if key not in content]
                if missing:
                    raise DataError(
                        f"results file {path} must have {' and '.join(missing)}, as sw_model.compare writes"
                    )
                by_data.setdefault(short(content["data"]), {}).setdefault(content["row"], []).append(content)
            elif isinstance(content.get("accuracy"), dict) and "int8" in content["accuracy"]:
                self.shipped = content
        most = max(by_data, key=lambda data: len(by_data[data]), default="")
        self.rows = by_data.pop(most, {})
        self.elsewhere = by_data

    def on(self, data: str) -> dict[str, list[dict[str, Any]]]:
        """By row, the results on the data set with this short name."""
        return self.elsewhere.get(data) or {
            row: runs for row, runs in self.rows.items() if short(runs[0]["data"]) == data
        }

    def cell(self, row: str, figure: Figure, scale: float = 100, digits: int = 2) -> str:
        """Mean over the seeds of a row, with half the spread if there are several."""
        return cell(self.rows.get(row, []), figure, scale, digits)


def short(data: str) -> str:
    """A data set's name without what makes it a copy: "CIFAR-10" of "CIFAR-10, JPEG copy"."""
    return data.split(",")[0]


def cell(runs: Sequence[dict[str, Any]], figure: Figure, scale: float = 100, digits: int = 2) -> str:
    """Mean of a figure over runs, with half the spread if several have it, and "-" if none has."""
    values = [value for run in runs if (value := figure(run)) is not None]
    if not values:
        return "-"
    mean = f"{scale * sum(values) / len(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * (max(values) - min(values)) / 2:.{digits}f}"


def linear(branch: int) -> Figure:
    """Top-1 of the linear evaluation through a branch."""
    return lambda run: run["linear"][str(branch)]["linear"]


def knn(run: dict[str, Any]) -> float:
    """Top-1 of the kNN classifier through branch 1."""
    return float(run["linear"]["1"]["knn"])


def fine_tuned(run: dict[str, Any]) -> float | None:
    """Top-1 after fine-tuning, through branch 1."""
    return run["fine_tuned"]["1"]["top1"] if run["fine_tuned"] else None


def sparsity(kind: str, part: str = "linear") -> Figure:
    """Output- or MAC-weighted sparsity on the test images, through branch 1."""
    return lambda run: ((run[part] or {}).get("1", {}).get("sparsity") or {}).get(kind)


def reduction(kind: str, part: str = "linear") -> Figure:
    """FLOP reduction of one kind, through branch 1."""
    return lambda run: (run[part] or {}).get("1", {}).get("reduction", {}).get(kind)


def main_reduction(run: dict[str, Any]) -> float | None:
    """FLOP reduction as each method's paper counts: the poster's formula for gates, predictors included elsewhere."""
    ratios: dict[str, float | None] = run["linear"]["1"]["reduction"]
    return ratios["poster"] or ratios["with_decisions"]


def _section(title: str, text: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A table under its title; nothing if the table has no rows."""
    if not body:
        return []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [f"## {title}", "", text, "", *lines, *("| " + " | ".join(line) + " |" for line in body), ""]


def _scale(results: Results) -> list[str]:
    """Say what was run and what was not."""
    if not results.rows:
        return [NOTHING, ""]
    runs = [run for seeds in results.rows.values() for run in seeds]
    scales = sorted({_run_scale(run) for run in runs})
    lines = [f"Scale of the rows: {'; '.join(scales)}. {NOT_THE_POSTERS}"]
    if len(scales) > 1:
        lines.append("The rows differ in scale or budget and must not be compared with each other.")
    wanted = {row.row for row in ABLATION} | {row.row for row in METHOD_ROWS} | {"scdg"}
    missing = sorted(wanted - set(results.rows))
    if missing:
        lines.append(f"Not trained yet: {', '.join(missing)}.")
    seeds = {row: len(found) for row, found in results.rows.items()}
    lines.append("Seeds: " + ", ".join(f"{row} {count}" for row, count in sorted(seeds.items())) + ".")
    return [*lines, ""]


def _run_scale(run: dict[str, Any]) -> str:
    first, second, network = run["contrastive"], run["fine_tuning"], run["network"]
    return (
        f"{run['data']}, ResNet-{network['depth']}, width {network['width']:g}, {network['groups']} gating groups, "
        f"{first['epochs']:g} contrastive epochs of {first['size']}x{first['size']} crops, "
        f"{second['epochs']:g} epochs of fine-tuning at "
        f"{second['size']}x{second['size']}, trained in {PRECISIONS[run['precision']]}, evaluation at "
        f"{run['image_size']}x{run['image_size']}"
    )


def _order(results: Results) -> list[str]:
    """Say between which rows the seeds' spread allows an order."""
    several = {row: [linear(1)(run) or 0.0 for run in runs] for row, runs in results.rows.items() if len(runs) > 1}
    if not results.rows:
        return []
    if len(several) < 2:
        return ["No order of the methods is claimed: fewer than two rows have been trained with two seeds.", ""]
    spread = max(max(values) - min(values) for values in several.values())
    means = {row: sum(values) / len(values) for row, values in several.items()}
    pairs = [
        f"{a} above {b} by {100 * (means[a] - means[b]):.2f}"
        for a in means
        for b in means
        if means[a] - means[b] > 3 * spread
    ]
    text = (
        f"Greatest spread between two seeds of a row: {100 * spread:.2f} points of linear evaluation. Orders beyond "
        f"three times that: {'; '.join(pairs) or 'none'}."
    )
    return [text, ""]


def _ablation(results: Results) -> list[str]:
    head = ("overlap", "linear, branch 1", "branch 2", "poster", "kNN", "sparsity, output", "poster", "MAC",
            "reduction by formula", "MAC-true, whole network")  # fmt: skip
    body = [
        [row.overlap, results.cell(row.row, linear(1)), results.cell(row.row, linear(2)), f"{row.accuracy:.2f}",
         results.cell(row.row, knn), results.cell(row.row, sparsity("output")),
         "-" if row.sparsity is None else f"{row.sparsity:.2f}", results.cell(row.row, sparsity("mac")),
         results.cell(row.row, reduction("poster"), 1), results.cell(row.row, reduction("network"), 1)]
        for row in ABLATION if row.row in results.rows
    ]  # fmt: skip
    return _section("Overlap of the two branches (the poster's table 1)", OVERLAPS, head, body)


def _diverged(results: Results) -> list[str]:
    """Say of which rows test images had features that ran away."""
    counts = {
        METHODS[row].title: [run["linear"]["1"].get("diverged", {}).get("test", 0) for run in runs]
        for row, runs in results.rows.items()
    }
    found = [f"{title}: {' and '.join(map(str, seeds))}" for title, seeds in counts.items() if any(seeds)]
    return ["", f"{DIVERGING} {'; '.join(found)}."] if found else []


def _methods(results: Results) -> list[str]:
    head = ("method", "linear", "poster", "fine-tuned", "poster", "FLOP reduction", "poster",
            "MAC-true, whole network", "deciding included")  # fmt: skip
    body = [
        [row.method, results.cell(row.row, linear(1)), f"{row.linear:.2f}", results.cell(row.row, fine_tuned),
         f"{row.fine_tuned:.2f}", results.cell(row.row, main_reduction, 1), f"{row.reduction:.2f}",
         results.cell(row.row, reduction("network"), 1), results.cell(row.row, reduction("with_decisions"), 1)]
        for row in METHOD_ROWS if row.row in results.rows
    ]  # fmt: skip
    return _section("Methods on SimCLR (the poster's table 2)", "\n".join([COUNTING, *_diverged(results)]), head, body)


def _structured(results: Results) -> list[str]:
    head = ("data", "SCDG fine-tuned", "poster", "dense fine-tuned", "poster", "sparsity, output", "poster",
            "reduction by formula", "poster", "index reduction", "poster")  # fmt: skip
    body = []
    for row in STRUCTURED:
        # The rows' own data set may be a copy of the poster's, as "CIFAR-10, JPEG copy".
        found = results.on(row.data)
        scdg, dense = (found.get(name, []) for name in ("scdg", "dense"))
        if not scdg:
            continue
        body.append([
            row.data, cell(scdg, fine_tuned), f"{row.accuracy:.2f}", cell(dense, fine_tuned),
            f"{row.accuracy - row.drop:.2f}", cell(scdg, sparsity("output", "fine_tuned")),
            f"{row.sparsity:.2f}", cell(scdg, reduction("poster", "fine_tuned"), 1), f"{row.reduction:.2f}",
            cell(scdg[:1], lambda run: run["linear"]["1"]["index_reduction"], 1, 0), "8",
        ])  # fmt: skip
    lines = _section("SCDG (the poster's table 3)", SLICES, head, body)
    if results.shipped is not None:
        lines += ["## The network that the repository ships", "", _shipped(results.shipped), ""]
    return lines


def _shipped(shipped: dict[str, Any]) -> str:
    top1, gates, less = (shipped[key] for key in ("accuracy", "sparsity", "flop_reduction"))
    return (
        f"SCDG, width {shipped['width']:g}, quantised to int8, {shipped['data']}: top-1 {100 * top1['int8']:.2f} %, "
        f"float32 {100 * top1['float32']:.2f} %.\nSparsity {100 * gates['output']:.1f} % output-weighted, "
        f"{100 * gates['mac']:.1f} % MAC-weighted; FLOP reduction by the formula {less['output_weighted']:.2f}, "
        f"MAC-true, by the engine's steps and without padding, {less['mac_weighted']:.2f} in the gated layers and "
        f"{less['whole_network']:.2f} in the whole network."
        "\nIt had another training than the rows of the comparison and is none of them."
    )


def markdown(results: Results, drawn: Sequence[tuple[str, str]]) -> str:
    """The text of docs/results.md.

    Parameters
    ----------
    results
        What was found.
    drawn
        File name (relative to docs/) and caption of every figure.
    """
    lines = ["# Results", "", INTRODUCTION, "", *_scale(results)]
    lines += [*_ablation(results), *_methods(results), *_order(results), *_structured(results)]
    if drawn:
        lines += ["## Figures", ""]
        for file, caption in drawn:
            lines += [f"![{caption}]({file})", "", f"*{caption}.*", ""]
    return "\n".join(lines)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder (default: %(default)s)")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder written to (default: %(default)s)")
    return parser


def write_page(args: argparse.Namespace) -> int:
    """Write tables and figures; returns the exit status."""
    if not args.results.is_dir():
        raise UsageError(f"--results must be a folder that exists, not {args.results}")
    results = Results(args.results)
    print(f"{sum(map(len, results.rows.values()))} results of {len(results.rows)} rows", flush=True)
    drawn = figures.draw(results.rows, results.shipped, args.docs)
    write_file(args.docs / "results.md", markdown(results, drawn))
    print(f"{args.docs / 'results.md'}, {len(drawn)} figures")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run(PROG, lambda: write_page(build_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
