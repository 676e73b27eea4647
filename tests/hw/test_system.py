"""The whole engine in Amaranth's simulator: small programs against the golden model, errors, and runs after them.

The Verilog's own tests, with every network and every stall, are in tests/sim.
"""

import random

import pytest
from amaranth.hdl import Fragment

from hw.interface.instructions import INSTRUCTION_BYTES, QUEUE_DEPTH, ErrorCode, Opcode
from hw.params import HwParams
from hw.system import System
from tests.hw.system_bench import DATA, PROGRAM, TINY, Host, LayerProgram, instruction


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("mode", ["gated", "dense"])
def test_layers_without_reset_between(mode, gap, seed):
    host = Host(TINY, gap=gap, seed=seed)
    programs = [
        LayerProgram(seed, mode=mode),
        LayerProgram(seed + 1, mode=mode, images=1),
        LayerProgram(seed + 2, in_ch=32, classes=10, residual=None, mode=mode),
    ]

    async def body(ctx):
        for number, program in enumerate(programs):
            program.load(host)
            before = bytes(host.memory)
            await host.start(ctx, b"".join(program.code))
            assert await host.wait(ctx) == (2, ErrorCode.NONE, 0), f"program {number} (seed {seed})"
            result = bytes(host.memory)
            stop = program.target + program.size
            assert result[program.target : stop] == program.expected(), f"program {number} (seed {seed})"
            assert result[:PROGRAM] == before[:PROGRAM] and result[stop:] == before[stop:], f"seed {seed}"
            assert result[DATA : program.target] == before[DATA : program.target], f"seed {seed}"
            counts = {
                name: await host.read(ctx, f"{name.upper()}_LOW")
                for name in (
                    "cycles",
                    "base_steps",
                    "cond_steps",
                    "idle_weights",
                    "idle_decision",
                    "idle_output",
                    "idle_input",
                    "idle_start",
                    "idle_end",
                    "idle_pool",
                    "weights_read",
                    "maps_written",
                    "logits_written",
                    "instructions_read",
                )
            }
            total = sum(counts[name] for name in counts if name.startswith(("base", "cond", "idle")))
            assert counts["cycles"] == total, f"{counts} (seed {seed})"
            assert counts["weights_read"] == program.program.weights.size, f"seed {seed}"
            assert counts["maps_written"] + counts["logits_written"] == program.size, f"seed {seed}"
            assert counts["instructions_read"] == INSTRUCTION_BYTES * len(program.code), f"seed {seed}"

    host.run(body)


@pytest.mark.parametrize(
    "kind, response, code",
    [
        ("read", 2, ErrorCode.READ_SLAVE),
        ("read", 3, ErrorCode.READ_DECODE),
        ("write", 2, ErrorCode.WRITE_SLAVE),
        ("write", 3, ErrorCode.WRITE_DECODE),
    ],
)
def test_bus_errors_stop_the_run_and_the_next_one_is_good(kind, response, code, seed):
    program = LayerProgram(seed)
    place = program.regions[-1][0] if kind == "read" else program.target
    index = 3 if kind == "read" else 5
    host = Host(TINY, gap=0.3, seed=seed, broken={kind: (place, place + 64, response)})

    async def body(ctx):
        program.load(host)
        await host.start(ctx, b"".join(program.code))
        assert await host.wait(ctx) == (4, code, index), f"seed {seed}"
        await host.write(ctx, "CONTROL", 1)
        assert await host.wait(ctx) == (4, code, index)
        assert await host.read(ctx, "REFUSAL") == 2
        await host.write(ctx, "CONTROL", 2)
        while await host.read(ctx, "STATUS"):
            pass
        host.broken = {}
        await host.start(ctx, b"".join(program.code))
        assert await host.wait(ctx) == (2, ErrorCode.NONE, 0), f"seed {seed}"
        assert host.memory[program.target : program.target + program.size] == program.expected(), f"seed {seed}"

    host.run(body)


