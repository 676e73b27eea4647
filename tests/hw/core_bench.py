"""Runs programs on the compute core in Amaranth's own simulator: slow, but no Verilog in between."""

import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator

from gen.layer.packing import unpack
from hw.core import Core
from hw.interface.layouts import CounterLayout, LogitRecord, MaskRecord, OfmapWrite


@dataclass
class Pass:
    """What left the core in one pass."""

    masks: list = field(default_factory=list)  # MaskRecord values, in order
    logits: list = field(default_factory=list)  # LogitRecord values
    writes: list = field(default_factory=list)  # (cycle, OfmapWrite value)
    words: list = field(default_factory=list)  # the ofmap, read back
    cycles: int = 0
    base_steps: int = 0
    cond_steps: int = 0
    decisions: int = 0
    fired: int = 0
    idle: list = field(default_factory=list)


def run_core(params, programs, *, gaps=0.0, seed=0, max_cycles=20_000):
    """Run programs one after the other; every stream waits with probability `gaps`. Return a `Pass` for each."""
    dut = Core(params)
    passes = [Pass() for _ in programs]
    current = [0]
    rng = random.Random(seed)

    async def put(ctx, port, packed):
        for row in packed:
            while rng.random() < gaps:
                await ctx.tick()
            ctx.set(
                port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload,
                int.from_bytes(bytes(row), "little"),
            )
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    async def main(ctx):
        for number, program in enumerate(programs):
            await put(ctx, dut.load_i, program.packed_loads())
            await put(ctx, dut.param_i, program.packed_parameters())
            for _ in range(4):  # the last word is on its way into its memory
                await ctx.tick()
            current[0] = number
            ctx.set(dut.layer.as_value(), program.layer_value())
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().until(dut.done)
            counts = ctx.get(dut.counters.as_value())
            values = unpack(
                CounterLayout,
                np.frombuffer(counts.to_bytes(-(-CounterLayout.size // 8), "little"), dtype=np.uint8)[None],
            )
            for name, value in values.items():
                setattr(passes[number], name, value[0].tolist())
            for row in program.packed_reads():
                await put(ctx, dut.read_i, [row])
                ctx.set(dut.read_o.ready, 1)
                [word] = await ctx.tick().sample(dut.read_o.payload).until(dut.read_o.valid)
                ctx.set(dut.read_o.ready, 0)
                passes[number].words.append(list(int(word).to_bytes(params.in_par, "little")))
        for _ in range(64):
            await ctx.tick()

    def during(port, packed):
        async def process(ctx):
            for number, program in enumerate(programs):
                while current[0] != number or not ctx.get(dut.busy):
                    await ctx.tick()
                await put(ctx, port, packed(program))
                while ctx.get(dut.busy):
                    await ctx.tick()

        return process

    def sink(port, layout, take):
        async def process(ctx):
            gap_rng = random.Random(seed + layout.size)
            while True:
                ctx.set(port.ready, gap_rng.random() >= gaps)
                _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload.as_value())
                if valid and ready:
                    take(layout.from_bits(payload))

        return process

    async def trace(ctx):
        cycle = 0
        async for _, _, start, valid, payload in ctx.tick().sample(
            dut.start, dut.trace_o.valid, dut.trace_o.payload.as_value()
        ):
            cycle = 0 if start else cycle + 1
            if valid:
                passes[current[0]].writes.append((cycle, OfmapWrite(params).from_bits(payload)))

    async def timeout(ctx):
        for _ in range(max_cycles):
            await ctx.tick()
        raise TimeoutError(f"pass {current[0]} is not done after {max_cycles} cycles (seed {seed})")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(main)
    sim.add_testbench(during(dut.weight_i, lambda program: program.weights), background=True)
    sim.add_testbench(during(dut.mask_i, lambda program: program.packed_masks()), background=True)
    sim.add_testbench(
        sink(dut.mask_o, MaskRecord(params), lambda r: passes[current[0]].masks.append(r)), background=True
    )
    sim.add_testbench(
        sink(dut.logit_o, LogitRecord(params), lambda r: passes[current[0]].logits.append(r)), background=True
    )
    sim.add_testbench(trace, background=True)
    sim.add_testbench(timeout, background=True)
    sim.run()
    return passes
