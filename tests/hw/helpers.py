"""For the component tests: stream drivers with random gaps, a monitor of the stream rules, layers as registers."""

import random
from dataclasses import dataclass, field

from amaranth.hdl import signed
from amaranth.lib import data
from amaranth.sim import Simulator

from hw.interface.layouts import GateMode
from hw.params import LANES, HwParams

#: An engine small enough for Amaranth's simulator, with every width above zero.
SMALL = HwParams(
    in_par=2, rq_lanes=1, bank_words=256, ring_entries=64, psum_slots=4, max_slices=16, max_map=16, max_images=4
)

#: Probabilities of a gap on the input and on the output.
GAPS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]

#: What goes through a stream in `check_order`.
ORDER_LAYOUT = data.StructLayout({"code": signed(5), "last": 1})

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def simulate(dut, *processes, background=(), max_cycles=20_000, what=""):
    """Clock `dut` until the processes end; a run that does not end within `max_cycles` fails."""

    async def timeout(ctx):
        for _ in range(max_cycles):
            await ctx.tick()
        raise TimeoutError(f"not done after {max_cycles} cycles {what}")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for process in processes:
        sim.add_testbench(process)
    for process in (*background, timeout):
        sim.add_testbench(process, background=True)
    sim.run()


async def ticks(ctx, count):
    """Wait for some cycles. Not `repeat`, which a background process must not be stopped in."""
    for _ in range(count):
        await ctx.tick()


async def until(ctx, condition):
    """Wait for the cycle in which the condition holds. `ctx.tick().until` is not for background processes."""
    holds = False
    while not holds:
        _, _, holds = await ctx.tick().sample(condition)


def source(port, items, gap=0.0, seed=0):
    """Process that puts items into a stream and waits with probability `gap` before each cycle of valid."""

    async def process(ctx):
        rng = random.Random(seed)
        for item in items:
            while rng.random() < gap:
                await ctx.tick()
            ctx.set(port.payload, item)
            ctx.set(port.valid, 1)
            await until(ctx, port.ready)
            ctx.set(port.valid, 0)

    return process


def sink(port, got, count, gap=0.0, seed=0, silence=20):
    """Process that takes `count` payloads, then asserts that no more are offered for `silence` cycles."""

    async def process(ctx):
        rng = random.Random(seed + 1)
        while len(got) < count:
            ctx.set(port.ready, rng.random() >= gap)
            _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload)
            if valid and ready:
                got.append(payload)
        ctx.set(port.ready, 1)
        for _ in range(silence):
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            assert not valid, f"{payload} after the last of {count} payloads (seed {seed})"
        ctx.set(port.ready, 0)

    return process


def monitor(port, seed=0):
    """Background process that asserts the stream rules: until the transfer, valid stays and the payload is stable."""

    async def process(ctx):
        held = None
        async for _, _, valid, ready, payload in ctx.tick().sample(port.valid, port.ready, port.payload):
            assert held is None or (valid and payload == held), f"valid dropped or payload changed (seed {seed})"
            held = payload if valid and not ready else None

    return process


def watch(log, **signals):
    """Background process that appends the values of all signals, as a dict, in every cycle."""

    async def process(ctx):
        async for _, _, *values in ctx.tick().sample(*signals.values()):
            log.append(dict(zip(signals, values, strict=True)))

    return process