def test_an_error_in_an_instruction_read_ahead_names_it(seed):
    """It is read while the one before it waits for its unit, whose queue is full."""
    program = LayerProgram(seed)
    blocked = instruction(Opcode.LOAD_MAP, take=["store"], address=DATA, count=1, bank=0)
    index = QUEUE_DEPTH + 1  # as many as the queue has wait, one is at hand
    broken = PROGRAM + index * INSTRUCTION_BYTES
    host = Host(TINY, gap=0.3, seed=seed, broken={"read": (broken, broken + INSTRUCTION_BYTES, 2)})

    async def body(ctx):
        program.load(host)
        await host.start(ctx, blocked * (index + 3))
        assert await host.wait(ctx) == (4, ErrorCode.READ_SLAVE, index), f"seed {seed}"

    host.run(body)


def test_no_pass_starts_after_an_error(seed):
    """The failed run's counters stand, though a pass that needs nothing more is in the queue."""
    program = LayerProgram(seed, size=(2, 2), images=1)
    loads, weights = program.code[:-4], program.code[-4]
    registers = program.program.registers | {"param_half": seed % 2}
    passes = [instruction(Opcode.COMPUTE, take=["load"], give=["store"], registers=registers)]
    # The store waits while its bank is the ofmap of a pass, so the others have another.
    passes += [instruction(Opcode.COMPUTE, registers=registers | {"ofmap_bank": 3, "residual_enable": 0})] * 2
    store = program.code[-2]
    host = Host(TINY, seed=seed, broken={"write": (program.target, program.target + 64, 2)})

    async def body(ctx):
        program.load(host)
        await host.start(ctx, b"".join([*loads, weights, weights, passes[0], store, *passes[1:]]))
        assert await host.wait(ctx) == (4, ErrorCode.WRITE_SLAVE, len(loads) + 3), f"seed {seed}"
        before = await host.read(ctx, "CYCLES_LOW")
        for _ in range(1000):
            await ctx.tick()
        assert await host.read(ctx, "CYCLES_LOW") >= before > 0, f"seed {seed}"

    host.run(body)


def test_a_ring_smaller_than_a_burst():
    with pytest.raises(ValueError, match="ring_entries must be at least 32, for a burst of 64 beats of 64 bits"):
        Fragment.get(System(HwParams(in_par=2, rq_lanes=1, ring_entries=16)), None)


def test_bad_instruction_and_watchdog(seed):
    program = LayerProgram(seed)
    host = Host(TINY, seed=seed)

    async def body(ctx):
        program.load(host)
        before = bytes(host.memory[DATA:])
        bad = [*program.code[:4], b"\xff" * INSTRUCTION_BYTES, *program.code[4:]]
        for code, expected in (
            (bad, (4, ErrorCode.OPCODE, 4)),
            ([program.code[0], program.code[4]], (4, ErrorCode.WATCHDOG, 1)),
        ):
            await host.write(ctx, "WATCHDOG", 3000)
            await host.start(ctx, b"".join(code))
            assert await host.wait(ctx) == expected, f"seed {seed}"
            await host.write(ctx, "CONTROL", 2)
            while await host.read(ctx, "STATUS"):
                pass
            assert host.memory[DATA:] == before, f"seed {seed}"
        await host.start(ctx, b"".join(program.code))
        await host.write(ctx, "CONTROL", 1)  # refused, and the run goes on
        while not ctx.get(host.dut.interrupt):
            await ctx.tick()
        assert await host.read(ctx, "REFUSAL") == 1
        await host.write(ctx, "INTERRUPT", 4)
        assert await host.wait(ctx) == (2, ErrorCode.NONE, 0), f"seed {seed}"
        assert host.memory[program.target : program.target + program.size] == program.expected(), f"seed {seed}"

    host.run(body)


def test_a_soft_reset_at_any_time(seed):
    rng = random.Random(seed)
    program = LayerProgram(seed)
    host = Host(TINY, gap=0.3, seed=seed)

    async def body(ctx):
        program.load(host)
        for _ in range(4):
            await host.start(ctx, b"".join(program.code))
            for _ in range(rng.randrange(3000)):
                await ctx.tick()
            await host.write(ctx, "CONTROL", 2)
            while await host.read(ctx, "STATUS"):
                pass
            assert not ctx.get(host.dut.interrupt), f"seed {seed}"
        await host.start(ctx, b"".join(program.code))
        assert await host.wait(ctx) == (2, ErrorCode.NONE, 0), f"seed {seed}"
        assert host.memory[program.target : program.target + program.size] == program.expected(), f"seed {seed}"

    host.run(body)
