"""Stands in for reader and writer in the tests of single units: bursts against a memory of bytes."""

import random

from hw.interface.axi import MAX_BURST, PAGE_BYTES
from hw.interface.instructions import TransferInstruction
from tests.hw.helpers import until


def transfer(params, opcode, *, item_bytes, take=(), give=(), index=0, **fields):
    """Return a checked instruction as the units get it."""
    size = fields.get("count", 1) * item_bytes
    return TransferInstruction.const(
        {
            "opcode": opcode.value,
            "take": dict.fromkeys(take, 1),
            "give": dict.fromkeys(give, 1),
            "index": index,
            "beats": -(-size // params.axi_bytes),
            "transfer": fields,
        }
    )


def check_burst(burst, params, seed):
    """Assert that a burst is allowed: its length, and that it stays within a page."""
    address, length = int(burst.address), int(burst.length)
    assert 1 <= length <= MAX_BURST, f"{length} beats (seed {seed})"
    last = address + length * params.axi_bytes - 1
    assert address // PAGE_BYTES == last // PAGE_BYTES, f"{address:#x} (seed {seed})"


def reader(port, data, memory, params, *, latency=5, gap=0.0, seed=0, log=None):
    """Background processes that answer the bursts of `port` on `data`, in order, from the bytes of `memory`."""
    beats = []

    async def addresses(ctx):
        rng = random.Random(seed + 5)
        while True:
            ctx.set(port.ready, rng.random() >= gap)
            _, _, valid, ready, burst = await ctx.tick().sample(port.valid, port.ready, port.payload)
            if valid and ready:
                check_burst(burst, params, seed)
                if log is not None:
                    log.append((int(burst.address), int(burst.length)))
                for n in range(burst.length):
                    start = burst.address + n * params.axi_bytes
                    beats.append(
                        (
                            int.from_bytes(memory[start : start + params.axi_bytes], "little"),
                            int(burst.last and n == burst.length - 1),
                        )
                    )

    async def answers(ctx):
        rng = random.Random(seed + 6)
        while True:
            while not beats:
                await ctx.tick()
            for _ in range(latency):
                await ctx.tick()
            while beats:
                value, last = beats.pop(0)
                while rng.random() < gap:
                    await ctx.tick()
                ctx.set(data.payload, {"data": value, "last": last})
                ctx.set(data.valid, 1)
                await until(ctx, data.ready)
                ctx.set(data.valid, 0)

    return addresses, answers


def writer(burst_port, data_port, response, memory, params, *, latency=5, gap=0.0, seed=0):
    """Background processes that carry out the bursts of a unit on `memory`, and respond to each some cycles later."""
    bursts, due = [], []

    async def addresses(ctx):
        rng = random.Random(seed + 7)
        while True:
            ctx.set(burst_port.ready, rng.random() >= gap)
            _, _, valid, ready, burst = await ctx.tick().sample(burst_port.valid, burst_port.ready, burst_port.payload)
            if valid and ready:
                check_burst(burst, params, seed)
                bursts.append((int(burst.address), int(burst.length)))

    async def beats(ctx):
        rng = random.Random(seed + 8)
        while True:
            while not bursts:
                await ctx.tick()
            address, length = bursts.pop(0)
            for n in range(length):
                while rng.random() < gap:
                    await ctx.tick()
                ctx.set(data_port.ready, 1)
                valid = False
                while not valid:
                    _, _, valid, beat = await ctx.tick().sample(data_port.valid, data_port.payload)
                ctx.set(data_port.ready, 0)
                for byte in range(params.axi_bytes):
                    if beat.strobe >> byte & 1:
                        memory[address + n * params.axi_bytes + byte] = beat.data >> 8 * byte & 0xFF
            due.append(latency)

    async def responses(ctx):
        while True:
            ctx.set(response, 0)
            if due and due[0] == 0:
                due.pop(0)
                ctx.set(response, 1)
            elif due:
                due[0] -= 1
            await ctx.tick()

    return addresses, beats, responses
