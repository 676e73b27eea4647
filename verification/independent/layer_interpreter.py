"""A slow engine in Python that executes a program word by word: what the registers, banks and streams mean.

It is written from the interface's definition, not from the hardware: every address is computed as the registers say,
modulo the size of a bank, and every weight is taken from the stream in order. Only what the hardware may do in any
order (when a job runs) is done in the simplest one.
"""

from dataclasses import dataclass, field

import numpy as np

from gen.layer.packing import pack, unpack
from hw.interface.layouts import BankWrite, GateMode, LayerRegisters, ParameterWord
from hw.params import LANES


@dataclass
class Outcome:
    """What a pass left behind."""

    banks: np.ndarray  # (4, bank_words, in_par) uint8
    decisions: list = field(default_factory=list)  # (slice, image, row, col, fires), in job order
    logits: dict = field(default_factory=dict)  # (image, class) to logit
    base_steps: int = 0
    cond_steps: int = 0
    entries_used: int = 0


class Interpreter:
    """The engine's state: banks and parameters last from one program to the next."""

    def __init__(self, params):
        self.params = params
        self.banks = np.full((4, params.bank_words, params.in_par), 0xA5, dtype=np.uint8)
        self.multiplier = np.zeros((params.max_slices, LANES), dtype=object)
        self.offset = np.zeros((params.max_slices, LANES), dtype=object)
        self.threshold = np.zeros((params.max_slices, LANES), dtype=object)

    def load(self, program):
        """Take the words of ``load_i`` and ``param_i``, through their packed form."""
        params = self.params
        words = unpack(BankWrite(params), program.packed_loads())
        data = words["data"] if params.chunk_bits > 62 else words["data"].astype("<u8").view(np.uint8).reshape(-1, 8)
        self.banks[words["bank"], words["addr"]] = data[:, : params.in_par]
        values = unpack(ParameterWord(params), program.packed_parameters())
        for n, address in enumerate(values["address"]):
            slice_, phase = divmod(int(address), params.rq_phases)
            lanes = slice(phase * params.rq_lanes, (phase + 1) * params.rq_lanes)
            self.multiplier[slice_, lanes] = [int(v) for v in values["scales"]["multiplier"][n]]
            self.offset[slice_, lanes] = [int(v) for v in values["scales"]["offset"][n]]
            self.threshold[slice_, lanes] = [int(v) for v in values["thresholds"][n]]

    def run(self, program):
        """Execute one pass."""
        layout = LayerRegisters(self.params)
        size = len(pack(layout, program.registers, 1)[0])
        bits = np.frombuffer(program.layer_value().to_bytes(size, "little"), dtype=np.uint8)[None]
        reg = {name: int(value[0]) for name, value in unpack(layout, bits).items()}
        outcome = Outcome(self.banks)
        if reg["pool"]:
            self._pool(reg)
            return outcome
        self.forced = iter(() if program.masks is None else program.masks["fire"])
        chunks = list(range(reg["base_tap_entries"] + reg["cond_tap_entries"]))
        group = group_slice = 0
        for slice_ in range(reg["slice_last"] + 1):
            base = [reg[f"base_first_{group}"] + n for n in range(reg["base_chunk_last"] + 1)]
            cond = [chunk for chunk in chunks if chunk not in base]
            start = outcome.entries_used
            weights = program.weights[start : start + reg["base_entries"] + reg["cond_entries"]].view(np.int8)
            outcome.entries_used += len(weights)
            paths = (
                (base, weights[: reg["base_entries"]], reg["base_tap_entries"], reg["base_row_entries"]),
                (cond, weights[reg["base_entries"] :], reg["cond_tap_entries"], reg["cond_row_entries"]),
            )
            for image in range(reg["image_last"] + 1):
                for row in range(reg["row_last"] + 1):
                    for col in range(reg["col_last"] + 1):
                        self._pixel(reg, outcome, paths, slice_, image, row, col)
            if group_slice == reg["group_slice_last"]:
                group_slice = 0
                group = (group + 1) % 8
            else:
                group_slice += 1
        assert outcome.entries_used == len(program.weights)
        return outcome

    def _path(self, reg, path, image, row, col):
        """Return a path's psums of the eight lanes, and its steps."""
        chunks, weights, tap_entries, row_entries = path
        bank = self.banks[reg["ifmap_bank"]]
        psum, steps = np.zeros(LANES, dtype=np.int64), 0
        for tap_row, tap_col, address in self._taps(reg, image, row, col):
            for n, chunk in enumerate(chunks):
                entry = n if reg["weight_hold"] else tap_row * row_entries + tap_col * tap_entries + n
                codes = bank[(address + chunk) % self.params.bank_words].astype(np.int64)
                psum += weights[entry].astype(np.int64).reshape(LANES, -1) @ codes
                steps += 1
        return psum, steps

    @staticmethod
    def _taps(reg, image, row, col):
        """Yield row, column and address of the taps of a pixel that lie inside the map."""
        for tap_row in range(reg["tap_row_last"] + 1):
            if (
                reg["pad_top"]
                and row == 0
                and tap_row == 0
                or reg["pad_bottom"]
                and row == reg["row_last"]
                and tap_row == reg["tap_row_last"]
            ):
                continue
            for tap_col in range(reg["tap_col_last"] + 1):
                if (
                    reg["pad_left"]
                    and col == 0
                    and tap_col == 0
                    or reg["pad_right"]
                    and col == reg["col_last"]
                    and tap_col == reg["tap_col_last"]
                ):
                    continue
                yield (
                    tap_row,
                    tap_col,
                    reg["ifmap_base"]
                    + image * reg["ifmap_image_step"]
                    + row * reg["ifmap_row_step"]
                    + col * reg["ifmap_col_step"]
                    + tap_row * reg["tap_row_step"]
                    + tap_col * reg["tap_col_step"],
                )

    def _pool(self, reg):
        """Write the greatest code of each channel; slices are of whole words."""
        words = (reg["slice_last"] + 1) * max(LANES, self.params.in_par) // self.params.in_par
        source, target = self.banks[reg["ifmap_bank"]], self.banks[reg["ofmap_bank"]]
        kind = np.int8 if reg["signed_output"] else np.uint8
        for image in range(reg["image_last"] + 1):
            for row in range(reg["row_last"] + 1):
                for col in range(reg["col_last"] + 1):
                    pixel = row * (reg["col_last"] + 1) + col
                    to = reg["ofmap_base"] + image * reg["ofmap_image_step"] + pixel * reg["ofmap_col_step"]
                    taps = [address for _, _, address in self._taps(reg, image, row, col)]
                    for word in range(words):
                        codes = [source[(address + word) % self.params.bank_words].view(kind) for address in taps]
                        target[(to + word) % self.params.bank_words] = np.max(codes, axis=0).view(np.uint8)

    def _pixel(self, reg, outcome, paths, slice_, image, row, col):
        acc, steps = self._path(reg, paths[0], image, row, col)
        outcome.base_steps += steps
        mode = GateMode(reg["mode"])
        fires = np.full(LANES, mode is GateMode.DENSE)
        if mode is GateMode.GATED:
            fires[:] = int(acc.sum()) > self.threshold[slice_, 0]
        elif mode is GateMode.CHANNEL:
            fires[:] = acc > self.threshold[slice_]
        elif mode is GateMode.FORCED:
            fires[:] = np.unpackbits(next(self.forced), bitorder="little")
        if mode not in (GateMode.DENSE, GateMode.BASE):
            outcome.decisions.append((slice_, image, row, col, fires))
        if fires.any():
            psum, steps = self._path(reg, paths[1], image, row, col)
            acc, outcome.cond_steps = np.where(fires, acc + psum, acc), outcome.cond_steps + steps
        for lane in range(LANES):
            total = int(acc[lane]) * self.multiplier[slice_, lane] + self.offset[slice_, lane]
            if reg["logits"]:
                outcome.logits[image, LANES * slice_ + lane] = (total + 2**31) % 2**32 - 2**31
            else:
                self._write(reg, total, slice_, lane, image, row, col)

    def _write(self, reg, total, slice_, lane, image, row, col):
        word, byte = divmod(LANES * slice_ + lane, self.params.in_par)
        within = (row * (reg["col_last"] + 1) + col) * reg["ofmap_col_step"] + word
        if reg["residual_enable"]:
            address = reg["residual_base"] + image * reg["residual_image_step"] + within
            code = int(self.banks[reg["residual_bank"], address % self.params.bank_words, byte])
            if reg["residual_signed"] and code >= 128:
                code -= 256
            total += code * (reg["residual_scale"] << reg["residual_shift"])
        low, high = (-128, 127) if reg["signed_output"] else (0, 255)
        address = reg["ofmap_base"] + image * reg["ofmap_image_step"] + within
        code = min(max(total >> reg["shift"], low), high) & 255
        self.banks[reg["ofmap_bank"], address % self.params.bank_words, byte] = code
