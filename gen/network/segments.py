"""Cuts a network into segments: runs of layers whose maps stay in the activation banks.

Every fetch of a layer's weights serves as many images as are computed in one pass, so a segment computes as many
images as fit a bank together. Where that number changes from a layer to the next, as it does between the stages of a
ResNet, a segment ends: its last map goes to memory and comes back in batches that fill a bank again. Maps of which not
even one image fits a bank are computed in tiles of rows, from memory to memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdgate.errors import CompileError
from gen.layer.geometry import Geometry
from gen.layer.protocol import Layer, Network
from gen.layer.shape_rules import check_ring, measure
from hw.params import BANKS, HwParams

__all__ = ["IMAGE", "LayerShape", "Segment", "cut", "map_words", "shapes", "stored_maps"]

#: Name of the network's input where a layer's input is meant.
IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """A layer and the sizes of its maps, each for one image.

    Attributes
    ----------
    layer
        An `sw_model.integer.network.IntLayer`.
    geometry
        Of one image in one piece.
    in_size
        Rows and columns of what it reads, before any rearrangement into patches.
    """

    layer: Layer
    geometry: Geometry
    in_size: tuple[int, int]

    @property
    def name(self) -> str:
        """Name of the layer, and of its ofmap."""
        return str(self.layer.name)

    @property
    def classifier(self) -> bool:
        """Whether it gives logits instead of a map."""
        return bool(self.geometry.hold)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Layers that are computed together.

    Attributes
    ----------
    layers
        In execution order.
    batch
        Images that are computed together; 0 if the layer (there is only one then) is computed in tiles of rows.
    """

    layers: tuple[LayerShape, ...]
    batch: int

    @property
    def tiled(self) -> bool:
        """Whether its maps are too large for a bank."""
        return self.batch == 0

    def makes(self, name: str) -> bool:
        """Tell whether a map is computed here."""
        return any(shape.name == name for shape in self.layers)


def shapes(network: Network, params: HwParams, in_size: tuple[int, int]) -> list[LayerShape]:
    """Measure every layer for one image of ``in_size`` rows and columns.

    Raises
    ------
    CompileError
        If a layer breaks the shape rule or a limit.
    """
    sizes, found = {IMAGE: in_size}, []
    for layer in network.layers:
        rows, cols = sizes[layer.input]
        # A map that is too high for the engine may still be computed in tiles.
        whole = None if layer.kind == "fc" or layer.out_size(rows) <= params.max_map else (0, params.max_map)
        geometry = measure(layer, params, 1, rows, cols, whole)
        check_ring(layer, geometry, params)
        found.append(LayerShape(layer=layer, geometry=geometry, in_size=(rows, cols)))
        if layer.kind != "fc":
            sizes[layer.name] = layer.out_size(rows), layer.out_size(cols)
        if layer.residual is not None and sizes[layer.residual] != sizes[layer.name]:
            (out_rows, out_cols), (added_rows, added_cols) = sizes[layer.name], sizes[layer.residual]
            raise CompileError(
                f"layer {layer.name}: residual must have the ofmap's {out_rows}x{out_cols} pixels, not "
                f"{added_rows}x{added_cols}"
            )
    return found


