"""The network compiler: a network becomes a program for the whole engine, and an image of the memory it runs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hw.instructions import ChannelParameters, Opcode
from hw.params import LANES, HwParams

from .compiler import MODES, channel_parameters, gate_mode, layer_registers, place_map, weight_entries
from .geometry import CompileError, Geometry, measure
from .memory_image import MemoryImage, Region
from .packing import pack
from .patches import patch_map
from .program import MapPlace, Placement
from .schedule import Instruction, order, pack_instructions, tie
from .segments import IMAGE, LayerShape, Segment, cut, map_words, shapes
from .tiles import tile_rows

__all__ = ["NetworkProgram", "PassInfo", "compile_network"]

#: Activation banks.
BANKS = 4


@dataclass(frozen=True, kw_only=True)
class PassInfo:
    """One pass of a program.

    Attributes
    ----------
    layer
        Name of the layer.
    first_image, images
        What it computes.
    rows
        First row of the ofmap, and the row after the last.
    geometry
        Sizes.
    ofmap
        Where the ofmap lies; None for logits.
    instruction
        The instruction that starts it.
    """

    layer: str
    first_image: int
    images: int
    rows: tuple[int, int]
    geometry: Geometry
    ofmap: MapPlace | None
    instruction: Instruction


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkProgram:
    """A program, the memory it needs, and what there is to compare.

    Attributes
    ----------
    network
        What was compiled.
    params
        The engine.
    images
        Number of images.
    in_size
        Their rows and columns.
    mode
        Gate mode.
    instructions
        In program order.
    passes
        In the order in which they run.
    segments
        How the network was cut.
    image
        The memory.
    stored_maps
        Regions of maps that go to memory, by layer name.
    """

    network: Any
    params: HwParams
    images: int
    in_size: tuple[int, int]
    mode: str
    instructions: Sequence[Instruction]
    passes: Sequence[PassInfo]
    segments: Sequence[Segment]
    image: MemoryImage
    stored_maps: Mapping[str, Region]

    @cached_property
    def index(self) -> dict[int, int]:
        """Number of each instruction, by its identity."""
        return {id(one): n for n, one in enumerate(self.instructions)}

    def pass_index(self, number: int) -> int:
        """Return the number of the instruction that starts a pass."""
        return self.index[id(self.passes[number].instruction)]

    def packed(self) -> np.ndarray:
        """Return the instructions as they are in memory, (n, 64) uint8."""
        return pack_instructions(self.instructions, self.params)

    @property
    def store_window(self) -> tuple[int, int]:
        """First byte that stores may write, and the byte after the last."""
        written = [*self.stored_maps.values(), self.image["logits"]]
        return min(one.address for one in written), max(one.stop for one in written)

    def pack_images(self, images: np.ndarray) -> bytes:
        """Lay out raw images, (N, H, W, 3) uint8, as the first layer reads them: the host's part of the work.

        Raises
        ------
        ValueError
            If they are not what the program was compiled for.
        """
        expected = (self.images, *self.in_size, 3)
        if images.dtype != np.uint8 or images.shape != expected:
            raise ValueError(f"images must be uint8 of shape {expected}, not {images.dtype} of shape {images.shape}")
        layer = self.network.layers[0]
        patches = patch_map(layer, images.transpose(0, 3, 1, 2))
        words = -(-patches.shape[1] // self.params.in_par)
        padded = np.pad(patches, ((0, 0), (0, words * self.params.in_par - patches.shape[1]), (0, 0), (0, 0)))
        return padded.transpose(0, 2, 3, 1).tobytes()

    def unpack_logits(self, content: bytes) -> np.ndarray:
        """Return the logits (N, classes), int64, from the contents of region ``logits``.

        Records leave the engine batch by batch, of each by slice, then image.
        """
        found, at = [], 0
        values = np.frombuffer(content, dtype="<i4").astype(np.int64)
        for one in self.passes:
            if one.ofmap is None:
                shape = (one.geometry.slices, one.images, LANES)
                size = one.geometry.slices * one.images * LANES
                found.append(values[at:at + size].reshape(shape).transpose(1, 0, 2).reshape(one.images, -1))
                at += size
        return np.concatenate(found)[:, :self.network.layers[-1].out_ch]

    def unpack_map(self, name: str, content: bytes) -> np.ndarray:
        """Return a stored map, (N, channels, rows, cols) int64 codes, from the contents of its region."""
        layer = self.network.layer(name)
        rows, cols = self._sizes[name]
        words = -(-(-(-layer.out_ch // LANES) * LANES) // self.params.in_par)
        place = MapPlace(bank=0, base=0, image_step=rows * cols * words, images=self.images, rows=rows, cols=cols,
                         words=words)
        codes = np.frombuffer(content, dtype=np.uint8)[:self.images * place.image_step * self.params.in_par]
        return place.from_words(codes.reshape(-1, self.params.in_par), layer.out_ch, layer.signed)

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        return {shape.name: (shape.layer.out_size(shape.in_size[0]), shape.geometry.out_cols)
                for segment in self.segments for shape in segment.layers if not shape.classifier}


@dataclass
class _Bank:
    """What the compiler knows of a bank while it goes through the passes."""

    number: int
    holds: tuple | None = None       # name of a map, and the first image of what is there
    users: list[Instruction] = field(default_factory=list) # since the bank was last given away
    writers: list[Instruction] = field(default_factory=list)
    freed: int = -1                  # when, for the choice of the one that is free for longest


def compile_network(network: Any, params: HwParams, images: int, in_size: tuple[int, int],
                    mode: str = "gated") -> NetworkProgram:
    """Compile a whole network for a number of images.

    Parameters
    ----------
    network
        An `sw_model.int_model.IntNetwork`.
    params
        The engine.
    images
        Images that one run computes.
    in_size
        Rows and columns of an image.
    mode
        "gated" (by slice or by channel, as each layer's slice_size says), "dense" or "base".

    Raises
    ------
    CompileError
        If a layer breaks the shape rule or does not fit the engine.
    """
    if mode not in MODES or mode == "forced":
        raise CompileError(f"network: mode must be one of {', '.join(set(MODES) - {'forced'})}, not {mode}")
    if images < 1:
        raise CompileError(f"network: images must be at least 1, not {images}")
    found = shapes(network, params, in_size)
    segments = cut(found, params, images)
    return _Compiler(network, params, images, in_size, mode, found, segments).compile()


class _Compiler:
    """Goes through a network pass by pass and notes instructions with what they need."""

    def __init__(self, network: Any, params: HwParams, images: int, in_size: tuple[int, int], mode: str,
                 found: Sequence[LayerShape], segments: Sequence[Segment]):
        self.network, self.params, self.images, self.in_size, self.mode = network, params, images, in_size, mode
        self.segments = segments
        self.shapes = {shape.name: shape for shape in found}
        self.image = MemoryImage(params)
        self.instructions: list[Instruction] = []
        self.passes: list[PassInfo] = []
        self.banks = [_Bank(n) for n in range(BANKS)]
        self.halves: list[tuple[str | None, list[Instruction], Instruction | None]] = [(None, [], None)] * 2
        self.last_half = 1
        self.stores: dict[str, list[tuple[int, int, Instruction]]] = {} # by map: first image, stop, instruction
        self.clock = 0

    # Memory.

    def _reserve(self) -> None:
        """Lay out the memory: what the host writes, then what the engine writes."""
        params = self.params
        for name, shape in self.shapes.items():
            layer, geometry = shape.layer, shape.geometry
            conditional = self.mode != "base" and layer.gated
            entries = weight_entries(layer, geometry, params, conditional=conditional)
            self.image.add(f"weights {name}", entries.tobytes())
            values = channel_parameters(layer, geometry)
            records = pack(ChannelParameters, {**values, "reserved": 0}, len(values["offset"]))
            self.image.add(f"parameters {name}", records.tobytes())
        first = self.shapes[self.network.layers[0].name]
        self.image.reserve("input", self.images * map_words(first)[0] * params.in_par)
        self.stored = [name for name in self.shapes if self._read_later(name)]
        for name in self.stored:
            self.image.reserve(f"map {name}", self.images * map_words(self.shapes[name])[1] * params.in_par)
        last = next(shape for shape in self.shapes.values() if shape.classifier)
        self.image.reserve("logits", 4 * LANES * last.geometry.slices * self.images)

    def _read_later(self, name: str) -> bool:
        """Tell whether a map is read in another segment than the one that computes it."""
        home = next(segment for segment in self.segments if segment.makes(name))
        return any(name in (shape.layer.input, shape.layer.residual)
                   for segment in self.segments for shape in segment.layers if segment is not home or segment.tiled)

    def _source(self, name: str) -> Region:
        return self.image["input" if name == IMAGE else f"map {name}"]

    # Instructions.

    def _emit(self, opcode: Any, layer: str, needs: Sequence[Instruction], **fields: int) -> Instruction:
        one = Instruction(opcode=opcode, fields=fields, layer=layer, pass_number=len(self.passes), needs=list(needs))
        self.instructions.append(one)
        return one

    def _take_bank(self) -> _Bank:
        """Return the bank that has been free for longest."""
        free = [bank for bank in self.banks if bank.holds is None]
        if not free:
            raise AssertionError("no bank is free")
        return min(free, key=lambda bank: bank.freed)

    def _release(self, bank: _Bank) -> None:
        self.clock += 1
        bank.holds, bank.freed = None, self.clock

    def _load(self, layer: str, name: str, bank: _Bank, base: int, first: int, offset: int, words: int,
              images: int) -> Instruction:
        """Load ``words`` from word ``offset`` of a map's image ``first`` on."""
        region = self._source(name)
        shape = self.shapes.get(name)
        size = map_words(self.shapes[layer])[0] if shape is None else map_words(shape)[1]
        needs = [*bank.users, *(store for start, stop, store in self.stores.get(name, ())
                                if start < first + images and first < stop)]
        one = self._emit(Opcode.LOAD_MAP, layer, needs, bank=bank.number, bank_addr=base, count=words,
                         address=region.address + (first * size + offset) * self.params.in_par)
        bank.users = [one]
        bank.writers = [one]
        return one

    def _parameters(self, layer: str) -> tuple[int, Instruction | None]:
        """Return the half of the parameter memory that holds a layer's parameters, loaded if need be."""
        for half, (holder, _, load) in enumerate(self.halves):
            if holder == layer:
                return half, load
        half = 1 - self.last_half
        _, users, _ = self.halves[half]
        region = self.image[f"parameters {layer}"]
        load = self._emit(Opcode.LOAD_PARAMETERS, layer, users, address=region.address,
                          count=region.size // self.params.param_record_bytes,
                          bank_addr=half * self.params.param_words // 2)
        self.halves[half] = layer, [load], load
        return half, load

    def _compute(self, shape: LayerShape, geometry: Geometry, first: int, source: MapPlace, added: MapPlace | None,
                 target: MapPlace | None) -> Instruction:
        """Run a pass: weights, parameters, and the pass itself."""
        layer, name = shape.layer, shape.name
        half, load = self._parameters(name)
        region = self.image[f"weights {name}"]
        self._emit(Opcode.LOAD_WEIGHTS, name, (), address=region.address,
                   count=region.size // (LANES * self.params.in_par))
        gate = gate_mode(layer, self.mode)
        registers = {**layer_registers(layer, geometry, self.params, gate, source, added, target), "param_half": half}
        needs = [load] if load is not None else []
        touched = [self.banks[place.bank] for place in (source, added, target) if place is not None]
        for bank in touched:
            # What was written there, and, where it is overwritten, what still reads.
            needs += bank.users if target is not None and bank.number == target.bank else bank.writers
        one = self._emit(Opcode.COMPUTE, name, [need for need in needs if need.opcode is not Opcode.COMPUTE],
                         **registers)
        for bank in touched:
            bank.users.append(one)
        if target is not None:
            self.banks[target.bank].writers.append(one)
        holder, users, loaded = self.halves[half]
        self.halves[half] = holder, [*users, one], loaded
        self.last_half = half
        rows = (geometry.out_first_row, geometry.out_first_row + geometry.out_rows)
        self.passes.append(PassInfo(layer=name, first_image=first, images=geometry.images, rows=rows,
                                    geometry=geometry, ofmap=target, instruction=one))
        if target is None:
            size = 4 * LANES * geometry.slices
            store = self._emit(Opcode.STORE_LOGITS, name, (), address=self.image["logits"].address + first * size,
                               count=geometry.images * size // (4 * self.params.rq_lanes))
            store.pass_number -= 1
        return one

    def _store(self, shape: LayerShape, bank: _Bank, base: int, first: int, images: int, offset: int,
               words: int) -> None:
        """Store ``words`` from ``base`` of a bank to word ``offset`` of a map's image ``first``."""
        size = map_words(shape)[1]
        region = self.image[f"map {shape.name}"]
        needs = [one for one in bank.writers if one.opcode is Opcode.COMPUTE]
        one = self._emit(Opcode.STORE_MAP, shape.name, needs, bank=bank.number, bank_addr=base, count=words,
                         address=region.address + (first * size + offset) * self.params.in_par)
        one.pass_number -= 1
        bank.users.append(one)
        self.stores.setdefault(shape.name, []).append((first, first + images, one))

    # Segments.

    def compile(self) -> NetworkProgram:
        """Return the program."""
        self._reserve()
        for segment in self.segments:
            if segment.tiled:
                for image in range(self.images):
                    self._tiles(segment.layers[0], image)
            else:
                for first in range(0, self.images, segment.batch):
                    self._batch(segment, first, min(segment.batch, self.images - first))
        program = order(self.instructions)
        tie(program)
        self.image.add("program", pack_instructions(program, self.params).tobytes())
        stored = {name: self.image[f"map {name}"] for name in self.stored}
        return NetworkProgram(network=self.network, params=self.params, images=self.images, in_size=self.in_size,
                              mode=self.mode, instructions=program, passes=self.passes, segments=self.segments,
                              image=self.image, stored_maps=stored)

    def _batch(self, segment: Segment, first: int, images: int) -> None:
        """Compute a segment's layers for some images, keeping all maps in the banks."""
        homes: dict[str, _Bank] = {}
        for run in _runs(segment):
            source = run[0].layer.input
            inside = source in homes
            size = map_words(run[0])[0]
            step = images if inside else min(images, self.params.bank_words // size)
            for start in range(0, images, step):
                count = min(step, images - start)
                if inside:
                    bank = homes[source]
                else:
                    bank = self._take_bank()
                    bank.holds = source, first + start
                    self._load(run[0].name, source, bank, 0, first + start, 0, count * size, count)
                for shape in run:
                    self._pass(segment, shape, homes, bank, first, start, count, images)
                if not inside:
                    self._release(bank)
            for shape in run:
                self._finish(segment, shape, homes, first, images)

    def _pass(self, segment: Segment, shape: LayerShape, homes: dict[str, _Bank], bank: _Bank, first: int, start: int,
              count: int, images: int) -> None:
        layer, params = shape.layer, self.params
        geometry = measure(layer, params, count, *shape.in_size)
        size = map_words(shape)
        source = place_map(layer, "ifmap", Placement(bank=bank.number), geometry.in_rows, geometry.in_cols,
                           geometry.in_words, geometry, params)
        target = added = None
        if not shape.classifier:
            sizes = (geometry.out_rows, geometry.out_cols, geometry.out_words, geometry, params)
            residual = layer.residual
            if shape.name not in homes:
                if residual in homes and not self._needed(segment, residual, shape.name):
                    homes[shape.name] = homes.pop(residual) # the ofmap takes the residual's place
                else:
                    homes[shape.name] = self._take_bank()
                homes[shape.name].holds = shape.name, first
            home = homes[shape.name]
            base = start * size[1]
            target = place_map(layer, "ofmap", Placement(bank=home.number, base=base), *sizes)
            if residual is not None:
                beside = homes.get(residual, home) # where it is needed on, it keeps a place of its own
                added = place_map(layer, "residual", Placement(bank=beside.number, base=base), *sizes)
                if not segment.makes(residual):
                    self._load(shape.name, residual, home, base, first + start, 0, count * size[1], count)
        self._compute(shape, geometry, first + start, source, added, target)

    def _needed(self, segment: Segment, name: str, reader: str) -> bool:
        """Tell whether a layer of the segment behind ``reader`` reads a map, or a later segment does."""
        names = [shape.name for shape in segment.layers]
        rest = segment.layers[names.index(reader) + 1:]
        return name in self.stored or any(name in (one.layer.input, one.layer.residual) for one in rest)

    def _finish(self, segment: Segment, shape: LayerShape, homes: dict[str, _Bank], first: int, images: int) -> None:
        """Store a layer's ofmap if it is read elsewhere, and give back the banks that nobody needs any more."""
        if shape.name in self.stored:
            self._store(shape, homes[shape.name], 0, first, images, 0, images * map_words(shape)[1])
        names = [one.name for one in segment.layers]
        rest = segment.layers[names.index(shape.name) + 1:]
        for name in list(homes):
            if not any(name in (one.layer.input, one.layer.residual) for one in rest):
                if name == shape.name or name in (shape.layer.input, shape.layer.residual):
                    self._release(homes.pop(name))

    def _tiles(self, shape: LayerShape, image: int) -> None:
        """Compute a layer for one image in tiles of rows, from memory to memory."""
        layer, params = shape.layer, self.params
        for rows in tile_rows(layer, params, *shape.in_size):
            geometry = measure(layer, params, 1, *shape.in_size, rows)
            in_row = geometry.in_cols * geometry.in_words
            out_row = geometry.out_cols * geometry.out_words
            bank = self._take_bank()
            bank.holds = layer.input, image
            self._load(shape.name, layer.input, bank, 0, image, geometry.in_first_row * in_row,
                       geometry.in_rows * in_row, 1)
            home = self._take_bank()
            home.holds = shape.name, image
            source = place_map(layer, "ifmap", Placement(bank=bank.number), geometry.in_rows, geometry.in_cols,
                               geometry.in_words, geometry, params)
            target = place_map(layer, "ofmap", Placement(bank=home.number), geometry.out_rows, geometry.out_cols,
                               geometry.out_words, geometry, params)
            added = None
            if layer.residual is not None:
                added = target
                self._load(shape.name, layer.residual, home, 0, image, rows[0] * out_row,
                           geometry.out_rows * out_row, 1)
            self._compute(shape, geometry, image, source, added, target)
            self._store(shape, home, 0, image, 1, rows[0] * out_row, geometry.out_rows * out_row)
            self._release(bank)
            self._release(home)


def _runs(segment: Segment) -> Iterator[list[LayerShape]]:
    """Yield layers that are computed together for a part of the batch: those that read the same map from memory."""
    run: list[LayerShape] = []
    for shape in segment.layers:
        if run and (shape.layer.input != run[0].layer.input or segment.makes(shape.layer.input)):
            yield run
            run = []
        run.append(shape)
    yield run
