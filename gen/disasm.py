"""Prints programs of the engine: ``python -m gen.disasm FILE``, or of a network ``--checkpoint PATH``.

``--output FILE`` writes the same as JSON, with all fields.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cdgate.cli import Parser, run
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from cdgate.modes import NETWORK_MODES
from gen.layer.packing import pack, unpack
from gen.network.compiler import compile_network
from gen.network.instruction import UNITS
from gen.network.program import NetworkProgram
from hw.configurations import DEFAULT, configuration
from hw.interface.instructions import BODY_OFFSET, INSTRUCTION_BYTES, PASSES, UNIT_OF, Header, Opcode, Transfer
from hw.interface.layouts import GateMode, LayerRegisters
from hw.params import HwParams

__all__ = ["Decoded", "decode", "disassemble", "main", "purposes"]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An instruction, taken apart.

    Attributes
    ----------
    opcode
        A `hw.interface.instructions.Opcode`; None if there is none of that number, or if a bit is set that no field
        takes.
    number
        The opcode's number, whether or not it is one.
    take, give
        Names of units with which tokens are exchanged.
    fields
        Values of `hw.interface.instructions.Transfer`, or of the layer's registers where it runs a pass; empty if it is
        none.
    word
        Its bytes.
    """

    opcode: Any
    number: int
    take: tuple[str, ...]
    give: tuple[str, ...]
    fields: Mapping[str, int]
    word: bytes


