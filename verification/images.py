"""Whole images through the second implementation: ``python -m verification.images --data FOLDER --images 300``.

The compiled program of a network is executed by the interpreter of `verification.independent`, which is written from
the documents and shares no arithmetic with the golden model; every ofmap, decision and logit is compared with it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import UserError
from cdgate.files import write_json
from cdgate.modes import GateMode
from gen.network.compiler import compile_network
from gen.network.gating import for_engine
from gen.network.program import NetworkProgram
from hw.configurations import DEFAULT, configuration
from hw.params import HwParams
from sim.plan.images import chosen_images
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.named_networks import NAMED, chosen_network
from verification.independent.decoded_program import ProgramError
from verification.independent.execution import Difference, check

__all__ = ["compare_images", "compiled", "main"]

#: Where the report is written.
OUTPUT = Path("build/verification/images")

#: Modes that both implementations know.
MODES = (GateMode.GATED, GateMode.DENSE, GateMode.BASE)

#: Seconds between two lines about the progress.
_INTERVAL = 5.0


def compiled(network: IntNetwork, params: HwParams, images: Any, mode: str, batch: int) -> dict[int, NetworkProgram]:
    """Return the programs that run images, by the number of images of each.

    Parameters
    ----------
    network, params
        The golden model, and the engine that it is compiled for.
    images
        (N, rows, columns, 3) uint8.
    mode
        One of `MODES`.
    batch
        Images in one program.

    Raises
    ------
    CompileError
        If the engine cannot run the network.
    """
    counts = {min(batch, len(images) - first) for first in range(0, len(images), batch)}
    return {count: compile_network(network, params, count, images.shape[1:3], mode) for count in counts}


def compare_images(programs: Mapping[int, NetworkProgram], images: Any, batch: int) -> tuple[dict[str, int], list[str]]:
    """Run images through both implementations, and compare all that they compute.

    Parameters
    ----------
    programs, images, batch
        Those, see `compiled`.

    Returns
    -------
    dict[str, int], list[str]
        Counts of "images", "outputs" (codes and logits) and "decisions" that were equal; what differs, a line for each
        program in which anything does.
    """
    counts, findings = dict.fromkeys(("images", "outputs", "decisions"), 0), []
    start = told = time.monotonic()
    for first in range(0, len(images), batch):
        part = images[first : first + batch]
        try:
            engine = check(programs[len(part)], part)
        except (Difference, ProgramError) as error:
            findings.append(f"images {first} to {first + len(part) - 1}: {error}")
            continue
        counts["images"] += len(part)
        for _, done in engine.passes:
            counts["outputs"] += sum(len(record) for record in done.logits)
            counts["outputs"] += 0 if done.written is None else done.written[2].size
            counts["decisions"] += sum(decision[..., 0].size for decision in done.decisions)
        now, ended = time.monotonic(), first + len(part)
        if now - told >= _INTERVAL:
            told = now
            left = (now - start) * (len(images) - ended) / ended
            say(f"{ended} of {len(images)} images in {now - start:.0f} s, about {left:.0f} s left")
    return counts, findings


def _parser() -> Parser:
    parser = Parser(
        prog="verification.images",
        description="Run images through the second implementation of the golden model, which executes compiled "
        "programs, and compare every output, every decision and the logits.",
    )
    add = parser.add_argument
    add("--images", type=int, default=8, metavar="N", help="number of images (default: %(default)s)")
    add("--data", metavar="DIR", help="digits, or a folder of CIFAR-10, CIFAR-100 or images in train/ and val/")
    add("--offset", type=int, default=0, metavar="N", help="number of the first image (default: %(default)s)")
    add("--batch", type=int, default=8, metavar="N", help="images in one program (default: %(default)s)")
    add("--mode", default=GateMode.GATED, metavar="MODE", help=f"{', '.join(MODES)} (default: %(default)s)")
    add("--config", default=DEFAULT, metavar="NAME|FILE", help="configuration (default: %(default)s)")
    add("--checkpoint", type=Path, metavar="PATH", help="of the quantised network (default: that of the repository)")
    add("--net", metavar="NAME", help=f"an untrained network instead of a checkpoint: {', '.join(NAMED)}")
    add("-o", "--output", type=Path, default=OUTPUT, metavar="DIR", help="folder (default: %(default)s)")
    return parser


def _body(args: Any) -> int:
    if args.mode not in MODES:
        raise UserError(f"mode must be one of {', '.join(MODES)}, not {args.mode!r}")
    if args.batch < 1:
        raise UserError(f"batch must be at least 1, not {args.batch}")
    config = configuration(args.config)
    network = for_engine(chosen_network(args.checkpoint, args.net), config.params, args.mode)
    names, images, _ = chosen_images(args.data, args.offset, args.images, network)
    start = time.monotonic()
    programs = compiled(network, config.params, images, args.mode, args.batch)
    path = args.output / "report.json"
    path.unlink(missing_ok=True)
    counts, findings = compare_images(programs, images, args.batch)
    seconds = round(time.monotonic() - start, 1)
    verdict = f"fail: {len(findings)} programs differ" if findings else "pass"
    write_json(
        path,
        {
            "schema": 1,
            "config": config.name,
            "gate_mode": args.mode,
            "checkpoint_sha256": network.digest,
            "first_image": names[0],
            "last_image": names[-1],
            **counts,
            "findings": findings,
            "wall_seconds": seconds,
            "verdict": verdict,
        },
    )
    shown = console()
    rows = table("images", "equal", "number")
    for name, count in counts.items():
        rows.add_row(name, f"{count:,}")
    shown.print(rows)
    for line in (
        f"{config.name}, {args.mode}: {names[0]} to {names[-1]}",
        *findings,
        f"{seconds} s",
        f"report: {path}",
        f"verdict: {verdict}",
    ):
        shown.print(line, soft_wrap=True, markup=False)
    return 1 if findings else 0


def main(argv: list[str] | None = None) -> int:
    """Compare what the command line says; return 0 if all is equal, 1 if not, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run(parser.prog, lambda: _body(args))


if __name__ == "__main__":
    sys.exit(main())
