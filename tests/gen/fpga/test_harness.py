"""Pin harness: every input bit is driven, every output bit is seen, registers on both sides."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from gen.fpga.harness import Harness


class Adder(wiring.Component):
    """Combinational, with a port that has ports, as the core's streams."""

    a: In(3)
    b: In(2)
    total: Out(4)
    trace_o: Out(wiring.Signature({"payload": Out(2), "valid": Out(1)}))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.total.eq(self.a + self.b), self.trace_o.payload.eq(self.b), self.trace_o.valid.eq(self.a[0])]
        return m


def model(bits, ports):
    """The harness around `Adder`: output bits for input bits, from all registers at 0; `ports` in the core's order."""
    shift_in, near, far, shift_out, seen = [0] * 5, [0] * 7, [0] * 7, [0] * 7, []
    for bit in bits:
        seen.append(shift_out[-1])
        a, b = (sum(value << n for n, value in enumerate(part)) for part in (shift_in[:3], shift_in[3:]))
        shift_out = [carried ^ value for carried, value in zip([bit, *shift_out], far, strict=False)]
        values = {
            "total": [(a + b) >> n & 1 for n in range(4)],
            "trace_o__payload": [b & 1, b >> 1],
            "trace_o__valid": [a & 1],
        }
        outputs = [value for port in ports for value in values[port]]
        far, near, shift_in = near, outputs, [bit, *shift_in[:-1]]
    return seen


def test_registers_between_pins_and_core(rng):
    bits = [rng.randrange(2) for _ in range(200)]
    core = Adder()
    ports = ["__".join(path) for path, member, _ in core.signature.flatten(core) if member.flow == Out]
    dut, seen = Harness(core), []

    async def bench(ctx):
        for bit in bits:
            ctx.set(dut.i, bit)
            seen.append(ctx.get(dut.o))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == model(bits, ports)
    assert any(seen)