def decode(words: np.ndarray, params: HwParams) -> list[Decoded]:
    """Take a program apart; the inverse of `gen.network.instruction.pack_instructions`.

    Parameters
    ----------
    words
        (n, 64) uint8.
    params
        The engine.
    """
    known: dict[int, Any] = {opcode.value: opcode for opcode in _members(Opcode)}
    found = []
    for word in words:
        header = unpack(Header, word[None, : BODY_OFFSET // 8])
        number = int(header["opcode"][0])
        opcode = known.get(number)
        layout = LayerRegisters(params) if opcode in PASSES else Transfer
        fields = {name: int(value[0]) for name, value in unpack(layout, word[None, BODY_OFFSET // 8 :]).items()}
        if opcode is None or not np.array_equal(_packed(header, layout, fields), word):
            opcode, fields = None, {}
        take, give = (tuple(name for name in UNITS.values() if header[way][name][0]) for way in ("take", "give"))
        found.append(Decoded(opcode=opcode, number=number, take=take, give=give, fields=fields, word=word.tobytes()))
    return found


def disassemble(words: np.ndarray, params: HwParams, registers: bool = False) -> Iterator[str]:
    """Yield the text of each instruction.

    Parameters
    ----------
    words
        (n, 64) uint8.
    params
        The engine.
    registers
        Show all registers of a pass, each instruction then has several lines.

    Yields
    ------
    str
        For each instruction its opcode, tokens and operands; or that it is none, with its bytes.
    """
    for instruction in decode(words, params):
        if instruction.opcode is None:
            yield f"not an instruction: {instruction.word.hex()}"
            continue
        computes = instruction.opcode in PASSES
        exchanged = ("take", instruction.take), ("give", instruction.give)
        tokens = " ".join(f"{way} {'+'.join(names)}" for way, names in exchanged if names)
        text = _layer(instruction.fields) if computes else _transfer(instruction.opcode, instruction.fields)
        line = f"{instruction.opcode.name:<15} {tokens:<37} {text}"
        if registers and computes:
            line += "".join(f"\n{'':24}{name} = {value}" for name, value in instruction.fields.items())
        yield line


def _members(enum: Any) -> Iterator[Any]:
    yield from enum


def _packed(header: Mapping[str, Any], layout: Any, body: Mapping[str, int]) -> np.ndarray:
    """Return the bytes of an instruction that has only what its fields say."""
    word = np.zeros(INSTRUCTION_BYTES, dtype=np.uint8)
    parts = pack(Header, header, 1)[0], pack(layout, body, 1)[0]
    word[: len(parts[0])] = parts[0]
    word[BODY_OFFSET // 8 : BODY_OFFSET // 8 + len(parts[1])] = parts[1]
    return word


def _transfer(opcode: Any, body: Mapping[str, int]) -> str:
    names: dict[Any, str] = {
        Opcode.LOAD_MAP: "words",
        Opcode.STORE_MAP: "words",
        Opcode.LOAD_PARAMETERS: "parameter words",
        Opcode.LOAD_WEIGHTS: "ring entries",
        Opcode.STORE_LOGITS: "logit records",
    }
    memory = f"{body['address']:#010x}"
    bank = f"bank {body['bank']} at {body['bank_addr']}"
    sides: dict[Any, str] = {
        Opcode.LOAD_MAP: f"from {memory} to {bank}",
        Opcode.STORE_MAP: f"from {bank} to {memory}",
        Opcode.LOAD_PARAMETERS: f"from {memory} to {body['bank_addr']}",
        Opcode.LOAD_WEIGHTS: f"from {memory}",
        Opcode.STORE_LOGITS: f"to {memory}",
    }
    return f"{body['count']} {names[opcode]} {sides[opcode]}"


def _layer(body: Mapping[str, int]) -> str:
    counts = {name.removesuffix("_last"): value + 1 for name, value in body.items() if name.endswith("_last")}
    modes: dict[int, Any] = {mode.value: mode for mode in _members(GateMode)}
    mode = modes[body["mode"]].name.lower() if body["mode"] in modes else f"mode {body['mode']}"
    cond, pools = body["cond_tap_entries"], body["pool"]
    parts = [
        *(() if pools else (mode,)),
        f"{counts['image']} image{'s' if counts['image'] > 1 else ''}",
        f"{counts['slice']} slices",
        f"{counts['row']}x{counts['col']} pixels",
        f"{counts['tap_row']}x{counts['tap_col']} taps",
        *(() if pools else (f"{body['base_tap_entries']}{f'+{cond}' if cond else ''} chunks",)),
        f"ifmap bank {body['ifmap_bank']} at {body['ifmap_base']}",
    ]
    if body["residual_enable"]:
        parts.append(f"residual bank {body['residual_bank']} at {body['residual_base']}")
    parts.append("logits" if body["logits"] else f"ofmap bank {body['ofmap_bank']} at {body['ofmap_base']}")
    return ", ".join(parts if pools else [*parts, f"parameters of half {body['param_half']}"])


def purposes(program: NetworkProgram) -> list[str]:
    """Return what each instruction of a compiled network is for."""
    passes = {id(info.instruction): (number, info) for number, info in enumerate(program.passes)}
    found = []
    for instruction in program.instructions:
        if instruction.opcode in PASSES:
            number, info = passes[id(instruction)]
            whole = info.ofmap is None or info.rows == (0, program.map_sizes[instruction.layer][0])
            rows = "" if whole else f", rows {info.rows[0]} to {info.rows[1] - 1}"
            last = info.first_image + info.images - 1
            images = f"image {last}" if info.images == 1 else f"images {info.first_image} to {last}"
            found.append(f"pass {number}: {instruction.layer}, {images}{rows}")
            continue
        address = instruction.fields["address"]
        region = next(region for region in program.image if region.address <= address < region.stop)
        offset = f" + {address - region.address:#x}" if address > region.address else ""
        found.append(f"{region.name}{offset}")
    return found


def _facts(decoded: Sequence[Decoded], notes: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Yield what the JSON file says about each instruction."""
    units: dict[Any, Any] = UNIT_OF
    for n, instruction in enumerate(decoded):
        facts: dict[str, Any] = {"index": n, "opcode": None if instruction.opcode is None else instruction.opcode.name}
        if instruction.opcode is None:
            facts |= {"number": instruction.number, "bytes": instruction.word.hex()}
        else:
            facts |= {
                "unit": units[instruction.opcode].name.lower(),
                "take": instruction.take,
                "give": instruction.give,
                "fields": instruction.fields,
            }
        if notes is not None:
            facts["purpose"] = notes[n]
        yield facts


def _parser() -> Parser:
    parser = Parser(
        prog="gen.disasm",
        description="Print the instructions of a program: of a file that has nothing "
        "but instructions, or of a network that is compiled for it.",
    )
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="file of instructions")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="checkpoint of a quantised network (default, without FILE: that of the repository)",
    )
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: 8)")
    parser.add_argument("--net", metavar="NAME", help="an untrained network instead of a checkpoint, as lenet5")
    parser.add_argument(
        "--size",
        metavar="N",
        help="rows and columns of an image, 1 to 256: one number, or two as 224x192 (default: the network's, or 32)",
    )
    parser.add_argument("--mode", default="gated", metavar="MODE", help=f"{', '.join(NETWORK_MODES)} (default: gated)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("--registers", action="store_true", help="show all registers of a pass")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON with all fields (default: none)")
    return parser


def _of_file(path: Path) -> np.ndarray:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) % INSTRUCTION_BYTES:
        raise UserError(f"{path} must have a multiple of {INSTRUCTION_BYTES} bytes, not {len(content)}")
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, INSTRUCTION_BYTES)


def _of_network(args: Any, params: HwParams) -> NetworkProgram:
    # Imported here, as it takes long and a file needs it not.
    from sw_model.data.photographs import size_of
    from sw_model.quantisation.named_networks import chosen_network

    size = None if args.size is None else size_of(args.size)
    network = chosen_network(args.checkpoint, args.net)
    return compile_network(network, params, args.images, size or network.image_size, args.mode)


def main(argv: list[str] | None = None) -> int:
    """Print a program."""
    parser = _parser()
    args = parser.parse_args(argv)

    def body() -> None:
        config = configuration(args.config)
        params = config.params
        if args.file is not None and (args.checkpoint is not None or args.net is not None):
            raise UserError("either FILE or a network must be given, not both")
        if args.file is not None:
            words, notes = _of_file(args.file), None
        else:
            program = _of_network(args, params)
            words, notes = program.packed(), purposes(program)
        if args.output is not None:
            facts = {"schema": 1, "config": config.name, "instructions": list(_facts(decode(words, params), notes))}
            write_if_changed(args.output, json.dumps(facts, indent=1) + "\n")
        for n, text in enumerate(disassemble(words, params, args.registers)):
            first, *rest = text.split("\n")
            print(f"{n:5}  {first}" if notes is None else f"{n:5}  {first}  ; {notes[n]}", *rest, sep="\n")

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
