"""Walks through a network segment by segment: which map is in which bank when, and what is computed, loaded, stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gen.layer.compiler import place_map
from gen.layer.geometry import Geometry
from gen.layer.places import MapPlace, Placement
from gen.layer.protocol import Layer
from gen.layer.shape_rules import measure
from gen.network.banks import Bank
from gen.network.passes import Passes
from gen.network.segments import LayerShape, Segment, map_words, stored_maps
from gen.network.tiles import tile_rows
from hw.params import HwParams

__all__ = ["walk"]


def walk(segments: Sequence[Segment], params: HwParams, images: int, mode: str) -> Passes:
    """Note all that has to be done.

    Parameters
    ----------
    segments
        From `gen.network.segments.cut`.
    params
        The engine.
    images
        Number of images.
    mode
        Gate mode.
    """
    found = {shape.name: shape for segment in segments for shape in segment.layers}
    passes = Passes(found, params, images, mode, stored_maps(segments))
    for segment in segments:
        if segment.tiled:
            for image in range(images):
                _compute_tiles(passes, segment.layers[0], image)
        else:
            for first in range(0, images, segment.batch):
                _Batch(passes, segment, first, min(segment.batch, images - first)).compute()
    return passes


def _place(shape: LayerShape, what: str, geometry: Geometry, bank: Bank, base: int, params: HwParams) -> MapPlace:
    g = geometry
    size = (g.in_rows, g.in_cols, g.in_words) if what == "ifmap" else (g.out_rows, g.out_cols, g.out_words)
    # A tile of rows is the only one in its bank, and may be less than the map.
    step = map_words(shape, params)[what != "ifmap"] if g.images > 1 else None
    placement = Placement(bank=bank.number, base=base, image_step=step)
    return place_map(shape.layer, what, placement, *size, geometry, params)


class _Batch:
    """Computes a segment's layers for some images, keeping all maps in the banks."""

    def __init__(self, passes: Passes, segment: Segment, first: int, images: int) -> None:
        self.passes, self.segment, self.first, self.images = passes, segment, first, images
        self.homes: dict[str, Bank] = {}  # of the maps that are computed here

    def compute(self) -> None:
        """Go through the layers. Those that read a map from memory take as many images at a time as fit a bank."""
        banks, params = self.passes.banks, self.passes.params
        for run in _runs(self.segment):
            source = run[0].layer.input
            inside = source in self.homes
            size = map_words(run[0], params)[0]
            step = self.images if inside else min(self.images, params.bank_words // size)
            for start in range(0, self.images, step):
                count = min(step, self.images - start)
                if inside:
                    bank = self.homes[source]
                else:
                    bank = banks.take()
                    self.passes.load(run[0].name, source, bank, 0, self.first + start, 0, count * size)
                for shape in run:
                    self._pass(shape, bank, start, count)
                if not inside:
                    banks.release(bank)
            for shape in run:
                self._finish(shape)

    def _pass(self, shape: LayerShape, bank: Bank, start: int, count: int) -> None:
        passes, layer, params = self.passes, shape.layer, self.passes.params
        geometry = measure(layer, params, count, *shape.in_size)
        source = _place(shape, "ifmap", geometry, bank, 0, params)
        target = added = None
        if not shape.classifier:
            size = map_words(shape, params)[1]
            home = self._home(shape)
            target = _place(shape, "ofmap", geometry, home, start * size, params)
            if layer.residual is not None:
                # Loaded to the ofmap's place: what is not computed here, and a second copy of what is the ifmap, too.
                loaded = not self.segment.makes(layer.residual) or layer.residual == layer.input
                # A residual that is needed on keeps a place of its own.
                beside = home if loaded else self.homes.get(layer.residual, home)
                added = _place(shape, "residual", geometry, beside, start * size, params)
                if loaded:
                    passes.load(shape.name, layer.residual, home, start * size, self.first + start, 0, count * size)
        passes.compute(shape, geometry, self.first + start, source, added, target)

    def _home(self, shape: LayerShape) -> Bank:
        """Return the bank of a layer's ofmap. It takes the residual's place where nobody needs that any more."""
        if shape.name not in self.homes:
            residual = shape.layer.residual
            if residual in self.homes and residual not in self.passes.stored and not self._read_after(shape, residual):
                self.homes[shape.name] = self.homes.pop(residual)
            else:
                self.homes[shape.name] = self.passes.banks.take()
        return self.homes[shape.name]

    def _read_after(self, shape: LayerShape, name: str) -> bool:
        """Tell whether a layer of the segment behind another one reads a map."""
        names = [other.name for other in self.segment.layers]
        rest = self.segment.layers[names.index(shape.name) + 1 :]
        return any(name in (other.layer.input, other.layer.residual) for other in rest)

    def _finish(self, shape: LayerShape) -> None:
        """Store a layer's ofmap if it is read elsewhere, and give back the banks that nobody needs any more."""
        if shape.name in self.passes.stored:
            words = self.images * map_words(shape, self.passes.params)[1]
            self.passes.store(shape, self.homes[shape.name], self.first, 0, words)
        for name in list(self.homes):
            if name in (shape.name, shape.layer.input, shape.layer.residual) and not self._read_after(shape, name):
                self.passes.banks.release(self.homes.pop(name))


def _compute_tiles(passes: Passes, shape: LayerShape, image: int) -> None:
    """Compute a layer for one image in tiles of rows, from memory to memory."""
    layer: Layer = shape.layer
    params, banks = passes.params, passes.banks
    for rows in tile_rows(layer, params, *shape.in_size):
        geometry = measure(layer, params, 1, *shape.in_size, rows)
        in_row, out_row = geometry.in_cols * geometry.in_words, geometry.out_cols * geometry.out_words
        bank, home = banks.take(), banks.take()
        passes.load(shape.name, layer.input, bank, 0, image, geometry.in_first_row * in_row, geometry.in_rows * in_row)
        source = _place(shape, "ifmap", geometry, bank, 0, params)
        target = _place(shape, "ofmap", geometry, home, 0, params)
        if layer.residual is not None:
            passes.load(shape.name, layer.residual, home, 0, image, rows[0] * out_row, geometry.out_rows * out_row)
        passes.compute(shape, geometry, image, source, None if layer.residual is None else target, target)
        passes.store(shape, home, image, rows[0] * out_row, geometry.out_rows * out_row)
        banks.release(bank)
        banks.release(home)


def _runs(segment: Segment) -> Iterator[list[LayerShape]]:
    """Yield layers that are computed together for a part of the batch: those that read the same map from memory."""
    run: list[LayerShape] = []
    for shape in segment.layers:
        if run and (shape.layer.input != run[0].layer.input or segment.makes(shape.layer.input)):
            yield run
            run = []
        run.append(shape)
    yield run
