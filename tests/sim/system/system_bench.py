"""cocotb tests of the whole engine between models that are not ours; `tests.sim.system.test_system_axi` runs them."""

import itertools
import os
import pickle
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from gen.host.driver import Driver
from hw.interface.registers import REGISTERS, register
from verification.networks.one_layer import END


class Host:
    """A host on cocotbext-axi's models: bus, memory and interrupt for `gen.host.driver`."""

    def __init__(self, dut):
        self.dut = dut
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=END)

    async def start(self):
        Clock(self.dut.clk, 2, unit="step", impl="gpi").start()
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)

    async def read_register(self, address):
        found = await self.lite.read(address, 4)
        assert found.resp == AxiResp.OKAY, hex(address)
        return int.from_bytes(found.data, "little")

    async def write_register(self, address, value):
        found = await self.lite.write(address, value.to_bytes(4, "little"))
        assert found.resp == AxiResp.OKAY, hex(address)

    async def wait_interrupt(self, cycles):
        if self.dut.interrupt.value == 0:
            await First(RisingEdge(self.dut.interrupt), ClockCycles(self.dut.clk, cycles))
        return self.dut.interrupt.value == 1

    def driver(self):
        """Return a driver, for functions that are called through `cocotb.task.bridge`."""
        host = self

        class Registers:
            read = staticmethod(resume(host.read_register))
            write = staticmethod(resume(host.write_register))

        class Memory:
            read = staticmethod(host.ram.read)
            write = staticmethod(host.ram.write)

        return Driver(Registers(), Memory(), resume(self.wait_interrupt))

    def pause(self, seed, probability):
        """Make every channel of both buses wait at random."""

        def gaps(n):
            rng = random.Random(seed + n)
            return iter(lambda: rng.random() < probability, None)

        channels = [
            interface
            for bus in (self.ram, self.lite)
            for interface in (
                bus.write_if.aw_channel,
                bus.write_if.w_channel,
                bus.write_if.b_channel,
                bus.read_if.ar_channel,
                bus.read_if.r_channel,
            )
        ]
        for n, channel in enumerate(channels):
            channel.set_pause_generator(gaps(n))


def run_program(driver, program):
    """Run a program as a host would."""
    driver.load_network(program.loaded())
    driver.start()
    driver.wait(200_000)
    return driver.memory.read(program.address, len(program.expected)), driver.counters()


@cocotb.test()
async def registers(dut):
    """Reset values, what can be written, what cannot, and accesses that are refused."""
    host = Host(dut)
    await host.start()
    for paused in (False, True):
        if paused:
            host.pause(1, 0.5)
        for entry in REGISTERS:
            before = await host.read_register(entry.address)
            assert before == entry.init or entry.access != "rw", entry.name
            value = 0 if entry.name == "CONTROL" else 0xFFA55A
            written = await host.lite.write(entry.address, value.to_bytes(4, "little"))
            assert written.resp == (AxiResp.SLVERR if entry.access == "ro" else AxiResp.OKAY), entry.name
            expected = value if entry.access == "rw" else before
            assert await host.read_register(entry.address) == expected, entry.name
            if entry.access == "rw":
                for size in (1, 2, 3):  # not all bytes of a register
                    part = await host.lite.write(entry.address, b"\1\2\3"[:size])
                    assert part.resp == AxiResp.SLVERR, entry.name
                assert await host.read_register(entry.address) == expected, entry.name
                await host.write_register(entry.address, entry.init)
        last = REGISTERS[-1].address
        for address in (register("REFUSAL").address + 4, last + 4, 0x3FC):
            assert (await host.lite.read(address, 4)).resp == AxiResp.SLVERR, hex(address)
            assert (await host.lite.write(address, bytes(4))).resp == AxiResp.SLVERR, hex(address)


@cocotb.test()
async def programs(dut):
    """A map and logits, at full speed and with random pauses on all channels; the RAM notices nothing unusual."""
    good = pickle.loads(Path(os.environ["CDGATE_PROGRAMS"]).read_bytes())
    host = Host(dut)
    await host.start()
    driver = await bridge(host.driver)()
    cycles = []
    for paused, program in itertools.product((False, True), good):
        if paused:
            host.pause(2, 0.3)
        found, counters = await bridge(run_program)(driver, program)
        assert found == program.expected, paused
        assert dut.interrupt.value == 0  # acknowledged
        cycles.append(counters["cycles"])
    assert cycles[2] > 1.05 * cycles[0] and cycles[3] > 1.05 * cycles[1]


@cocotb.test()
async def reset_during_a_run(dut):
    """The bus may be reset with the engine at any time."""
    [program, _] = pickle.loads(Path(os.environ["CDGATE_PROGRAMS"]).read_bytes())
    host = Host(dut)
    await host.start()
    driver = await bridge(host.driver)()
    for wait in (50, 150, 700):
        await bridge(driver.load_network)(program.loaded())
        await bridge(driver.start)()
        await ClockCycles(dut.clk, wait)
        dut.rst.value = 1
        await ClockCycles(dut.clk, 4)  # three until everything is cleared, one to see it
        for valid in (dut.m_axi_arvalid, dut.m_axi_awvalid, dut.m_axi_wvalid, dut.interrupt):
            assert valid.value == 0
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)
    found, _ = await bridge(run_program)(driver, program)
    assert found == program.expected
