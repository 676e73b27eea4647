"""One pass in Python, from what the compute unit's registers say; not from the hardware."""

import numpy as np

from gen.layer.packing import unpack
from hw.interface.instructions import ChannelParameters
from hw.interface.layouts import GateMode
from hw.params import LANES


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
        if body["pool"]:  # words of a pixel, which slices have whole
            self.chunks = range((body["slice_last"] + 1) * max(LANES, params.in_par) // params.in_par)

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
        self.taps = {}
        self.decisions, self.logits, places, codes = [], [], [], []
        for n, entries in enumerate(weights.view(np.int8).astype(np.float64)):
            first = body[f"base_first_{n // (body['group_slice_last'] + 1) % 8}"]
            base = [first + k for k in range(body["base_chunk_last"] + 1)]
            self._slice(n, base, [chunk for chunk in self.chunks if chunk not in base], entries, places, codes)
        self.written = (body["ofmap_bank"], np.concatenate(places), np.concatenate(codes)) if places else None
        del self.ifmap, self.residual, self.taps

    def pool(self, banks):
        """Take the greatest code of each channel over the taps inside the map."""
        body, params = self.body, self.params
        source = banks[body["ifmap_bank"]].view(np.int8 if body["signed_output"] else np.uint8).astype(np.int64)
        self.steps, self.decisions, self.logits = [0, 0], [], []
        pixels = self._grid("ofmap", (body["col_last"] + 1) * body["ofmap_col_step"], body["ofmap_col_step"])
        places, codes = [], []
        for word in self.chunks:
            greatest = np.full((*self.shape, params.in_par), -129)
            for tap_row in range(body["tap_row_last"] + 1):
                for tap_col in range(body["tap_col_last"] + 1):
                    taps = source[self._words(tap_row, tap_col, word)]
                    inside = self._inside(tap_row, tap_col)[..., None]
                    greatest = np.maximum(greatest, np.where(inside, taps, -129))
            word_bytes = ((pixels + word) % params.bank_words)[..., None] * params.in_par + np.arange(params.in_par)
            places.append(word_bytes.reshape(-1))
            codes.append((greatest & 255).astype(np.uint8).reshape(-1))
        self.written = body["ofmap_bank"], np.concatenate(places), np.concatenate(codes)

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

    def _read(self, tap_row, tap_col, chunks):
        """Return the codes of chunks that a tap reads, (images, rows, cols, chunks * in_par), zeros outside."""
        key = tap_row, tap_col, tuple(chunks)
        if key not in self.taps:
            words = np.stack([self._words(tap_row, tap_col, chunk) for chunk in chunks], axis=-1)
            inside = self._inside(tap_row, tap_col)[..., None, None]
            codes = np.where(inside, self.ifmap[words], 0).astype(np.float64)
            self.taps[key] = codes.reshape(*self.shape, -1)
        return self.taps[key]

    def _path(self, chunks, entries, tap_entries, row_entries, path, wanted):
        # Sums of products of codes stay far below 2^53: they are as exact in float64, whose products are much faster.
        psum = np.zeros((*self.shape, LANES), dtype=np.float64)
        for tap_row in range(self.body["tap_row_last"] + 1):
            for tap_col in range(self.body["tap_col_last"] + 1):
                self.steps[path] += int((wanted & self._inside(tap_row, tap_col)).sum()) * len(chunks)
                first = 0 if self.body["weight_hold"] else tap_row * row_entries + tap_col * tap_entries
                weights = entries[first : first + len(chunks)].reshape(len(chunks), LANES, -1).transpose(0, 2, 1)
                psum += self._read(tap_row, tap_col, chunks) @ weights.reshape(-1, LANES)
        return psum.astype(np.int64)

    def _slice(self, n, base, conditional, entries, places, codes):
        body = self.body
        if self.taps and n % (body["group_slice_last"] + 1) == 0:
            self.taps.clear()  # another output group reads other chunks
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
