"""The instructions of single passes, each with those that it needs: loads, weights, parameters, the pass, stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdgate.modes import GateMode
from gen.layer.compiler import channel_parameters, gate_mode, weight_entries
from gen.layer.geometry import Geometry
from gen.layer.packing import pack
from gen.layer.places import MapPlace
from gen.layer.registers import layer_registers
from gen.network.banks import Bank, Banks
from gen.network.instruction import Instruction
from gen.network.memory_image import MemoryImage
from gen.network.program import PassInfo
from gen.network.segments import IMAGE, LayerShape, map_words
from hw.interface.instructions import ChannelParameters, Opcode, Unit, item_bytes
from hw.params import LANES, HwParams

__all__ = ["Passes"]


class Passes:
    """Notes what has to be done, pass by pass, in the order of the passes.

    Parameters
    ----------
    shapes
        All layers by name.
    params
        The engine.
    images
        Number of images.
    mode
        Gate mode.
    stored
        Names of the maps that go to memory.

    Attributes
    ----------
    instructions
        What was noted so far.
    passes
        The passes among them.
    banks
        The activation banks.
    image
        The memory, all but the program.
    """

    def __init__(
        self, shapes: Mapping[str, LayerShape], params: HwParams, images: int, mode: str, stored: Sequence[str]
    ) -> None:
        self.shapes, self.params, self.mode, self.stored = shapes, params, mode, stored
        self.instructions: list[Instruction] = []
        self.passes: list[PassInfo] = []
        self.banks = Banks()
        self.image = MemoryImage(params)
        self._reserve(images)
        # Of each half of the parameter memory: whose parameters are there, who uses them, who loaded them.
        self._halves: list[tuple[str | None, list[Instruction], list[Instruction]]] = [(None, [], []), (None, [], [])]
        self._last_half = 1
        self._stores: dict[str, list[tuple[int, int, Instruction]]] = {}  # by map: first word, stop, instruction

    def _reserve(self, images: int) -> None:
        """Lay out the memory: what the host writes, then what the engine writes."""
        params = self.params
        for name, shape in self.shapes.items():
            layer, geometry = shape.layer, shape.geometry
            if geometry.pool:  # which has neither
                continue
            conditional = self.mode != GateMode.BASE and layer.gated
            self.image.add(f"weights {name}", weight_entries(layer, geometry, params, conditional).tobytes())
            values = channel_parameters(layer, geometry)
            records = pack(ChannelParameters, {**values, "reserved": 0}, len(values["offset"]))
            self.image.add(f"parameters {name}", records.tobytes())
        first, last = list(self.shapes.values())[0], list(self.shapes.values())[-1]
        self.image.reserve("input", images * map_words(first, params)[0] * params.in_par)
        for name in self.stored:
            self.image.reserve(f"map {name}", images * map_words(self.shapes[name], params)[1] * params.in_par)
        self.image.reserve("logits", 4 * LANES * last.geometry.slices * images)

    def _note(self, opcode: Any, layer: str, needs: Sequence[Instruction], **fields: int) -> Instruction:
        instruction = Instruction(
            opcode=opcode, fields=fields, layer=layer, pass_number=len(self.passes), needs=list(needs)
        )
        self.instructions.append(instruction)
        return instruction

    def _address(self, layer: str, name: str, words: int, done: str) -> int:
        """Return the address of a word of a map."""
        offset = words * self.params.in_par
        assert offset % self.params.axi_bytes == 0, (layer, name, done, offset)  # as images and tiles are whole beats
        return self.image["input" if name == IMAGE else f"map {name}"].address + offset

    def load(self, layer: str, name: str, bank: Bank, base: int, first: int, offset: int, words: int) -> None:
        """Load a part of a map into a bank, for the next pass or one behind it, as soon as it has been stored.

        Parameters
        ----------
        layer
            Name of the layer that reads it.
        name
            Name of the map.
        bank, base
            Where it is wanted.
        first
            First image.
        offset, words
            First word, counted from the beginning of the first image, and number of words.
        """
        shape = self.shapes.get(name)
        size = map_words(self.shapes[layer], self.params)[0] if shape is None else map_words(shape, self.params)[1]
        start = first * size + offset
        stored = (store for begin, end, store in self._stores.get(name, ()) if begin < start + words and start < end)
        needs = [*bank.users, *stored]
        instruction = self._note(
            Opcode.LOAD_MAP,
            layer,
            needs,
            bank=bank.number,
            bank_addr=base,
            count=words,
            address=self._address(layer, name, start, "loaded"),
        )
        bank.users, bank.writers = [instruction], [instruction]

    def _parameters(self, layer: str) -> tuple[int, list[Instruction]]:
        """Return the half of the parameter memory with a layer's parameters, loaded if need be, and the load."""
        for half, (holder, _, loads) in enumerate(self._halves):
            if holder == layer:
                return half, loads
        half = 1 - self._last_half
        region = self.image[f"parameters {layer}"]
        load = self._note(
            Opcode.LOAD_PARAMETERS,
            layer,
            self._halves[half][1],
            address=region.address,
            count=region.size // item_bytes(Opcode.LOAD_PARAMETERS, self.params),
            bank_addr=half * self.params.param_words // 2,
        )
        self._halves[half] = layer, [load], [load]
        return half, [load]

    def compute(
        self,
        shape: LayerShape,
        geometry: Geometry,
        first: int,
        source: MapPlace,
        added: MapPlace | None,
        target: MapPlace | None,
    ) -> None:
        """Run a pass, with its weights and parameters, if it has some; and where there is no ofmap, store its logits.

        Parameters
        ----------
        shape, geometry
            The layer, and its sizes in this pass.
        first
            First image.
        source, added, target
            Where ifmap, residual and ofmap lie.
        """
        layer, name, params = shape.layer, shape.name, self.params
        half, needs = (self._last_half, []) if geometry.pool else self._parameters(name)
        if not geometry.pool:
            region = self.image[f"weights {name}"]
            self._note(
                Opcode.LOAD_WEIGHTS,
                name,
                (),
                address=region.address,
                count=region.size // item_bytes(Opcode.LOAD_WEIGHTS, params),
            )
        gate = gate_mode(layer, self.mode)
        registers = layer_registers(layer, geometry, params, gate, source, added, target, param_half=half)
        needs = list(needs)
        touched = {place.bank: self.banks[place.bank] for place in (source, added, target) if place is not None}
        for number, bank in touched.items():
            # What was written there, and, where it is overwritten, what still reads.
            needs += bank.users if target is not None and number == target.bank else bank.writers
        instruction = self._note(Opcode.POOL if geometry.pool else Opcode.COMPUTE, name, needs, **registers)
        for number, bank in touched.items():
            if target is not None and number == target.bank:  # it has waited for all the others
                bank.users, bank.writers = [instruction], [instruction]
            else:
                bank.users.append(instruction)
        if not geometry.pool:
            self._halves[half][1].append(instruction)
            self._last_half = half
        rows = (geometry.out_first_row, geometry.out_first_row + geometry.out_rows)
        if target is None:
            size = 4 * LANES * geometry.slices
            self._note(
                Opcode.STORE_LOGITS,
                name,
                (),
                address=self.image["logits"].address + first * size,
                count=geometry.images * size // (4 * params.rq_lanes),
            )
        self.passes.append(
            PassInfo(
                layer=name,
                first_image=first,
                images=geometry.images,
                rows=rows,
                geometry=geometry,
                mode=gate,
                ofmap=target,
                instruction=instruction,
            )
        )

    def store(self, shape: LayerShape, bank: Bank, first: int, offset: int, words: int) -> None:
        """Store what the last pass, or the last ones, wrote to a bank from word 0 on.

        Parameters
        ----------
        shape
            The layer whose ofmap it is.
        bank
            Where it is.
        first, offset, words
            As in `load`.
        """
        start = first * map_words(shape, self.params)[1] + offset
        needs = [instruction for instruction in bank.writers if instruction.unit is Unit.COMPUTE]
        instruction = self._note(
            Opcode.STORE_MAP,
            shape.name,
            needs,
            bank=bank.number,
            bank_addr=0,
            count=words,
            address=self._address(shape.name, shape.name, start, "stored"),
        )
        instruction.pass_number -= 1  # the pass it belongs to was noted already
        bank.users.append(instruction)
        self._stores.setdefault(shape.name, []).append((start, start + words, instruction))
