"""The cycle model: steps, bursts, and laws that every prediction keeps. How near it comes is tested in tests/sim."""

import numpy as np
import pytest
import torch

from gen.cost.cycle_model import END, START, _Model, predict
from gen.cost.memory_model import Burst, Memory, split
from gen.cost.steps import slice_steps
from gen.network.compiler import compile_network
from gen.network.instruction import transfer_bytes
from hw.configurations import CONFIGS
from hw.interface.instructions import Opcode
from sw_model.integer.steps import count_network
from sw_model.quantisation.plan import resnet_plan
from tests.gen.network.networks import blank, blank_resnet, vgg_plan

SMALL = CONFIGS["small"]
SIZE = (28, 28)


@pytest.fixture(scope="module")
def program():
    """Tiles of rows in the first layer, batches behind."""
    return compile_network(blank_resnet(1, (16, 32, 64), groups=2), SMALL, 3, SIZE)


@pytest.fixture(scope="module")
def decisions(program):
    rng = np.random.default_rng(3)
    sizes = program.map_sizes
    return {
        layer.name: rng.random((3, layer.out_ch // 8, *sizes[layer.name])) < 0.4
        for layer in program.network.layers
        if layer.gated
    }


@pytest.mark.parametrize("fires", [True, False])
def test_steps_are_the_reference_s(program, decisions, fires):
    masks = {name: torch.as_tensor(mask) for name, mask in decisions.items()} if fires else None
    steps = slice_steps(program, decisions if fires else None)
    found = {}
    for one, part in zip(program.passes, steps, strict=True):
        sums = found.setdefault(one.layer, [0, 0, 0])
        for n, values in enumerate((part.base, part.conditional, part.jobs)):
            sums[n] += int(values.sum())
    for count in count_network(program.network, 3, SMALL.in_par, masks, SIZE):
        jobs = int(masks[count.name].sum()) if fires and count.decisions else found[count.name][2]
        assert found[count.name] == [count.base, count.conditional, jobs], count.name


def test_base_mode_has_no_conditional_steps(program, decisions):
    base = compile_network(program.network, SMALL, 3, SIZE, "base")
    assert all(part.conditional.sum() == 0 for part in slice_steps(base, decisions))


def test_bursts_end_at_pages():
    assert split(0, 512, 8) == [512] and split(0, 8, 8) == [8]
    assert split(4096 - 24, 1200, 8) == [24, 512, 512, 152]
    assert split(256, 1024, 4) == [256] * 4 and split(252, 8, 4) == [4, 4]
    for address, size, bus in ((72, 9000, 8), (4080, 10000, 16), (4, 4096, 4)):
        parts = split(address, size, bus)
        assert sum(parts) == size and max(parts) <= 64 * bus
        starts = address + np.cumsum([0, *parts[:-1]])
        assert all(start // 4096 == (start + part - 1) // 4096 for start, part in zip(starts, parts, strict=True))


def moved(memory):
    """Let everything happen; return when each burst was complete."""
    found = []
    while (time := memory.next()) < 1e9:
        found += [(time, burst.client) for _, burst in memory.advance(time)]
    return found


def test_reads_in_order_writes_beside_them():
    memory = Memory(8, 8)
    memory.add(memory.reads, Burst("a", 80, True, 99.0), 40)
    memory.add(memory.reads, Burst("b", 8, True, 99.0), 10)
    memory.add(memory.writes, Burst("c", 40, True, 99.0), 40)
    # Both channels halve the bandwidth till the write is through.
    assert moved(memory) == [(50.0, "c"), (55.0, "a"), (56.0, "b")]
    memory = Memory(0, 8)
    memory.add(memory.reads, Burst("a", 80, True, 2.0), 0)
    memory.add(memory.writes, Burst("c", 80, True, 99.0), 0)
    assert moved(memory) == [(10.0, "c"), (40.0, "a")]  # a client that takes two bytes a cycle


def test_laws(program, decisions):
    """All cycles belong to a pass; nothing is faster than the steps, the requantiser or the memory allow."""
    steps = slice_steps(program, decisions)
    last = 0
    for bandwidth, latency in ((0, 1), (8, 40), (2, 40), (1, 40), (1, 400)):
        found = predict(program, steps, bandwidth, latency)
        assert len(found.passes) == len(program.passes)
        assert sum(one.cycles for one in found.passes) == found.cycles == sum(found.layers().values())
        assert list(found.layers()) == [layer.name for layer in program.network.layers]
        assert found.cycles > sum(part.total for part in steps) + START * len(steps)
        size = sum(transfer_bytes(one, SMALL) for one in program.instructions) + 64 * len(program.instructions)
        assert bandwidth == 0 or found.cycles > size / bandwidth
        assert (
            found.cycles > 0.999 * last
        )  # each memory is slower than the one before, which a turn on the bus may hide
        last = found.cycles
        for one, part, info in zip(found.passes, steps, program.passes, strict=True):
            pixels = info.images * info.geometry.out_rows * info.geometry.out_cols
            assert one.cycles >= max(part.total, pixels * SMALL.rq_phases * info.geometry.slices)


def test_passes_that_wait_for_nothing(program, decisions):
    """With a fast memory a pass takes its steps and two constants."""
    steps = slice_steps(program, decisions)
    found = predict(program, steps, 0, 4)
    over = [
        one.cycles - part.total
        for one, part, info in zip(found.passes, steps, program.passes, strict=True)
        if info.layer.startswith("conv3_2")
    ]
    beside = START + SMALL.rq_phases + END + 2 + SMALL.rq_phases
    assert over and all(beside <= cycles <= beside + 1 for cycles in over)


def test_weights_are_the_wall():
    """At a byte a cycle and one image, layers take as long as their weights take to come."""
    network = blank(vgg_plan((16, 32, 64, 128)), groups=2)
    program = compile_network(network, SMALL, 1, (16, 16), "gated")
    none = {
        layer.name: np.zeros((1, layer.out_ch // 8, *program.map_sizes[layer.name]), dtype=bool)
        for layer in network.layers
        if layer.gated
    }
    found = predict(program, slice_steps(program, none), 1, 40)
    size = program.image["weights conv4"].size
    assert abs(found.layers()["conv4"] / size - 1) < 0.15 and found.layers()["conv1"] < size / 4


def test_logits_wait_for_a_map_that_is_being_stored():
    """A slow memory is still busy with the last map when the logits are computed."""
    plan = vgg_plan((64, 512, 512))
    plan[2]["stride"] = 2
    program = compile_network(blank(plan, groups=2), CONFIGS["full"], 3, (32, 32))
    steps = slice_steps(program, None)
    size = sum(transfer_bytes(one, program.params) for one in program.instructions) + 64 * len(program.instructions)
    found = predict(program, steps, 1)
    assert size < found.cycles < 1.1 * size


class Watched(_Model):
    """Notes the instructions as they end."""

    def _end(self, unit):
        self.order_of_ends = [*getattr(self, "order_of_ends", []), self.current[unit]]
        super()._end(unit)


@pytest.mark.parametrize("bandwidth", [8, 1])
def test_logits_are_stored_after_their_own_pass(program, decisions, bandwidth):
    """The store unit waits for them while earlier passes go on."""
    model = Watched(program, slice_steps(program, decisions), bandwidth, 40)
    model.run()
    ended = {id(one): n for n, one in enumerate(model.order_of_ends)}
    stores = [one for one in program.instructions if one.opcode is Opcode.STORE_LOGITS]
    assert stores and len(ended) == len(program.instructions)
    for one in stores:
        assert ended[id(program.passes[one.pass_number].instruction)] < ended[id(one)]


def test_every_configuration():
    for name, channels in (("full", (64, 128, 256)), ("half", (32, 64, 128)), ("tiny", (16, 32, 64))):
        network = blank(resnet_plan(1.0, 1, channels), groups=2)
        program = compile_network(network, CONFIGS[name], 2, (32, 32), "dense")
        steps = slice_steps(program, None)
        least = sum(part.total for part in steps)
        assert least < predict(program, steps).cycles < 1.6 * least
