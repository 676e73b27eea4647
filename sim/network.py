"""Simulates a whole network with its memory: ``python -m sim.network --images 8``; see ``--help``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, console, run, say
from cdgate.errors import UserError
from hw.configurations import DEFAULT
from sim.engine import BUILD, Engine
from sim.plan.images import chosen_images
from sim.plan.network import RUNS
from sim.show.network_pictures import draw_network
from sim.show.report import NETWORK, remove_report
from sim.show.tables import in_words, last_lines, print_network
from sw_model.quantisation.named_networks import NAMED, chosen_network

__all__ = ["main"]

#: Where reports and the files of the runs are written.
OUTPUT = BUILD / "sim"


def _parser() -> Parser:
    parser = Parser(
        prog="sim.network",
        description="Simulate a whole network on the generated Verilog with its memory "
        "behind AXI, and compare every output, every decision and the logits with the reference.",
    )
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: 8)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="digits, or a folder of CIFAR-10, CIFAR-100 or images in train/ and val/: its test "
        "images are taken (default: photographs)",
    )
    parser.add_argument(
        "--offset", type=int, default=0, metavar="N", help="number of the first image that is taken (default: 0)"
    )
    parser.add_argument(
        "--bandwidth",
        type=int,
        default=8,
        metavar="N",
        help="bytes a cycle that the memory reads and writes together (default: 8)",
    )
    parser.add_argument(
        "--latency",
        type=int,
        default=40,
        metavar="N",
        help="cycles from an address to the first data or response (default: 40)",
    )
    parser.add_argument(
        "--runs",
        default="both",
        metavar="RUNS",
        help=f"{' or '.join(RUNS)}: gated and dense side by side, or gated alone (default: both)",
    )
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
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, metavar="DIR", help=f"folder (default: {OUTPUT})")
    return parser


def _body(args: Any, command: str) -> int:
    remove_report(args.output, NETWORK)  # the last run's, however early this one fails
    engine = Engine(args.config)
    network = chosen_network(args.checkpoint, args.net)
    names, images, labels = chosen_images(args.data, args.offset, args.images, network)
    found = engine.run(
        network,
        images,
        bandwidth=args.bandwidth,
        latency=args.latency,
        runs=args.runs,
        output=args.output,
        names=names,
        labels=labels,
        command=command,
    )
    folder, shown = args.output / NETWORK, console()
    print_network(found.report, found.verdict, shown)
    shown.print(f"report: {folder / 'report.json'}", soft_wrap=True)
    failed = None
    try:
        shown.print(f"picture: {draw_network(found.report, folder)}", soft_wrap=True)
    except UserError as error:  # told after the result
        failed = error
    for line in (in_words(found.report), *last_lines(found.report)):
        shown.print(line, soft_wrap=True, markup=False)
    if failed is not None:
        say(f"sim.network: {failed}")
    return 1 if not found.passed else 2 if failed is not None else 0


def main(argv: list[str] | None = None) -> int:
    """Simulate what the command line says; return 0 if it passed, 1 if it failed, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "sim.network", *(sys.argv[1:] if argv is None else argv)])
    return run(parser.prog, lambda: _body(args, command))


if __name__ == "__main__":
    sys.exit(main())
