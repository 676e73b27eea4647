"""The output stage between memories of the bench: codes, addresses, granules, residuals in place, logits that wait."""

import random

import pytest
import torch

from hw.datapath.activation_banks import ActivationBanks
from hw.datapath.output_stage import OutputStage
from hw.datapath.parameter_memory import ParameterMemory
from hw.params import LANES, HwParams
from sw_model.integer.ops import requantize
from tests.hw.helpers import as_dict, monitor, simulate

CONFIGS = [(2, 1), (2, 2), (4, 1), (4, 4), (8, 2), (8, 8), (16, 1), (16, 4), (16, 8)]


def params_of(in_par, rq_lanes, slots=4):
    return HwParams(
        in_par=in_par, rq_lanes=rq_lanes, bank_words=256, psum_slots=slots, max_slices=4, max_map=4, max_images=2
    )


class Bench:
    """Plays MAC array, parameters, bank and job ends around one output stage."""

    def __init__(self, params, layer, seed, *, logit_gap=0.0, end_rate=0.7, pixels=14, in_place=False):
        self.params, self.layer, self.seed = params, layer, seed
        self.rng = random.Random(seed)
        self.dut = OutputStage(params)
        self.where = f"(seed {seed})"
        self.logit_gap, self.end_rate = logit_gap, end_rate
        rng, in_par = self.rng, params.in_par
        slices = params.max_slices
        self.multiplier = [[rng.randint(-(2**15), 2**15 - 1) for _ in range(LANES)] for _ in range(slices)]
        self.bias = [[rng.randint(-(2**40), 2**40) for _ in range(LANES)] for _ in range(slices)]
        if layer.get("logits"):
            self.multiplier = [[1] * LANES for _ in range(slices)]
            self.bias = [[rng.randint(-(2**20), 2**20) for _ in range(LANES)] for _ in range(slices)]
        self.bank = [bytearray(rng.randbytes(in_par)) for _ in range(params.bank_words)]
        self.residual = [bytes(word) for word in self.bank]  # as it was before the layer
        out_words = max(1, slices * LANES // in_par)
        places = [(n, slice_) for n in range(128 // out_words) for slice_ in range(slices)]
        self.pixels = []
        for n, slice_ in rng.sample(places, min(pixels, len(places))):
            word = n * out_words + slice_ * LANES // in_par
            self.pixels.append(
                {
                    "ofmap_addr": word + (0 if in_place else 128),
                    "residual_addr": word,
                    "slice": slice_,
                    "image": n % 2,
                    "row": n % 4,
                    "col": 0,
                }
            )
        self.psums = {
            pixel["ofmap_addr"] * 4 + pixel["slice"]: [self.draw_psum() for _ in range(LANES)] for pixel in self.pixels
        }
        self.slots = [[0] * LANES for _ in range(params.psum_slots)]
        self.order = []  # pixels as they were complete
        self.released = 0
        self.completes = 0
        self.writes, self.logits, self.write_cycles = [], [], []
        self.cycle = 0

    def draw_psum(self):
        if self.layer.get("logits"):
            return self.rng.randint(-(2**30), 2**30)
        return self.rng.choice([-1, 1]) * self.rng.getrandbits(self.rng.randint(1, 31))

    def psums_of(self, pixel):
        return self.psums[pixel["ofmap_addr"] * 4 + pixel["slice"]]

    def scales(self, address):
        """A parameter word: the channels of phase `address % rq_phases` of a slice."""
        slice_, phase = divmod(address, self.params.rq_phases)
        first, shift = phase * self.params.rq_lanes, self.layer["shift"]
        rounding = 0 if self.layer.get("logits") else 1 << (shift - 1)
        return [
            {"multiplier": self.multiplier[slice_][n], "offset": self.bias[slice_][n] + rounding}
            for n in range(first, first + self.params.rq_lanes)
        ]

    async def memories(self, ctx):
        # `scales` SCALES_LATENCY cycles after its address, the residual READ_LATENCY after its own. A write is seen by
        # reads whose address comes later. Psums two cycles after `psum_read`: the slot is registered, then what it
        # holds; that stands until the next read.
        dut = self.dut
        scales, residuals = [0] * ParameterMemory.SCALES_LATENCY, [0] * ActivationBanks.READ_LATENCY
        read, slot, psums = False, 0, [0] * LANES
        while True:
            ctx.set(dut.psums, psums)
            if read:
                psums = list(self.slots[slot])
            read, slot = ctx.get(dut.psum_read), ctx.get(dut.psum_slot)
            ctx.set(dut.scales, self.scales(scales.pop(0) % self.params.param_words))
            ctx.set(dut.residual, residuals.pop(0))
            scales.append(ctx.get(dut.param_addr))
            residuals.append(int.from_bytes(self.bank[ctx.get(dut.residual_addr)], "little"))
            ctx.set(dut.logit.ready, self.rng.random() >= self.logit_gap)
            if ctx.get(dut.write_en):
                write = as_dict(ctx.get(dut.write))
                first = write["sub"] * self.params.rq_lanes
                self.bank[write["addr"]][first : first + self.params.rq_lanes] = write["codes"]
                self.writes.append((write["addr"], write["sub"]))
                self.write_cycles.append(self.cycle)
            if ctx.get(dut.logit.valid) and ctx.get(dut.logit.ready):
                self.logits.append(as_dict(ctx.get(dut.logit.payload)))
            self.completes += ctx.get(dut.complete)
            await ctx.tick()
            self.cycle += 1

    async def jobs(self, ctx):
        dut, rng, params = self.dut, self.rng, self.params
        ctx.set(dut.layer, self.layer)
        todo, busy, ended = list(self.pixels), {}, {}  # by slot: the pixel; how often its jobs ended, and if complete
        idle, leaving = 0, []  # slots on their way to the pool, with the cycle from which on they are free
        while idle < 30:  # and then silence
            idle = 0 if self.completes < len(self.pixels) else idle + 1
            free = [slot for slot in range(params.psum_slots) if slot not in busy]
            slot = rng.choice(free) if todo and free and rng.random() < 0.8 else None
            ctx.set(dut.issue, slot is not None)
            ctx.set(dut.issue_slot, rng.randrange(params.psum_slots) if slot is None else slot)
            ctx.set(dut.pixel, {"ofmap_addr": rng.randrange(256)})
            if slot is not None:
                ctx.set(dut.pixel, todo[0])
            # A job's end: one that fires, after which the slot holds a base psum only, or one that completes the pixel.
            waiting = [number for number in busy if ended[number] < 2]
            number = rng.choice(waiting) if waiting and rng.random() < self.end_rate else None
            fire = number is not None and ended[number] == 0 and rng.random() < 0.4
            ctx.set(dut.end, {"valid": int(number is not None), "fire": int(fire), "slot": number or 0})
            if number is not None and not fire:
                self.slots[number] = self.psums_of(busy[number])
                self.order.append(busy[number])
            _, _, release, released = await ctx.tick().sample(dut.release, dut.release_slot)
            if number is not None:
                ended[number] = 1 if fire else 2
            if release:
                assert released in busy and ended[released] == 2, f"slot {released} is not complete {self.where}"
                leaving.append((self.cycle + 3, released))
                self.released += 1
            # The psums are read meanwhile; the next job may write then.
            while leaving and leaving[0][0] <= self.cycle:
                _, gone = leaving.pop(0)
                del busy[gone]
                self.slots[gone] = [rng.getrandbits(31) for _ in range(LANES)]
            if slot is not None:
                busy[slot], ended[slot] = todo.pop(0), 0

    def run(self):
        simulate(self.dut, self.jobs, background=[self.memories, monitor(self.dut.logit, self.seed)], what=self.where)
        assert self.released == len(self.pixels) == len(self.order), self.where
        assert self.completes == len(self.pixels), self.where

    def codes_of(self, pixel):
        """The codes of a pixel's slice, by the golden model."""
        layer, slice_ = self.layer, pixel["slice"]
        residual = []
        for n in range(LANES):
            channel = slice_ * LANES + n
            word = pixel["residual_addr"] + (n // self.params.in_par)
            code = self.residual[word][channel % self.params.in_par]
            residual.append(code - 256 if layer.get("residual_signed") and code >= 128 else code)
        signed = layer.get("signed_output")
        codes = requantize(
            torch.tensor(self.psums_of(pixel)).reshape(1, LANES, 1, 1),
            torch.tensor(self.multiplier[slice_]),
            torch.tensor(self.bias[slice_]),
            layer["shift"],
            torch.tensor(residual).reshape(1, LANES, 1, 1) if layer.get("residual_enable") else None,
            layer.get("residual_scale", 0),
            layer.get("residual_shift", 0),
            -128 if signed else 0,
            127 if signed else 255,
        )
        return [code % 256 for code in codes.flatten().tolist()]

    def check_codes(self):
        in_par, lanes = self.params.in_par, self.params.rq_lanes
        expected, writes = [bytearray(word) for word in self.residual], []
        for pixel in self.order:
            for n, code in enumerate(self.codes_of(pixel)):
                word, byte = pixel["ofmap_addr"] + n // in_par, (pixel["slice"] * LANES + n) % in_par
                expected[word][byte] = code
                if n % lanes == 0:
                    writes.append((word, byte // lanes))
        assert self.writes == writes, f"granules in the order of completion {self.where}"
        assert [bytes(word) for word in self.bank] == [bytes(word) for word in expected], self.where
        assert not self.logits


def layer_of(rng, **changes):
    return {"shift": rng.randint(20, 38), "signed_output": rng.randrange(2)} | changes


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
def test_codes(in_par, rq_lanes, seed):
    rng = random.Random(seed)
    # What the residual's registers say means nothing while it is not enabled.
    bench = Bench(params_of(in_par, rq_lanes), layer_of(rng, residual_scale=999, residual_shift=20), seed)
    bench.run()
    bench.check_codes()


@pytest.mark.parametrize("in_place, signed", [(False, 0), (True, 1), (True, 0)])
@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (4, 4), (8, 2), (16, 8)])
def test_residual(in_par, rq_lanes, in_place, signed, seed):
    rng = random.Random(seed)
    layer = layer_of(
        rng,
        residual_enable=1,
        residual_signed=signed,
        residual_scale=rng.randint(2**14, 2**16 - 1),
        shift=30,
        residual_shift=15,
    )
    bench = Bench(params_of(in_par, rq_lanes), layer, seed, in_place=in_place, pixels=12)
    bench.run()
    bench.check_codes()


@pytest.mark.parametrize("slots", [2, 5, 16])
def test_slots(slots, seed):
    bench = Bench(params_of(4, 2, slots), layer_of(random.Random(seed)), seed, end_rate=1.0, pixels=30)
    bench.run()
    bench.check_codes()


@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (4, 4), (8, 8), (16, 4)])
def test_rate(in_par, rq_lanes):
    # A burst of complete pixels is written without a gap: a granule a cycle.
    params = params_of(in_par, rq_lanes, 8)
    dut = OutputStage(params)
    cycles = []

    async def bench(ctx):
        ctx.set(dut.layer, {"shift": 1})
        for slot in range(8):
            ctx.set(dut.issue, 1)
            ctx.set(dut.issue_slot, slot)
            await ctx.tick()
        ctx.set(dut.issue, 0)
        for cycle in range(8 * params.rq_phases + 40):
            ctx.set(dut.end, {"valid": int(cycle < 8), "slot": cycle % 8})
            if ctx.get(dut.write_en):
                cycles.append(cycle)
            await ctx.tick()

    simulate(dut, bench)
    assert cycles == list(range(cycles[0], cycles[0] + 8 * params.rq_phases))


@pytest.mark.parametrize(
    "in_par, rq_lanes, logit_gap", [(2, 1, 0.0), (2, 1, 0.5), (4, 2, 0.0), (4, 2, 0.9), (16, 8, 0.0), (16, 8, 0.9)]
)
def test_logits(in_par, rq_lanes, logit_gap, seed):
    bench = Bench(
        params_of(in_par, rq_lanes), {"logits": 1, "shift": 0}, seed, logit_gap=logit_gap, end_rate=1.0, pixels=12
    )
    bench.run()
    lanes, expected = rq_lanes, []
    for pixel in bench.order:
        values = [psum + bias for psum, bias in zip(bench.psums_of(pixel), bench.bias[pixel["slice"]], strict=True)]
        for phase in range(bench.params.rq_phases):
            expected.append(
                {
                    "logits": values[phase * lanes : (phase + 1) * lanes],
                    "phase": phase,
                    "slice": pixel["slice"],
                    "image": pixel["image"],
                }
            )
    assert bench.logits == expected, f"seed {seed}"
    assert not bench.writes


@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (4, 2), (8, 8)])
def test_logits_that_nobody_takes(in_par, rq_lanes):
    # Psums stay in their slots while logits wait; `blocked` says so; nothing is lost when they are taken at last.
    params = params_of(in_par, rq_lanes, 8)
    dut = OutputStage(params)

    async def bench(ctx):
        ctx.set(dut.layer, {"logits": 1})
        for slot in range(8):
            ctx.set(dut.issue, 1)
            ctx.set(dut.issue_slot, slot)
            ctx.set(dut.pixel, {"slice": slot % 4, "image": slot // 4})
            await ctx.tick()
        ctx.set(dut.issue, 0)
        assert not ctx.get(dut.blocked)
        released, got = [], []
        for cycle in range(300):
            ctx.set(dut.end, {"valid": int(cycle < 8), "slot": cycle % 8})
            ctx.set(dut.logit.ready, cycle >= 100)
            if ctx.get(dut.release):
                released.append(ctx.get(dut.release_slot))
            if cycle == 99:
                assert ctx.get(dut.blocked)
                assert 1 <= len(released) <= OutputStage.LOGIT_PIXELS
            if ctx.get(dut.logit.valid) and ctx.get(dut.logit.ready):
                record = ctx.get(dut.logit.payload)
                got.append((record.image, record.slice, record.phase))
            await ctx.tick()
        assert released == list(range(8))
        assert got == [(slot // 4, slot % 4, phase) for slot in range(8) for phase in range(params.rq_phases)]
        assert not ctx.get(dut.blocked)

    simulate(dut, bench, background=[monitor(dut.logit)])
