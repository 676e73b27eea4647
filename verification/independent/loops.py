"""Operators of the golden model as loops over Python integers: slow, and plain enough to be seen to be right."""

from operator import mul


def loop_conv(x, weight, stride, pad, pad_code):
    """Convolution over Python integers; lists in, lists out."""
    kernel = len(weight[0][0])
    height, width = len(x[0][0]), len(x[0][0][0])
    flat = [[w for plane in one for taps in plane for w in taps] for one in weight]
    out = []
    for image in x:
        maps = [[] for _ in weight]
        for oy in range((height + 2 * pad - kernel) // stride + 1):
            rows = [[] for _ in weight]
            for ox in range((width + 2 * pad - kernel) // stride + 1):
                seen = []
                for i, plane in enumerate(image):
                    for iy in range(oy * stride - pad, oy * stride - pad + kernel):
                        for ix in range(ox * stride - pad, ox * stride - pad + kernel):
                            inside = 0 <= iy < height and 0 <= ix < width
                            seen.append(plane[iy][ix] if inside else pad_code[i])
                for row, one in zip(rows, flat, strict=True):
                    row.append(sum(map(mul, seen, one)))
            for whole, row in zip(maps, rows, strict=True):
                whole.append(row)
        out.append(maps)
    return out


def loop_max_pool(x, window, stride, pad):
    """Max-pooling over Python integers; lists in, lists out. Taps outside of the map are not looked at."""
    rows, cols = ((len(plane) + 2 * pad - window) // stride + 1 for plane in (x[0][0], x[0][0][0]))
    taps = range(window)

    def greatest(plane, oy, ox):
        places = [(oy * stride + ky - pad, ox * stride + kx - pad) for ky in taps for kx in taps]
        return max(plane[y][x] for y, x in places if 0 <= y < len(plane) and 0 <= x < len(plane[0]))

    return [[[[greatest(plane, oy, ox) for ox in range(cols)] for oy in range(rows)] for plane in image] for image in x]


def loop_requantize(acc, m, b, s, r, r0, q, lo, hi):
    """Requantisation of one value: floor(x + 1/2) by Python's floor division, then the clamp."""
    numerator = acc * m + b + r * (r0 * 2**q) + 2 ** (s - 1)
    return min(max(numerator // 2**s, lo), hi)


def base_group_of(layer, group):
    """Return the input group of an output group's base path: the one that is listed, else as the branch says."""
    if layer.base_groups:
        return layer.base_groups[group]
    return group if layer.branch == 1 else layer.groups - 1 - group


def loop_steps(layer, size, in_par, decision):
    """Walk through every (image, slice, pixel, tap, chunk); returns base and fired conditional steps and lane steps."""
    base = conditional = lanes = 0
    out = layer.out_size(size)
    for n in range(len(decision)):
        for s in range(layer.out_ch // 8):
            group = s // (layer.out_ch // layer.groups // 8)
            base_group = base_group_of(layer, group)
            for y in range(out):
                for x in range(out):
                    per_slice = 8 // layer.slice_size
                    bits = decision[n, s * per_slice : (s + 1) * per_slice, y, x]
                    for ky in range(layer.kernel):
                        for kx in range(layer.kernel):
                            iy, ix = y * layer.stride + ky - layer.pad, x * layer.stride + kx - layer.pad
                            if not (0 <= iy < size and 0 <= ix < size):
                                continue
                            for chunk in range(layer.in_ch // in_par):
                                if chunk * in_par // (layer.in_ch // layer.groups) == base_group:
                                    base += 1
                                elif bits.any():
                                    conditional += 1
                                    lanes += int(bits.sum()) * layer.slice_size
    return base, conditional, lanes
