"""The stem as a 1x1 convolution: every pixel of the map holds all taps of the convolution as its channels.

With 3 channels a 3x3 convolution would fill 3 of ``in_par`` multipliers; as patches of 27 channels it fills nearly all,
and padding of any code costs nothing, as it is in the map. A 7x7 kernel makes patches of 147 channels, a 5x5 one on a
grey image of 25.
"""

from __future__ import annotations

import numpy as np

from gen.layer.protocol import Layer

__all__ = ["patch_map", "patch_weight"]


def patch_map(layer: Layer, ifmap: np.ndarray) -> np.ndarray:
    """Lay out an ifmap as patches.

    Channel ``(ky * kernel + kx) * in_ch + c`` of pixel (row, column) is channel ``c`` of the padded ifmap at
    (stride * row + ky, stride * column + kx).

    Parameters
    ----------
    layer
        An `sw_model.integer.network.IntLayer`; its padding has the codes ``pad_code``.
    ifmap
        (N, in_ch, H, W), integers.

    Returns
    -------
    numpy.ndarray
        (N, kernel * kernel * in_ch, H', W').
    """
    images, channels, rows, cols = ifmap.shape
    pad, stride = layer.pad, layer.stride
    padded = np.empty((images, channels, rows + 2 * pad, cols + 2 * pad), dtype=ifmap.dtype)
    padded[:] = np.asarray(layer.pad_code, dtype=ifmap.dtype).reshape(1, -1, 1, 1)
    padded[:, :, pad : pad + rows, pad : pad + cols] = ifmap
    out_rows, out_cols = layer.out_size(rows), layer.out_size(cols)
    taps = [
        padded[:, :, ky : ky + stride * (out_rows - 1) + 1 : stride, kx : kx + stride * (out_cols - 1) + 1 : stride]
        for ky in range(layer.kernel)
        for kx in range(layer.kernel)
    ]
    return np.concatenate(taps, axis=1)


def patch_weight(weight: np.ndarray) -> np.ndarray:
    """Bring (O, I, kh, kw) weights into the channel order of `patch_map`: (O, kh * kw * I, 1, 1)."""
    return weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1, 1, 1)
