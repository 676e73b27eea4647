"""An engine in Python that executes programs: four units with queues, tokens, banks, parameters, ring and memory.

Its units are interleaved in every way that a test asks for, and what one of them uses while another changes it is
an error. It is written from the definition of the instructions, not from the hardware.
"""

import hashlib
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from gen.layer.packing import unpack
from hw.interface.instructions import BODY_OFFSET, UNIT_OF, ChannelParameters, Header, Opcode, Transfer, Unit
from hw.interface.layouts import GateMode, LayerRegisters
from hw.params import LANES

#: Units by the names of their tokens.
TOKENS = {"load": Unit.LOAD, "compute": Unit.COMPUTE, "store": Unit.STORE}

#: Instructions that may wait for a unit.
DEPTH = 4


class ProgramError(AssertionError):
    """The program does something that no program may."""


@dataclass
class Decoded:
    """An instruction, unpacked: what it does, and the parts of banks, parameters and memory that it uses."""

    number: int
    opcode: Opcode
    take: list
    give: list
    body: dict
    reads: list = field(default_factory=list)  # (place, first, stop)
    writes: list = field(default_factory=list)

    @property
    def unit(self):
        return UNIT_OF[self.opcode]


def clash(one, other):
    """Return a part that one instruction writes and the other one uses, or None."""
    for writer, user in ((one, other), (other, one)):
        for place, first, stop in writer.writes:
            for what, begin, end in (*user.reads, *user.writes):
                if what == place and begin < stop and first < end:
                    return place, max(first, begin)
    return None