def map_words(shape: LayerShape, params: HwParams) -> tuple[int, int]:
    """Return the words from an image of a layer's ifmap to the next, and the same of its ofmap, in banks and memory.

    They are those of all its rows, and as many more as make whole beats of the bus, at which transfers have to start.
    """
    beat = max(1, params.axi_bytes // params.in_par)
    ifmap, ofmap = _bare_words(shape)
    return -(-ifmap // beat) * beat, -(-ofmap // beat) * beat


def _bare_words(shape: LayerShape) -> tuple[int, int]:
    geometry, layer = shape.geometry, shape.layer
    rows, cols = shape.in_size
    if shape.classifier:
        return rows * cols * geometry.in_words, 0
    ofmap = layer.out_size(rows) * geometry.out_cols * geometry.out_words
    in_pixels = layer.out_size(rows) * geometry.out_cols if geometry.patches else rows * cols
    return in_pixels * geometry.in_words, ofmap


def cut(found: Sequence[LayerShape], params: HwParams, images: int) -> list[Segment]:
    """Cut a network into segments.

    A layer joins the segment before it if as many images of its ofmap fit a bank as of the maps before, and if the
    four banks suffice for all maps that are needed at the same time.

    Parameters
    ----------
    found
        From `shapes`.
    params
        The engine.
    images
        Images that the network is compiled for: no segment computes more together.

    Raises
    ------
    CompileError
        If a classifier's ifmap does not fit a bank.
    """
    most = min(images, params.max_images)
    segments: list[Segment] = []
    open_layers: list[LayerShape] = []
    batch = 0

    def close() -> None:
        nonlocal open_layers
        if open_layers:
            segments.append(Segment(layers=tuple(open_layers), batch=batch))
        open_layers = []

    reads = _reads(found)
    for shape in found:
        ifmap, ofmap = map_words(shape, params)
        fits = min(most, params.bank_words // (ofmap or ifmap))
        inside = any(before.name == shape.layer.input for before in open_layers)
        if shape.classifier:
            if params.bank_words < ifmap:
                raise CompileError(
                    f"layer {shape.name}: ifmap must fit a bank of {params.bank_words} words, not take {ifmap}"
                )
            if not (inside and open_layers):
                close()
                batch = fits
            open_layers.append(shape)
            continue
        if fits == 0 or (not inside and params.bank_words < ifmap):
            close()
            segments.append(Segment(layers=(shape,), batch=0))
            continue
        if open_layers and (fits != batch or _banks(open_layers + [shape], reads) > BANKS):
            close()
        if not open_layers:
            batch = fits
        open_layers.append(shape)
    close()
    return segments


def stored_maps(segments: Sequence[Segment]) -> list[str]:
    """Return the names of the maps that go to memory.

    These are the maps that a layer of another segment reads, and those to which a layer adds what it makes of them: the
    engine reads ifmap and residual from two banks, so a second copy is loaded.
    """

    def leaves(name: str, home: Segment) -> bool:
        for segment in segments:
            for layer in (shape.layer for shape in segment.layers):
                if name in (layer.input, layer.residual) and (segment is not home or layer.input == layer.residual):
                    return True
        return False

    return [made.name for home in segments for made in home.layers if leaves(made.name, home)]


def _reads(found: Sequence[LayerShape]) -> Mapping[str, list[str]]:
    """Return the readers of each map, in execution order."""
    reads: dict[str, list[str]] = {}
    for shape in found:
        for name in (shape.layer.input, shape.layer.residual):
            if name is not None:
                reads.setdefault(name, []).append(shape.name)
    return reads


def _banks(layers: Sequence[LayerShape], reads: Mapping[str, list[str]]) -> int:
    """Return the banks that a segment of these layers takes at most, one of them for what is loaded ahead."""
    names = [shape.name for shape in layers]
    live: set[str] = set()
    most = 0
    for n, shape in enumerate(layers):
        layer = shape.layer
        outside = layer.input not in names
        # Only the last layer of all that reads a map may write over it, and not while it reads its taps; nor may it, if
        # a layer reads it twice, for which it is stored and loaded again (`stored_maps`).
        readers = reads[layer.residual] if layer.residual in names else []
        in_place = len(set(readers)) == len(readers) and readers[-1:] == [shape.name]
        taken = len(live | {layer.input}) + (0 if in_place or shape.classifier else 1)
        most = max(most, taken + outside)
        live.add(shape.name)
        # What a later segment reads is in memory, but its bank is busy until it is stored.
        live = {name for name in live if _later(reads, name, names[n + 1 :]) or name == shape.name}
    return most


def _later(reads: Mapping[str, list[str]], name: str, rest: Sequence[str]) -> bool:
    return any(reader in rest for reader in reads.get(name, ()))
