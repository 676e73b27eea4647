"""Compiles a network: ``python -m gen.program`` tells about its layers and writes its program and its memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, run
from cdgate.modes import NETWORK_MODES, GateMode
from gen.cost.compilation import compile_for
from hw.configurations import DEFAULT, configuration

__all__ = ["BUILD", "main"]

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
    parser.add_argument("--net", metavar="NAME", help="an untrained network instead of a checkpoint, as lenet5")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: 8)")
    parser.add_argument(
        "--size",
        metavar="N",
        help="rows and columns of an image, 1 to 256: one number, or two as 224x192 (default: the network's, or 32)",
    )
    modes = ", ".join(NETWORK_MODES)
    parser.add_argument("--mode", default=GateMode.GATED, metavar="MODE", help=f"{modes} (default: gated)")
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
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    return parser


def _body(args: Any) -> None:
    # Imported here, as it takes long.
    from sw_model.data.photographs import photographs, size_of
    from sw_model.quantisation.named_networks import chosen_network

    config = configuration(args.config)
    size = None if args.size is None else size_of(args.size)
    network = chosen_network(args.checkpoint, args.net)
    images = photographs(args.images, size or network.image_size, network.image_channels)
    compiled = compile_for(config, network, images, args.mode, args.bandwidth, args.latency)
    paths = compiled.write(args.output)
    print(compiled.layers())
    print(*paths, sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Compile what the command line says."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run(parser.prog, lambda: _body(args))


if __name__ == "__main__":
    sys.exit(main())
