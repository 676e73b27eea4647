"""Simulates layers of a trained network: ``python -m sim --layer conv3_2``; see ``--help``."""

from __future__ import annotations

import shlex
import sys
import tokenize
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdgate.cli import Parser, console, run, say
from cdgate.errors import CdgateError, UserError
from cdgate.modes import GateMode
from hw.configurations import DEFAULT
from sim.check.layer import combine, sum_up
from sim.check.verdict import Verdict
from sim.engine import BUILD, Engine
from sim.show import pictures, report, waves
from sim.show.report import ALL, NETWORK
from sim.show.results import SimulatedLayer
from sim.show.tables import in_words, last_lines, print_layers
from sw_model.data.photographs import default_images, load_image
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.named_networks import NAMED, chosen_network

__all__ = ["main"]

#: Where reports and the files of the runs are written.
OUTPUT = BUILD / "sim"

#: The layer that is simulated if none is asked for.
DEFAULT_LAYER = "conv3_2"

#: What numpy raises for a file that holds no array, or a broken one.
_NO_ARRAY = (
    OSError,
    ValueError,
    EOFError,
    MemoryError,
    OverflowError,
    TypeError,
    KeyError,
    zipfile.BadZipFile,
    tokenize.TokenError,
)


def _parser() -> Parser:
    parser = Parser(
        prog="sim",
        description="Simulate layers of a trained network on the generated Verilog, densely "
        "and gated, and compare every output and every decision with the reference.",
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="conv1, conv2_1 ... conv5_4, down3 ... down5, fc, or another of the network's, or all (default: conv3_2, "
        "or the first where there is none of this name)",
    )
    parser.add_argument(
        "--mode",
        default=GateMode.GATED,
        metavar="MODE",
        help=f"run besides the dense one: {', '.join(GateMode)} (default: gated)",
    )
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="PATH",
        help="in mode forced: .npy file of the layer's decisions, bool (images, slices or channels, "
        "rows, columns), instead of those that the network takes",
    )
    parser.add_argument("--image", type=Path, metavar="PATH", help="image file instead of the photographs")
    parser.add_argument("--images", type=int, metavar="N", help="number of photographs (default: the batch)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images in one pass (default: 1)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="checkpoint of the quantised network (default: that of the repository)",
    )
    parser.add_argument(
        "--net",
        metavar="NAME",
        help=f"an untrained network instead of a checkpoint: {', '.join(NAMED)}",
    )
    parser.add_argument(
        "--waves",
        action="store_true",
        help="record the first pass that differs, else the first one that is not dense, once more",
    )
    parser.add_argument(
        "--waves-cycles",
        type=int,
        default=waves.CYCLES,
        metavar="N",
        help=f"cycles to record, around the first mismatch (default: {waves.CYCLES})",
    )
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, metavar="DIR", help=f"folder (default: {OUTPUT})")
    return parser


def _images(args: Any, network: IntNetwork) -> tuple[list[str], np.ndarray]:
    shape = network.image_size, network.image_channels
    if args.batch < 1:
        raise UserError(f"batch must be at least 1, not {args.batch}")
    if args.image is None:
        named = default_images(args.batch if args.images is None else args.images, *shape)
    elif args.images not in (None, 1):
        raise UserError(f"number of images must be 1 with an image file, not {args.images}")
    else:
        named = [(str(args.image), load_image(args.image, *shape))]
    return [name for name, _ in named], np.stack([pixels for _, pixels in named])


def _mask(args: Any) -> torch.Tensor | None:
    if args.mask is None:
        return None
    if args.mode != GateMode.FORCED or args.layer == ALL:
        raise UserError("a mask needs mode forced and one layer")
    try:
        with args.mask.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except _NO_ARRAY as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is of another kind, or broken"
        raise UserError(f"mask must be a readable .npy file, not {args.mask}: {reason}") from None
    if not isinstance(values, np.ndarray) or values.dtype != bool:
        found = values.dtype if isinstance(values, np.ndarray) else "an archive"
        raise UserError(f"mask must be a bool array, not {found} in {args.mask}")
    return torch.from_numpy(values)


def _names(network: IntNetwork, wanted: str) -> list[str]:
    if wanted == ALL:
        return network.names
    if wanted not in network.names:
        raise UserError(f"layer must be one of {', '.join(network.names)} or all, not {wanted!r}")
    return [wanted]


