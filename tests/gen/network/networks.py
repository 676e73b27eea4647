"""Networks for the tests of the network compiler."""

import numpy as np
import torch

from sw_model.data.photographs import default_images
from sw_model.integer.layer import IMAGE, IntLayer
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.plan import resnet_plan
from sw_model.quantisation.random_network import random_network


def photographs(count, size):
    """Return ``count`` cut-outs of photographs, (count, rows, cols, 3) uint8."""
    whole = np.stack([image for _, image in default_images(3)])
    rows, cols = size
    tall, wide = (-(-length // 32) for length in size)
    whole = np.tile(whole, (1, tall, wide, 1))
    offsets = [(5 * n % (whole.shape[1] - rows + 1), 3 * n % (whole.shape[2] - cols + 1)) for n in range(count)]
    return np.stack([whole[n % 3, row : row + rows, col : col + cols] for n, (row, col) in enumerate(offsets)])


def lively(size, plan=None, groups=2, **options):
    """Return a network with random weights, calibrated on images of ``size``."""
    return random_network(images=photographs(3, size), plan=plan, groups=groups, **options)


def vgg_plan(channels, gated=True):
    """Return a stack of 3x3 convolutions without residuals; every second one but the stem has stride 2."""
    plan, source, in_ch = [], IMAGE, 3
    for n, out_ch in enumerate(channels, start=1):
        plan.append(
            {
                "name": f"conv{n}",
                "in_ch": in_ch,
                "out_ch": out_ch,
                "kernel": 3,
                "stride": 1 + (n % 2 == 0),
                "relu": True,
                "gated": gated and n > 1,
                "input": source,
                "residual": None,
            }
        )
        source, in_ch = f"conv{n}", out_ch
    return plan


def skip(name, source, residual, channels=16, kernel=3, gated=False):
    """Return a convolution from a map to one of the same size, with another map added."""
    return {
        "name": name,
        "in_ch": channels,
        "out_ch": channels,
        "kernel": kernel,
        "stride": 1,
        "relu": True,
        "gated": gated,
        "input": source,
        "residual": residual,
    }


def pool(name, source, window=2, stride=2, pad=0):
    """Return a max-pooling."""
    return {"name": name, "window": window, "stride": stride, "pad": pad, "input": source}


def graph(*layers):
    """Return a plan: a first layer ``a`` that halves the image, and more layers behind it."""
    return [{**skip("a", "image", None), "in_ch": 3, "stride": 2}, *layers]


#: Maps that are read more than once, in ways that a ResNet does not read them.
GRAPHS = {
    "skips in a row": graph(skip("b", "a", "a"), skip("c", "b", "b", gated=True), skip("d", "c", "c")),
    "read by three": graph(skip("b", "a", "a"), skip("c", "b", "a", gated=True), skip("d", "c", "a")),
    "skip over four": graph(
        skip("b", "a", None), skip("c", "b", None, gated=True), skip("d", "c", None), skip("e", "d", "a")
    ),
    "crossed": graph(skip("b", "a", None), skip("c", "a", "b"), skip("d", "c", "c"), skip("e", "d", "a", gated=True)),
}


def blank(plan, groups=4, classes=10):
    """Return a network of a plan with weights of no interest, made in no time."""
    layers = []
    for conv in plan:
        size = conv["groups"] if "groups" in conv else groups
        out_ch, in_ch, kernel = conv["out_ch"], conv["in_ch"], conv["kernel"]
        gate = {"groups": size, "gated": True, "K": torch.zeros(out_ch // 8, dtype=torch.int32)}
        layers.append(
            IntLayer(
                name=conv["name"],
                kind="conv",
                weight=torch.ones(out_ch, in_ch, kernel, kernel, dtype=torch.int8),
                stride=conv["stride"],
                pad=kernel // 2,
                input=conv["input"],
                residual=conv["residual"],
                residual_signed=bool(conv["residual"] and conv["residual"].startswith("down")),
                M=torch.ones(out_ch, dtype=torch.int16),
                B=torch.zeros(out_ch, dtype=torch.int64),
                S=8,
                lo=0 if conv["relu"] else -128,
                hi=255 if conv["relu"] else 127,
                **(gate if conv["gated"] else {}),
            )
        )
    last = layers[-1]
    layers.append(
        IntLayer(
            name="fc",
            kind="fc",
            weight=torch.ones(classes, last.out_ch, dtype=torch.int8),
            input=last.name,
            M=torch.ones(classes, dtype=torch.int16),
            B=torch.zeros(classes, dtype=torch.int64),
            S=0,
            lo=-(2**31),
            hi=2**31 - 1,
        )
    )
    return IntNetwork(layers=tuple(layers))


def blank_resnet(blocks=2, channels=(64, 128, 256, 512), **options):
    """Return a ResNet without weights of interest."""
    return blank(resnet_plan(1.0, blocks, channels), **options)