def decode(words, params):
    """Unpack a program of (n, 64) bytes, checking what the engine checks."""
    layout = LayerRegisters(params)
    program = []
    for number, word in enumerate(words):
        header = {name: value for name, value in unpack(Header, word[None, : BODY_OFFSET // 8]).items()}
        opcode = Opcode(int(header["opcode"][0]))
        body = unpack(layout if opcode is Opcode.COMPUTE else Transfer, word[None, BODY_OFFSET // 8 :])
        take, give = ([name for name in TOKENS if header[way][name][0]] for way in ("take", "give"))
        one = Decoded(number, opcode, take, give, {name: int(value[0]) for name, value in body.items()})
        own = {unit: name for name, unit in TOKENS.items()}.get(one.unit)
        if own in take + give or own is None and take + give:
            raise ProgramError(f"instruction {number}: tokens {take} {give} of {one.unit}")
        _use(one, params)
        program.append(one)
    return program


def _use(one, params):
    """Note what an instruction uses."""
    body = one.body
    item = {
        Opcode.LOAD_MAP: params.in_par,
        Opcode.STORE_MAP: params.in_par,
        Opcode.LOAD_PARAMETERS: params.param_record_bytes,
        Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes,
    }
    if one.opcode is Opcode.COMPUTE:
        # The ports of a bank are the pass's, so nobody else may use one.
        one.reads.append((f"bank {body['ifmap_bank']}", 0, params.bank_words))
        if body["residual_enable"]:
            one.reads.append((f"bank {body['residual_bank']}", 0, params.bank_words))
        if not body["logits"]:
            one.writes.append((f"bank {body['ofmap_bank']}", 0, params.bank_words))
            if body["ofmap_bank"] == body["ifmap_bank"]:
                raise ProgramError(f"instruction {one.number}: ofmap in the ifmap's bank")
        half = body["param_half"] * params.param_words // 2
        one.reads.append(("parameters", half, half + (body["slice_last"] + 1) * params.rq_phases))
        return
    size = body["count"] * item[one.opcode]
    memory = ("memory", body["address"], body["address"] + size)
    if body["address"] % params.axi_bytes or not body["count"]:
        raise ProgramError(f"instruction {one.number}: {body}")
    first = body["bank_addr"]
    part = {
        Opcode.LOAD_MAP: f"bank {body['bank']}",
        Opcode.STORE_MAP: f"bank {body['bank']}",
        Opcode.LOAD_PARAMETERS: "parameters",
    }.get(one.opcode)
    store = one.unit is Unit.STORE
    (one.writes if store else one.reads).append(memory)
    if part is None:
        return
    depth = params.param_words if part == "parameters" else params.bank_words
    if first + body["count"] > depth:
        raise ProgramError(f"instruction {one.number}: beyond {part}")
    (one.reads if store else one.writes).append((part, first, first + body["count"]))


def unordered(program):
    """Return pairs of instructions that use the same part, one of them changing it, and that nothing puts in order.

    If there is none, all interleavings of the units do what executing one instruction after the other does.
    """
    before, _ = _happens_before(program)
    return [
        (a.number, b.number, clash(a, b))
        for n, b in enumerate(program)
        for a in program[:n]
        if not before[b.number] >> a.number & 1 and clash(a, b)
    ]


def most_tokens(program):
    """Return the most tokens of two units that can wait at a time, whatever the interleaving."""
    before, pairs = _happens_before(program)
    return max(
        (
            n + 1 - sum(before[giver] >> taker & 1 for _, taker in edges)
            for edges in pairs.values()
            for n, (giver, _) in enumerate(edges)
        ),
        default=0,
    )


def _happens_before(program):
    """Return for each instruction a number with a bit for each one that has ended before it starts; and the edges."""
    before = [0] * len(program)
    last = {}
    given = {(a, b): [] for a in TOKENS for b in TOKENS}
    edges = {pair: [] for pair in given}
    names = {unit: name for name, unit in TOKENS.items()}
    for one in program:
        known = 0
        if one.unit in last:
            known |= before[last[one.unit]] | 1 << last[one.unit]
        for name in one.take:
            pair = (name, names[one.unit])
            if len(edges[pair]) >= len(given[pair]):
                raise ProgramError(f"instruction {one.number} takes a token that nobody before it gives")
            giver = given[pair][len(edges[pair])]
            edges[pair].append((giver, one.number))
            known |= before[giver] | 1 << giver
        before[one.number] = known
        last[one.unit] = one.number
        for name in one.give:
            given[names[one.unit], name].append(one.number)
    left = {pair: len(givers) - len(edges[pair]) for pair, givers in given.items() if len(givers) != len(edges[pair])}
    if left:
        raise ProgramError(f"tokens are left over: {left}")
    return before, edges


class Engine:
    """The engine's state lasts from one program to the next, as the hardware's does.

    Parameters
    ----------
    params
        The engine.
    size
        Bytes of memory.
    """

    def __init__(self, params, size):
        self.params = params
        self.memory = np.full(size + 64, 0xA5, dtype=np.uint8)
        self.known = np.zeros(size + 64, dtype=bool)
        self.banks = np.full((4, params.bank_words, params.in_par), 0x5A, dtype=np.uint8)
        self.bank_known = np.zeros((4, params.bank_words), dtype=bool)
        self.parameters = np.zeros((params.param_words, params.rq_lanes * 16), dtype=np.uint8)
        self.ring = deque()
        self.tokens = dict.fromkeys(((a, b) for a in TOKENS for b in TOKENS), 0)
        self.left = {}  # by unit: what is left of its instruction
        self.logits = None  # of a pass that has ended but for them
        self.done = {}  # passes that were computed before: by what they read, what they write

    def write(self, address, content):
        """Write memory, as the host does."""
        self.memory[address : address + len(content)] = np.frombuffer(content, dtype=np.uint8)
        self.known[address : address + len(content)] = True

    def read(self, region):
        """Read memory, as the host does."""
        if not self.known[region.address : region.stop].all():
            raise ProgramError(f"region {region.name} was not written")
        return self.memory[region.address : region.stop].tobytes()

    def run(self, program, choose):
        """Execute a decoded program.

        Parameters
        ----------
        program
            From `decode`.
        choose
            Called with the names of all that can happen next, a list of "dispatch" and units; returns one of them.
        """
        queues = {unit: deque() for unit in Unit}
        active = dict.fromkeys(Unit)
        self.most_tokens = 0
        self.passes = []
        position = 0
        while True:
            can = []
            if position < len(program) and len(queues[program[position].unit]) < DEPTH:
                can.append("dispatch")
            for unit in Unit:
                if active[unit] is not None:
                    if self._can_go_on(active[unit], active):
                        can.append(unit.name)
                elif queues[unit] and all(self.tokens[name, self._name(unit)] for name in queues[unit][0].take):
                    can.append(unit.name)
            if not can:
                break
            chosen = choose(can)
            if chosen == "dispatch":
                queues[program[position].unit].append(program[position])
                position += 1
                continue
            unit = Unit[chosen]
            if active[unit] is None:
                one = queues[unit].popleft()
                for name in one.take:
                    self.tokens[name, self._name(unit)] -= 1
                for other in active.values():
                    if other is not None and (part := clash(one, other)):
                        raise ProgramError(f"instructions {one.number} and {other.number} at once use {part}")
                active[unit] = one
                self.left[unit] = self._work(one)
            elif self._go_on(active[unit]):
                for name in active[unit].give:
                    self.tokens[self._name(unit), name] += 1
                self.most_tokens = max(self.most_tokens, *self.tokens.values())
                active[unit] = None
        stuck = [one.number for one in active.values() if one is not None] + [q[0].number for q in queues.values() if q]
        if stuck or position < len(program):
            raise ProgramError(f"locked up at instructions {stuck}, {position} dispatched")
        if any(self.tokens.values()) or self.ring:
            raise ProgramError(f"left over: tokens {self.tokens}, {len(self.ring)} ring entries")

    @staticmethod
    def _name(unit):
        return {unit: name for name, unit in TOKENS.items()}.get(unit)

    @staticmethod
    def _work(one):
        """Return what is left of an instruction: ring entries, slices, slices of logits; 1 if it is done at once."""
        if one.opcode is Opcode.LOAD_WEIGHTS:
            return one.body["count"]
        return one.body["slice_last"] + 1 if one.opcode is Opcode.COMPUTE else 1

    def _can_go_on(self, one, active):
        if one.opcode is Opcode.LOAD_WEIGHTS:
            return len(self.ring) < self.params.ring_entries
        if one.opcode is Opcode.STORE_LOGITS:
            return self.logits is not None
        if one.opcode is Opcode.COMPUTE:
            if self.left[Unit.COMPUTE] == 0:
                return self.logits is None
            store = active[Unit.STORE]
            taken = not one.body["logits"] or store is not None and store.opcode is Opcode.STORE_LOGITS
            return taken and len(self.ring) >= one.body["base_entries"] + one.body["cond_entries"]
        return True

    def _go_on(self, one):
        """Do a part of an instruction; return whether it has ended."""
        body, params = one.body, self.params
        if one.opcode is Opcode.LOAD_WEIGHTS:
            size = LANES * params.in_par
            count = min(self.left[one.unit], params.ring_entries - len(self.ring))
            entry = body["address"] + (body["count"] - self.left[one.unit]) * size
            self._check_known(one, entry, count * size)
            self.ring.extend(self.memory[entry : entry + count * size].reshape(count, size).copy())
            self.left[one.unit] -= count
            return self.left[one.unit] == 0
        if one.opcode is Opcode.COMPUTE:
            return self._slice(one)
        if one.opcode is Opcode.STORE_LOGITS:
            if len(self.logits) != body["count"]:
                raise ProgramError(f"instruction {one.number} must store {len(self.logits)} logit records")
            self.write(body["address"], np.concatenate(self.logits).astype("<i4").tobytes())
            self.logits = None
            return True
        address, first, count = body["address"], body["bank_addr"], body["count"]
        if one.opcode is Opcode.LOAD_PARAMETERS:
            size = params.param_record_bytes
            self._check_known(one, address, count * size)
            self.parameters[first : first + count] = self.memory[address : address + count * size].reshape(count, size)
        elif one.opcode is Opcode.LOAD_MAP:
            self._check_known(one, address, count * params.in_par)
            words = self.memory[address : address + count * params.in_par].reshape(count, params.in_par)
            self.banks[body["bank"], first : first + count] = words
            self.bank_known[body["bank"], first : first + count] = True
        else:
            if not self.bank_known[body["bank"], first : first + count].all():
                raise ProgramError(f"instruction {one.number} stores words that were never written")
            self.write(address, self.banks[body["bank"], first : first + count].tobytes())
        return True

    def _check_known(self, one, address, size):
        if not self.known[address : address + size].all():
            raise ProgramError(f"instruction {one.number} reads memory that was never written")

    def _slice(self, one):
        """Take a slice's weights; after the last one compute the whole pass."""
        body = one.body
        if self.left[one.unit] == 0:
            return True  # the store unit has taken the logits
        if self.left[one.unit] == body["slice_last"] + 1:
            self.weights = []
        count = body["base_entries"] + body["cond_entries"]
        self.weights.append(np.stack([self.ring.popleft() for _ in range(count)]))
        self.left[one.unit] -= 1
        if self.left[one.unit]:
            return False
        self._compute(one.number, body)
        return not body["logits"]

    def _compute(self, number, body):
        params = self.params
        weights = np.stack(self.weights)
        half = body["param_half"] * params.param_words // 2
        used = self.parameters[half : half + len(weights) * params.rq_phases]
        one = Pass(body, params)
        read = [self.banks[body["ifmap_bank"]][one.ifmap_words()].tobytes(), weights.tobytes(), used.tobytes()]
        if body["residual_enable"]:
            read.append(self.banks[body["residual_bank"]].reshape(-1)[one.residual_bytes()].tobytes())
        key = hashlib.sha256(b"".join([repr(sorted(body.items())).encode(), *read])).digest()
        if not self.bank_known[body["ifmap_bank"], one.ifmap_words()].all():
            raise ProgramError(f"instruction {number} reads words of its bank that were never written")
        if key not in self.done:
            one.run(self.banks, weights, used)
            self.done[key] = one
        done = self.done[key]
        self.passes.append((number, done))
        if body["logits"]:
            self.logits = done.logits
            return
        bank, granules, codes = done.written
        flat = self.banks[body["ofmap_bank"]].reshape(-1)
        flat[granules] = codes
        self.bank_known[body["ofmap_bank"], granules // params.in_par] = True


class Pass:
    """One pass, computed as the registers say: every address modulo the size of a bank.

    Attributes
    ----------
    written
        Bank, byte addresses in it, codes.
    logits
        Records in the order in which they leave.
    decisions
        By slice: (images, rows, cols, 8) bool, or None where nothing is decided.
    steps
        Steps of the base path and of the conditional path.
    """

    def __init__(self, body, params):
        self.body, self.params = body, params
        self.shape = tuple(body[f"{name}_last"] + 1 for name in ("image", "row", "col"))
        self.chunks = range(body["base_tap_entries"] + body["cond_tap_entries"])

    def run(self, banks, weights, parameters):
        """Compute the pass from the banks, the weights by slice, and the parameters."""
        body = self.body
        channels = unpack(ChannelParameters, parameters.reshape(-1, 16))
        self.multiplier, self.offset, self.threshold = (
            channels[name].reshape(-1, LANES) for name in ("multiplier", "offset", "threshold")
        )
        self.ifmap = banks[body["ifmap_bank"]]
        self.residual = banks[body["residual_bank"]].reshape(-1)
        self.steps = [0, 0]
        self.decisions, self.logits, places, codes = [], [], [], []
        first = body["base_chunk_first"]
        for n, entries in enumerate(weights.view(np.int8).astype(np.int64)):
            base = [first + k for k in range(body["base_chunk_last"] + 1)]
            self._slice(n, base, [chunk for chunk in self.chunks if chunk not in base], entries, places, codes)
            if (n + 1) % (body["group_slice_last"] + 1) == 0:
                first = (first + body["base_chunk_step"]) % self.params.bank_words
        self.written = (body["ofmap_bank"], np.concatenate(places), np.concatenate(codes)) if places else None
        del self.ifmap, self.residual

    def ifmap_words(self):
        """Return the addresses of the words of the ifmap that are read."""
        words = [
            self._words(row, col, chunk)[self._inside(row, col)]
            for row in range(self.body["tap_row_last"] + 1)
            for col in range(self.body["tap_col_last"] + 1)
            for chunk in self.chunks
        ]
        return np.unique(np.concatenate(words))

    def residual_bytes(self):
        """Return the addresses of the bytes of the residual that are read."""
        return np.concatenate([self._bytes("residual", n).reshape(-1) for n in range(self.body["slice_last"] + 1)])

    def _inside(self, tap_row, tap_col):
        """Tell for (images, rows, cols) whether a tap lies inside the map."""
        body = self.body
        inside = np.ones(self.shape, dtype=bool)
        if body["pad_top"] and tap_row == 0:
            inside[:, 0] = False
        if body["pad_bottom"] and tap_row == body["tap_row_last"]:
            inside[:, -1] = False
        if body["pad_left"] and tap_col == 0:
            inside[:, :, 0] = False
        if body["pad_right"] and tap_col == body["tap_col_last"]:
            inside[:, :, -1] = False
        return inside

    def _words(self, tap_row, tap_col, chunk):
        body = self.body
        pixels = self._grid("ifmap", body["ifmap_row_step"], body["ifmap_col_step"])
        return (
            pixels + tap_row * body["tap_row_step"] + tap_col * body["tap_col_step"] + chunk
        ) % self.params.bank_words

    def _bytes(self, what, n):
        """Return byte addresses of the channels of slice n in the ofmap or residual, (images, rows, cols, 8)."""
        lane, params, step = LANES * n + np.arange(LANES), self.params, self.body["ofmap_col_step"]
        words = self._grid(what, (self.body["col_last"] + 1) * step, step)[..., None] + lane // params.in_par
        return (words % params.bank_words) * params.in_par + lane % params.in_par

    def _grid(self, what, row_step, col_step):
        """Return word addresses of (images, rows, cols)."""
        image, row, col = np.meshgrid(*map(np.arange, self.shape), indexing="ij")
        return self.body[f"{what}_base"] + image * self.body[f"{what}_image_step"] + row * row_step + col * col_step

    def _path(self, chunks, entries, tap_entries, row_entries, path, wanted):
        psum = np.zeros((*self.shape, LANES), dtype=np.int64)
        for tap_row in range(self.body["tap_row_last"] + 1):
            for tap_col in range(self.body["tap_col_last"] + 1):
                inside = wanted & self._inside(tap_row, tap_col)
                self.steps[path] += int(inside.sum()) * len(chunks)
                for n, chunk in enumerate(chunks):
                    entry = n if self.body["weight_hold"] else tap_row * row_entries + tap_col * tap_entries + n
                    words = self.ifmap[self._words(tap_row, tap_col, chunk)]
                    codes = np.where(inside[..., None], words, 0).astype(np.int64)
                    psum += codes @ entries[entry].reshape(LANES, -1).T
        return psum

    def _slice(self, n, base, conditional, entries, places, codes):
        body = self.body
        everywhere = np.ones(self.shape, dtype=bool)
        acc = self._path(
            base, entries[: body["base_entries"]], body["base_tap_entries"], body["base_row_entries"], 0, everywhere
        )
        mode = GateMode(body["mode"])
        fires = np.full(acc.shape, mode is GateMode.DENSE)
        if mode is GateMode.GATED:
            fires[:] = (acc.sum(-1) > self.threshold[n, 0])[..., None]
        elif mode is GateMode.CHANNEL:
            fires = acc > self.threshold[n]
        if mode in (GateMode.GATED, GateMode.CHANNEL):
            self.decisions.append(fires)
        if conditional and fires.any():
            more = self._path(
                conditional,
                entries[body["base_entries"] :],
                body["cond_tap_entries"],
                body["cond_row_entries"],
                1,
                fires.any(-1),
            )
            acc = np.where(fires, acc + more, acc)
        total = acc * self.multiplier[n] + self.offset[n]
        if body["logits"]:
            self.logits.extend(total.reshape(-1, self.params.rq_lanes))
            return
        if body["residual_enable"]:
            code = self.residual[self._bytes("residual", n)].astype(np.int64)
            if body["residual_signed"]:
                code = np.where(code >= 128, code - 256, code)
            total = total + code * (body["residual_scale"] << body["residual_shift"])
        low, high = (-128, 127) if body["signed_output"] else (0, 255)
        places.append(self._bytes("ofmap", n).reshape(-1))
        codes.append((np.clip(total >> body["shift"], low, high) & 255).astype(np.uint8).reshape(-1))