def _waves(found: Sequence[SimulatedLayer], engine: Engine, folder: Path, cycles: int) -> list[str]:
    """Record waves and return what to tell about them."""
    outcomes = [outcome for layer in found for outcome in layer.outcomes]
    window, paths = waves.record(outcomes, engine.simulators.waves(), folder, cycles)
    planned = outcomes[window.number].planned
    what = (
        f"recorded: cycles {window.first} to {window.last} of layer {planned.layer.name}, {planned.mode}, "
        f"{'stress pass' if planned.stress else f'image {planned.first_image}'}: {window.reason}"
    )
    return [what, *(f"waves: {path}" for path in paths)]


def _sum(found: Sequence[SimulatedLayer], mode: str, output: Path) -> Mapping[str, Any]:
    """Return the report of all layers together, written with the table of them."""
    results = sum_up([outcome for layer in found for outcome in layer.outcomes])
    facts = dict(found[0].report)
    summed = report.layer_report(ALL, mode, combine(list(results.values())), facts)
    reports = [layer.report for layer in found]
    report.write_report({**summed, "layers": reports}, output)
    report.write_table([*reports, summed], output / ALL)
    return summed


def _remove_reports(args: Any) -> None:
    """Remove the last run's reports, so that this one does not leave them behind, however early it fails."""
    if args.layer == ALL:
        report.remove_layer_reports(args.output)
    elif args.layer != NETWORK:  # which is no layer
        report.remove_report(args.output, args.layer)


def _default_layer(net: str | None) -> str:
    """Return the layer that is simulated if none is asked for: `DEFAULT_LAYER`, or the first where there is none."""
    names = [layer["name"] for layer in NAMED[net].plan()] if net is not None and net in NAMED else []
    return DEFAULT_LAYER if not names or DEFAULT_LAYER in names else names[0]


def _body(args: Any, command: str) -> int:
    asked = args.layer
    if asked is None:
        args.layer = _default_layer(args.net)
    _remove_reports(args)
    if not 1 <= args.waves_cycles <= waves.MAX_CYCLES:
        raise UserError(f"number of cycles to record must be 1 to {waves.MAX_CYCLES}, not {args.waves_cycles}")
    engine = Engine(args.config)
    network = chosen_network(args.checkpoint, args.net)
    if asked is None and args.layer not in network.names:
        args.layer = network.names[0]
        _remove_reports(args)
    names, images = _images(args, network)
    layers = _names(network, args.layer)
    found = engine.run_layers(
        network,
        layers,
        images,
        args.mode,
        batch=args.batch,
        masks=_mask(args),
        output=args.output,
        group=args.layer,
        names=names,
        command=command,
    )
    folder, shown = args.output / args.layer, console()
    reports = [layer.report for layer in found]
    total = _sum(found, args.mode, args.output) if args.layer == ALL else reports[0]
    verdict = Verdict()
    for layer in found:
        verdict.add(layer.verdict)
    print_layers([*reports, total] if args.layer == ALL else reports, verdict, args.mode, shown)
    lines = [f"report: {folder / 'report.json'}"]
    failures: list[str] = []  # told after the result
    passes = [outcome.planned for layer in found for outcome in layer.outcomes if not outcome.planned.stress]
    try:
        drawn = pictures.draw(passes, images, names, args.mode, reports, folder, args.layer == ALL)
        lines += [f"picture: {picture}" for picture in drawn]
    except UserError as error:
        failures.append(str(error))
    try:
        lines += _waves(found, engine, folder, args.waves_cycles) if args.waves else []
    except CdgateError as error:
        failures.append(str(error))
    for line in (*lines, in_words(total), *last_lines(total)):
        shown.print(line, soft_wrap=True, markup=False)
    for failure in failures:
        say(f"sim: {failure}")
    return 1 if not verdict.passed else 2 if failures else 0


def main(argv: list[str] | None = None) -> int:
    """Simulate what the command line says; return 0 if it passed, 1 if it failed, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "sim", *(sys.argv[1:] if argv is None else argv)])
    return run(parser.prog, lambda: _body(args, command))


if __name__ == "__main__":
    sys.exit(main())
