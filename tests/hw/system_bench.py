"""A host of the whole engine in Amaranth's simulator, and layers as programs of their own."""

import random

import numpy as np
from amaranth.sim import Simulator

from gen.layer.compiler import compile_layer
from gen.layer.packing import pack
from gen.layer.places import Placement
from hw.interface.instructions import INSTRUCTION_BYTES, ChannelParameters, ErrorCode, Header, Opcode, Transfer
from hw.interface.layouts import LayerRegisters
from hw.interface.registers import register
from hw.params import LANES, HwParams
from hw.system import System
from sim.plan.cases import random_case

TINY = HwParams(in_par=2, rq_lanes=1, bank_words=2048, ring_entries=512, max_slices=16)
PROGRAM, DATA = 0x1000, 0x4000


class Host:
    """An engine on a bus with a memory of bytes, and what a host does with it."""

    def __init__(self, params, size=1 << 17, *, gap=0.0, seed=0, broken=()):
        self.params, self.gap, self.seed = params, gap, seed
        self.dut = System(params)
        self.memory = bytearray(size)
        self.broken = dict(broken)  # "read" or "write": addresses that answer with this (start, stop, resp)
        self.reads, self.writes, self.answers = [], [], []

    def _stalls(self, offset):
        rng = random.Random(self.seed + offset)
        return lambda: rng.random() < self.gap

    def _response(self, kind, address):
        start, stop, response = self.broken.get(kind, (0, 0, 0))
        return response if start <= address < stop else 0

    def _channel(self, prefix, into, offset):
        dut = self.dut
        port = {name: getattr(dut, f"m_axi_{prefix}{name}") for name in ("addr", "len", "valid", "ready")}

        async def process(ctx):
            stalls = self._stalls(offset)
            while True:
                ctx.set(port["ready"], not stalls())
                _, _, *values = await ctx.tick().sample(*port.values())
                address, length, valid, ready = values
                if valid and ready:
                    size = (length + 1) * self.params.axi_bytes
                    assert address // 4096 == (address + size - 1) // 4096, f"{address:#x} (seed {self.seed})"
                    into.append((address, length + 1))

        return process

    async def _read_data(self, ctx):
        dut, size, stalls = self.dut, self.params.axi_bytes, self._stalls(2)
        while True:
            while not self.reads:
                await ctx.tick()
            address, beats = self.reads.pop(0)
            for n in range(beats):
                while stalls():
                    await ctx.tick()
                place = address + n * size
                ctx.set(dut.m_axi_rdata, int.from_bytes(self.memory[place : place + size], "little"))
                ctx.set(dut.m_axi_rresp, self._response("read", place))
                ctx.set(dut.m_axi_rlast, n == beats - 1)
                ctx.set(dut.m_axi_rvalid, 1)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(dut.m_axi_rready)
                ctx.set(dut.m_axi_rvalid, 0)

    async def _write_data(self, ctx):
        dut, size, stalls = self.dut, self.params.axi_bytes, self._stalls(4)
        n = 0
        while True:
            ctx.set(dut.m_axi_wready, not stalls())
            _, _, valid, ready, value, strobe, last = await ctx.tick().sample(
                dut.m_axi_wvalid, dut.m_axi_wready, dut.m_axi_wdata, dut.m_axi_wstrb, dut.m_axi_wlast
            )
            if not (valid and ready):
                continue
            while not self.writes:  # the beat may have come before its address
                await ctx.tick()
            address, beats = self.writes[0]
            assert last == (n == beats - 1), f"seed {self.seed}"
            response = self._response("write", address)
            for byte in range(size):
                if strobe >> byte & 1 and not response:
                    self.memory[address + n * size + byte] = value >> 8 * byte & 0xFF
            n += 1
            if last:
                self.writes.pop(0)
                self.answers.append(response)
                n = 0

    async def _write_response(self, ctx):
        dut = self.dut
        while True:
            while not self.answers:
                await ctx.tick()
            ctx.set(dut.m_axi_bresp, self.answers.pop(0))
            ctx.set(dut.m_axi_bvalid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.m_axi_bready)
            ctx.set(dut.m_axi_bvalid, 0)

    async def write(self, ctx, name, value):
        dut = self.dut
        ctx.set(dut.s_axil_awaddr, register(name).address)
        ctx.set(dut.s_axil_wdata, value)
        ctx.set(dut.s_axil_wstrb, 15)
        for channel in ("aw", "w"):
            ctx.set(getattr(dut, f"s_axil_{channel}valid"), 1)
        await ctx.tick().until(dut.s_axil_awready & dut.s_axil_wready)
        for channel in ("aw", "w"):
            ctx.set(getattr(dut, f"s_axil_{channel}valid"), 0)
        ctx.set(dut.s_axil_bready, 1)
        [response] = await ctx.tick().sample(dut.s_axil_bresp).until(dut.s_axil_bvalid)
        ctx.set(dut.s_axil_bready, 0)
        assert response == 0, name

    async def read(self, ctx, name):
        dut = self.dut
        ctx.set(dut.s_axil_araddr, register(name).address)
        ctx.set(dut.s_axil_arvalid, 1)
        await ctx.tick().until(dut.s_axil_arready)
        ctx.set(dut.s_axil_arvalid, 0)
        ctx.set(dut.s_axil_rready, 1)
        value, response = await ctx.tick().sample(dut.s_axil_rdata, dut.s_axil_rresp).until(dut.s_axil_rvalid)
        ctx.set(dut.s_axil_rready, 0)
        assert response == 0, name
        return value

    async def start(self, ctx, program):
        self.memory[PROGRAM : PROGRAM + len(program)] = program
        await self.write(ctx, "PROGRAM_ADDRESS", PROGRAM)
        await self.write(ctx, "PROGRAM_LENGTH", len(program) // INSTRUCTION_BYTES)
        await self.write(ctx, "INTERRUPT_ENABLE", 7)
        await self.write(ctx, "CONTROL", 1)

    async def wait(self, ctx):
        """Wait for the interrupt and acknowledge it; return (status, error code, index)."""
        while not ctx.get(self.dut.interrupt):
            await ctx.tick()
        await self.write(ctx, "INTERRUPT", 7)
        return (
            await self.read(ctx, "STATUS") & 7,
            ErrorCode(await self.read(ctx, "ERROR_CODE")),
            await self.read(ctx, "ERROR_INDEX"),
        )

    def run(self, body, max_cycles=60_000):
        async def main(ctx):
            await body(ctx)

        async def timeout(ctx):
            for _ in range(max_cycles):
                await ctx.tick()
            raise TimeoutError(f"not done after {max_cycles} cycles (seed {self.seed})")

        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(main)
        for process in (
            self._channel("ar", self.reads, 1),
            self._read_data,
            self._channel("aw", self.writes, 3),
            self._write_data,
            self._write_response,
            timeout,
        ):
            sim.add_testbench(process, background=True)
        sim.run()


def instruction(opcode, *, take=(), give=(), registers=None, params=TINY, **transfer):
    header = Header.const({"opcode": opcode.value, "take": dict.fromkeys(take, 1), "give": dict.fromkeys(give, 1)})
    if registers is None:
        body = Transfer.const(transfer).as_value().value.to_bytes(10, "little")
    else:
        body = pack(LayerRegisters(params), registers, 1)[0].tobytes()
    return (header.as_value().value.to_bytes(8, "little") + body).ljust(INSTRUCTION_BYTES, b"\0")


class LayerProgram:
    """One layer as a program: loads, a pass, a store; and what memory must hold afterwards."""

    def __init__(self, seed, params=TINY, mode="gated", **options):
        options = {"in_ch": 8, "out_ch": 32, "size": (3, 4), "images": 2, "residual": "unsigned", **options}
        self.case = case = random_case(seed % 2**31, **options)
        self.program = program = compile_layer(
            case.layer,
            case.ifmap,
            case.residual,
            params,
            mode,
            ifmap_at=Placement(bank=1, base=16),
            residual_at=Placement(bank=2, base=8),
            ofmap_at=Placement(bank=2, base=8),
        )
        self.params, self.mode = params, mode
        self.code, self.regions, place = [], [], DATA

        def region(content):
            nonlocal place
            start = place
            self.regions.append((start, content))
            place += -(-len(content) // 64) * 64
            return start

        for bank in sorted(set(program.load_bank.tolist())):
            chosen = program.load_bank == bank
            words, addresses = program.load_words[chosen], program.load_addr[chosen]
            assert (np.diff(addresses) == 1).all()
            self.code.append(
                instruction(
                    Opcode.LOAD_MAP,
                    address=region(words.tobytes()),
                    count=len(words),
                    bank=bank,
                    bank_addr=int(addresses[0]),
                    params=params,
                )
            )
        scales = program.parameters["scales"]
        channels = {name: np.asarray(scales[name]).reshape(-1) for name in ("multiplier", "offset")}
        records = pack(
            ChannelParameters,
            {**channels, "threshold": program.parameters["thresholds"].reshape(-1), "reserved": 0},
            len(channels["offset"]),
        )
        half = seed % 2
        self.code.append(
            instruction(
                Opcode.LOAD_PARAMETERS,
                address=region(records.tobytes()),
                count=program.parameter_count,
                bank_addr=half * params.param_words // 2,
                give=["compute"],
                params=params,
            )
        )
        weights = region(program.weights.tobytes())
        self.code.append(instruction(Opcode.LOAD_WEIGHTS, address=weights, count=len(program.weights), params=params))
        registers = {**program.registers, "param_half": half}
        self.target = place
        if program.ofmap is None:
            count = program.geometry.slices * program.geometry.images * params.rq_phases
            self.size = 4 * LANES * program.geometry.slices * program.geometry.images
            self.code.append(instruction(Opcode.COMPUTE, take=["load"], registers=registers, params=params))
            self.code.append(instruction(Opcode.STORE_LOGITS, address=place, count=count, params=params))
        else:
            words = program.ofmap.stop - program.ofmap.base
            self.size = words * params.in_par
            self.code.append(
                instruction(Opcode.COMPUTE, take=["load"], give=["store"], registers=registers, params=params)
            )
            self.code.append(
                instruction(
                    Opcode.STORE_MAP,
                    take=["compute"],
                    give=["load"],
                    address=place,
                    count=words,
                    bank=2,
                    bank_addr=program.ofmap.base,
                    params=params,
                )
            )
            # The next program starts without a token left over.
            self.code.append(instruction(Opcode.LOAD_MAP, take=["store"], address=DATA, count=1, bank=0, params=params))

    def load(self, host):
        for start, content in self.regions:
            host.memory[start : start + len(content)] = content

    def expected(self):
        tap = self.case.golden(self.mode)
        if self.program.ofmap is None:
            images, classes = tap.ofmap.shape
            logits = np.zeros((self.program.geometry.slices * LANES, images), dtype=np.int32)
            logits[:classes] = tap.ofmap.numpy().T
            return logits.reshape(-1, LANES, images).transpose(0, 2, 1).astype("<i4").tobytes()
        words = self.program.ofmap.to_words(tap.ofmap.numpy(), self.params.in_par)
        return words.tobytes()
