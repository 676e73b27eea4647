"""The network compiler: a network becomes a program for the whole engine, and an image of the memory it runs in.

``python -m gen.program`` compiles a checkpoint and tells about it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cdgate.cli import Parser, run
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from gen.config import DEFAULT, config
from gen.network.compiler import MODES, compile_network
from gen.network.program import PassInfo

__all__ = ["BUILD", "PassInfo", "main"]

#: Where `main` writes program, memory and facts.
BUILD = Path("build/network")


def _parser() -> Parser:
    parser = Parser(
        prog="gen.program",
        description="Compile a network: print its layers with their tiles, bytes and "
        "predicted cycles, and write its program, and its memory with the photographs that come with "
        "scikit-image as input.",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="checkpoint of the quantised network (default: that of the repository)",
    )
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: 8)")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="rows and columns of an image (default: 32)")
    parser.add_argument("--mode", default="gated", metavar="MODE", help=f"{', '.join(MODES)} (default: gated)")
    parser.add_argument(
        "--bandwidth",
        type=float,
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
    parser.add_argument("--config", default=DEFAULT, metavar="NAME", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    return parser


def _body(args: Any) -> None:
    # Imported here, as they build on this module or take long.
    from cdgate.errors import CheckpointError, ImageError
    from gen.cost.cycle_model import predict
    from gen.cost.layer_rows import layer_rows, layer_table
    from gen.cost.steps import slice_steps
    from sw_model.data.photographs import default_images
    from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load

    if not (0 < args.bandwidth < math.inf and args.latency > 0 and args.size > 0):
        raise UserError("bandwidth, latency and size must be more than 0, and finite")
    params = config(args.config)
    try:
        network = load(args.checkpoint or DEFAULT_CHECKPOINT)
        images = np.stack([pixels for _, pixels in default_images(args.images, args.size)])
    except (CheckpointError, ImageError) as error:
        raise UserError(str(error)) from None
    program = compile_network(network, params, args.images, (args.size, args.size), args.mode)
    decisions = None
    if args.mode in ("gated", "channel"):
        taps = network.run(images, "gated").taps
        decisions = {name: tap.decision.numpy() for name, tap in taps.items() if tap.decision is not None}
    steps = slice_steps(program, decisions)
    prediction = predict(program, steps, args.bandwidth, args.latency)
    rows = layer_rows(program, steps, prediction)
    memory = bytearray(program.image.size)
    for region in program.image:
        content = program.pack_images(images) if region.name == "input" else region.content
        if content is not None:
            assert len(content) == region.size, region.name  # else everything behind it would move
            memory[region.address : region.stop] = content
    facts = {
        "schema": 1,
        "config": args.config,
        "mode": args.mode,
        "images": args.images,
        "in_size": program.in_size,
        "program": {"address": program.image["program"].address, "instructions": len(program.instructions)},
        "store_window": program.store_window,
        "memory_bytes": program.memory_bytes,
        "regions": [{"name": one.name, "address": one.address, "size": one.size} for one in program.image],
        "memory": {"bytes_per_cycle_limit": args.bandwidth, "latency_cycles": args.latency},
        "predicted_cycles": prediction.cycles,
        "layers": [dataclasses.asdict(row) for row in rows],
        "passes": [
            {
                "layer": one.layer,
                "instruction": program.pass_index(n),
                "first_image": one.first_image,
                "images": one.images,
                "rows": one.rows,
            }
            for n, one in enumerate(program.passes)
        ],
    }
    # Last the file that tells about the others.
    write_if_changed(args.output / "program.bin", program.packed().tobytes())
    write_if_changed(args.output / "memory.bin", bytes(memory))
    write_if_changed(args.output / "network.json", json.dumps(facts, indent=1) + "\n")
    title = (
        f"{args.config}, {args.mode}, {args.images} image(s), memory of {args.bandwidth:g} bytes a cycle, latency "
        f"{args.latency} cycles: {len(program.instructions)} instructions, {prediction.cycles:,} cycles"
    )
    Console(width=None if sys.stdout.isatty() else 180).print(layer_table(rows, title, program.images))
    print(*(args.output / name for name in ("program.bin", "memory.bin", "network.json")), sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Compile what the command line says."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run(parser.prog, lambda: _body(args))


if __name__ == "__main__":
    sys.exit(main())
