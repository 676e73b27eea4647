"""The host's part of the work once more: images laid out as the first layer reads them, pixel by pixel, tap by tap."""

import numpy as np


def laid_out(layer, images, size, in_par):
    """Return images as bytes of the region ``input``.

    Parameters
    ----------
    layer
        The layer that reads the image.
    images
        (N, rows, columns, colours) uint8.
    size
        Bytes of the region.
    in_par
        Bytes of a word.
    """
    kernel, stride, pad = (layer.kernel, layer.stride, layer.pad) if layer.kind == "conv" else (1, 1, 0)
    if kernel == 1:  # the map as it is: whole slices of 8 channels
        stride, pad, unit = 1, 0, max(8, in_par)
    else:
        unit = in_par
    count, rows, cols, colours = images.shape
    codes = list(layer.pad_code)
    pixel = -(-kernel * kernel * colours // unit) * unit
    parts = []
    for image in images:
        found = bytearray()
        for top in range(-pad, rows + pad - kernel + 1, stride):
            for left in range(-pad, cols + pad - kernel + 1, stride):
                values = []
                for row in range(top, top + kernel):
                    for col in range(left, left + kernel):
                        inside = 0 <= row < rows and 0 <= col < cols
                        values += image[row, col].tolist() if inside else codes
                found += bytes(values).ljust(pixel, b"\0")
        parts.append(bytes(found).ljust(size // count, b"\0"))
    return np.frombuffer(b"".join(parts), dtype=np.uint8)