def as_dict(value):
    """Return a sampled struct or array as plain dicts, lists and integers, to be compared and shown."""
    if not isinstance(value, data.Const):
        return int(value)
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [as_dict(value[n]) for n in range(layout.length)]
    return {name: as_dict(value[name]) for name in layout.members}


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution as the specification sees it: loops over pixels, taps and chunks, without the RTL's tricks."""

    params: HwParams = SMALL
    mode: GateMode = GateMode.GATED
    images: int = 1
    size: tuple = (4, 4)  # of the ifmap
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    chunks: int = 4  # of a pixel of the ifmap
    groups: int = 4
    branch: int = 1
    base_groups: tuple = ()  # instead of the branch: the input group of each output group
    slices: int = 4
    hold: bool = False  # the same weights at every tap
    bases: tuple = (0, 0, 0)  # of ifmap, residual, ofmap
    image_gap: int = 0  # words between images
    extra: dict = field(default_factory=dict)  # other registers

    def _out(self, axis):
        return (self.size[axis] + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def rows(self):
        return self._out(0)

    @property
    def cols(self):
        return self._out(1)

    @property
    def out_words(self):
        return -(-self.slices * LANES // self.params.in_par)

    @property
    def ifmap_image_step(self):
        return self.size[0] * self.size[1] * self.chunks + self.image_gap

    @property
    def ofmap_image_step(self):
        return self.rows * self.cols * self.out_words + self.image_gap

    def entries(self, cond):
        """Ring entries of one slice's path."""
        if cond and self.mode is GateMode.BASE:
            return 0
        taps = 1 if self.hold else self.kernel**2
        return taps * len(self.path_chunks(0, cond))

    def base_group(self, group):
        """Input group of an output group's base path: one of the list, or as the branch says."""
        if self.base_groups:
            return self.base_groups[group]
        return group if self.branch == 1 else self.groups - 1 - group

    def path_chunks(self, slice_, cond):
        """Chunks of the base path: input group i in branch 1, G - 1 - i in branch 2. Conditional path: the others."""
        group = self.base_group(slice_ // (self.slices // self.groups))
        size = self.chunks // self.groups
        return [chunk for chunk in range(self.chunks) if (chunk // size == group) != cond]

    def ring_start(self, slice_, cond):
        """First entry of a slice's path, counted from the layer's first."""
        return slice_ * (self.entries(False) + self.entries(True)) + (self.entries(False) if cond else 0)

    def tap_addr(self, image, row, col, tap_row, tap_col):
        """First word of a tap's pixel, or None if it lies outside the map."""
        y, x = row * self.stride + tap_row - self.pad, col * self.stride + tap_col - self.pad
        if not (0 <= y < self.size[0] and 0 <= x < self.size[1]):
            return None
        addr = self.bases[0] + image * self.ifmap_image_step + (y * self.size[1] + x) * self.chunks
        return addr % self.params.bank_words

    def taps(self, image, row, col):
        """Valid taps of a pixel: (tap row, tap column, address)."""
        all_taps = [
            (r, c, self.tap_addr(image, row, col, r, c)) for r in range(self.kernel) for c in range(self.kernel)
        ]
        return [tap for tap in all_taps if tap[2] is not None]

    def steps(self, image, row, col, slice_, cond, first_entry=0):
        """Steps of one job, as (ifmap address, ring address)."""
        steps = []
        chunks = self.path_chunks(slice_, cond)
        start = first_entry + self.ring_start(slice_, cond)
        for tap_row, tap_col, addr in self.taps(image, row, col):
            tap = 0 if self.hold else tap_row * self.kernel + tap_col
            for n, chunk in enumerate(chunks):
                steps.append(
                    (
                        (addr + chunk) % self.params.bank_words,
                        (start + tap * len(chunks) + n) % self.params.ring_entries,
                    )
                )
        return steps

    def pixels(self):
        """Pixels in the order of their base jobs, as `BasePixel` dicts."""
        order = [
            (slice_, image, row, col)
            for slice_ in range(self.slices)
            for image in range(self.images)
            for row in range(self.rows)
            for col in range(self.cols)
        ]
        for number, (slice_, image, row, col) in enumerate(order):
            taps = self.taps(image, row, col)
            word = slice_ * LANES // self.params.in_par + (row * self.cols + col) * self.out_words
            word += image * self.ofmap_image_step
            yield {
                "tap_addr": taps[0][2],
                "flags": {
                    "top": int(row * self.stride < self.pad),
                    "bottom": int(row * self.stride + self.kernel - 1 - self.pad >= self.size[0]),
                    "left": int(col * self.stride < self.pad),
                    "right": int(col * self.stride + self.kernel - 1 - self.pad >= self.size[1]),
                },
                "ofmap_addr": (self.bases[2] + word) % self.params.bank_words,
                "residual_addr": (self.bases[1] + word) % self.params.bank_words,
                "image": image,
                "row": row,
                "col": col,
                "slice": slice_,
                "last": int(number % (self.images * self.rows * self.cols) == self.images * self.rows * self.cols - 1),
            }

    def registers(self):
        """The same as `LayerRegisters`."""
        space = self.params.bank_words
        group_chunks, row_step = self.chunks // self.groups, self.size[1] * self.chunks
        pad_end = [(self._out(n) - 1) * self.stride + self.kernel - 1 - self.pad >= self.size[n] for n in range(2)]
        cond_chunks = 0 if self.mode is GateMode.BASE else self.chunks - group_chunks
        held_cols = 1 if self.hold else self.kernel
        addresses = {
            "ifmap_base": self.bases[0] - self.pad * (row_step + self.chunks),
            "residual_base": self.bases[1],
            "ofmap_base": self.bases[2],
            "ifmap_image_step": self.ifmap_image_step,
            "residual_image_step": self.ofmap_image_step,
            "ofmap_image_step": self.ofmap_image_step,
            "tap_col_step": self.chunks,
            "tap_row_step": row_step,
            "ifmap_col_step": self.stride * self.chunks,
            "ifmap_row_step": self.stride * row_step,
            "ofmap_col_step": self.out_words,
        }
        return {
            "mode": self.mode,
            "image_last": self.images - 1,
            "slice_last": self.slices - 1,
            "row_last": self.rows - 1,
            "col_last": self.cols - 1,
            "tap_row_last": self.kernel - 1,
            "tap_col_last": self.kernel - 1,
            "pad_top": int(self.pad > 0),
            "pad_bottom": int(pad_end[0]),
            "pad_left": int(self.pad > 0),
            "pad_right": int(pad_end[1]),
            **{name: addr % space for name, addr in addresses.items()},
            "base_chunk_last": group_chunks - 1,
            **{f"base_first_{n}": group_chunks * self.base_group(n) for n in range(self.groups)},
            "group_slice_last": self.slices // self.groups - 1,
            "base_entries": self.entries(False),
            "cond_entries": self.entries(True),
            "base_tap_entries": group_chunks,
            "cond_tap_entries": cond_chunks,
            "base_row_entries": held_cols * group_chunks,
            "cond_row_entries": held_cols * cond_chunks,
            "weight_hold": int(self.hold),
            **self.extra,
        }


def check_order(dut, count, gap_in, gap_out, seed):
    """Payloads of `ORDER_LAYOUT` leave a component with streams ``i`` and ``o`` as they came, each once."""
    rng = random.Random(seed)
    items = [{"code": rng.randrange(-16, 16), "last": rng.randrange(2)} for _ in range(count)]
    got = []
    simulate(
        dut,
        source(dut.i, items, gap_in, seed),
        sink(dut.o, got, len(items), gap_out, seed),
        background=[monitor(dut.o, seed)],
        what=f"(seed {seed})",
    )
    assert [as_dict(payload) for payload in got] == items, f"seed {seed}"
