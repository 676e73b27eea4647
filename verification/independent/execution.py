"""Compiles networks, executes the programs in Python, and compares all that they leave with the golden network."""

import random

import numpy as np

from gen.network.compiler import compile_network
from hw.interface.instructions import Unit
from hw.params import HwParams
from sw_model.integer.steps import count_network
from verification.independent.decoded_program import decode, most_tokens, unordered
from verification.independent.host_layout import laid_out
from verification.independent.program_interpreter import Engine

#: Banks small enough for everything to happen: tiles of rows, and stages of 1, 2, 4 and 5 images.
TINY = HwParams(in_par=4, rq_lanes=1, bank_words=1024, ring_entries=512, axi_bits=32)
SIZE = (16, 16)


class Difference(AssertionError):
    """The two implementations do not agree; the message says where."""


def _equal(found, expected, what):
    if not np.array_equal(found, expected):
        raise Difference(f"{what} must be the golden model's")


def executed(program, engine, images, choose):
    """Execute a program as a host does; return its logits."""
    region = program.image["input"]
    reader = next(layer for layer in program.network.layers if layer.input == "image")
    layout = laid_out(reader, images, region.size, program.params.in_par)
    _equal(np.frombuffer(program.pack_images(images), dtype=np.uint8), layout, "layout of the images")
    engine.write(region.address, layout.tobytes())
    engine.run(decode(program.packed(), program.params), choose)
    return program.unpack_logits(engine.read(program.image["logits"]))


def engine_for(program):
    """Return an engine whose memory has what the host writes but the images."""
    engine = Engine(program.params, program.image.size)
    for region in program.image:
        if region.content is not None:
            engine.write(region.address, region.content)
    return engine


def check(program, images, choose=None, engine=None):
    """Execute a program and compare everything that it leaves with the golden network; return the engine."""
    engine = engine or engine_for(program)
    logits = executed(program, engine, images, choose or random.Random(0).choice)
    golden = program.network.run(images, "gated" if program.mode == "channel" else program.mode)
    _equal(logits, golden.logits.numpy(), "logits")
    for name, region in program.stored_maps.items():
        _equal(program.unpack_map(name, engine.read(region)), golden.taps[name].ofmap.numpy(), f"stored map {name}")
    _check_passes(program, engine, golden)
    return engine


def _check_passes(program, engine, golden):
    """Compare every pass's ofmap and decisions, and the steps of all."""
    params, network = program.params, program.network
    numbers = [number for number, _ in engine.passes]
    _equal(numbers, [program.pass_index(n) for n in range(len(program.passes))], "instructions of the passes")
    steps = {layer.name: [0, 0] for layer in network.layers}
    for info, (_, done) in zip(program.passes, engine.passes, strict=True):
        layer, tap = network.layer(info.layer), golden.taps[info.layer]
        steps[info.layer] = [a + b for a, b in zip(steps[info.layer], done.steps, strict=True)]
        part = slice(info.first_image, info.first_image + info.images)
        if info.ofmap is not None:
            bank = np.zeros(params.bank_words * params.in_par, dtype=np.uint8)
            _equal(done.written[0], info.ofmap.bank, f"bank of {info}")
            bank[done.written[1]] = done.written[2]
            words = bank.reshape(-1, params.in_par)[info.ofmap.addresses()]
            found = info.ofmap.from_words(words, layer.out_ch, layer.signed)
            _equal(found, tap.ofmap.numpy()[part, :, slice(*info.rows)], f"ofmap of {info}")
        if done.decisions:
            expected = tap.decision.repeat_interleave(layer.slice_size, 1).numpy()[part, :, slice(*info.rows)]
            found = np.stack(done.decisions).transpose(1, 0, 4, 2, 3).reshape(expected.shape)
            _equal(found, expected, f"decisions of {info}")
    decisions = None if program.mode == "dense" else golden
    for count in count_network(network, program.images, params.in_par, decisions, program.in_size):
        _equal(steps[count.name], [count.base, count.conditional], f"steps of {count.name}")


def checked(network, params, images, size, mode="gated"):
    """Compile, and check what can be checked without executing anything."""
    program = compile_network(network, params, images, size, mode)
    decoded = decode(program.packed(), params)
    assert unordered(decoded) == []
    assert most_tokens(decoded) <= 255
    base, end = program.store_window
    regions = sorted(program.image, key=lambda region: region.address)
    assert all(a.stop <= b.address for a, b in zip(regions, regions[1:], strict=False))
    assert all(region.address % 64 == 0 for region in regions)
    writable = [*program.stored_maps.values(), program.image["logits"]]
    for one in decoded:
        if one.unit is Unit.STORE:
            [(_, first, stop)] = one.writes
            assert base <= first and stop <= end
            assert any(region.address <= first and stop <= region.stop for region in writable)
    covered = {layer.name: 0 for layer in network.layers}
    for info in program.passes:
        covered[info.layer] += info.images * (info.rows[1] - info.rows[0])
    assert covered == {
        shape.name: images * (1 if shape.classifier else shape.layer.out_size(shape.in_size[0]))
        for segment in program.segments
        for shape in segment.layers
    }
    return program
