"""An engine in Python that executes programs: four units with queues, tokens, banks, parameters, ring and memory.

Its units are interleaved in every way that a test asks for, and what one of them uses while another changes it is
an error. It is written from the definition of the instructions, not from the hardware.
"""

import hashlib
from collections import deque

import numpy as np

from hw.interface.instructions import Opcode, Unit
from hw.params import LANES
from verification.independent.decoded_program import TOKENS, ProgramError, clash
from verification.independent.pass_interpreter import Pass

#: Instructions that may wait for a unit.
DEPTH = 4


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
        self.parameter_known = np.zeros(params.param_words, dtype=bool)
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
        if one.opcode is Opcode.POOL:
            self._compute(one.number, body)
            return True
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
            self.parameter_known[first : first + count] = True
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
        one = Pass(body, params)
        read = [self.banks[body["ifmap_bank"]][one.ifmap_words()].tobytes()]
        if not body["pool"]:
            weights = np.stack(self.weights)
            half = body["param_half"] * params.param_words // 2
            places = slice(half, half + len(weights) * params.rq_phases)
            if not self.parameter_known[places].all():
                raise ProgramError(f"instruction {number} uses parameters that were never loaded")
            used = self.parameters[places]
            read += [weights.tobytes(), used.tobytes()]
        if body["residual_enable"]:
            places = one.residual_bytes()
            if not self.bank_known[body["residual_bank"], places // params.in_par].all():
                raise ProgramError(f"instruction {number} adds a residual that was never written")
            read.append(self.banks[body["residual_bank"]].reshape(-1)[places].tobytes())
        key = hashlib.sha256(b"".join([repr(sorted(body.items())).encode(), *read])).digest()
        if not self.bank_known[body["ifmap_bank"], one.ifmap_words()].all():
            raise ProgramError(f"instruction {number} reads words of its bank that were never written")
        if key not in self.done:
            if body["pool"]:
                one.pool(self.banks)
            else:
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
