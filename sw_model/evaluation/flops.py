"""Work of the float networks, whatever the method, counted as the papers count: nominal MACs, padding included.

`sw_model.integer.steps` counts the engine's steps from the integer masks; this module compares the learning methods.
Gated layers (CDG, SCDG, CGNet) cost `macs (1/G + (1 - 1/G) f)` with f the share of decisions that fired. FBS costs
`macs d_in d_out` with the shares of channels kept by the layer and by the one before it in the block (residual sums are
dense), and its predictor; DGC costs `macs d` with the share that a head keeps, and its heads' saliency generators.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sw_model.integer.steps import flop_reduction
from sw_model.network.dgc import HEADS, DGCConv2d
from sw_model.network.fbs import FBSConv2d
from sw_model.network.gating import GatedConv2d
from sw_model.network.resnet import ResNet

__all__ = ["LayerWork", "count_work", "figures"]


@dataclass(frozen=True, kw_only=True)
class LayerWork:
    """Work of one layer for one image.

    Attributes
    ----------
    name
        The layer.
    macs
        Nominal multiply-accumulates without gating.
    executed
        Those that the method leaves, on average.
    decision
        Operations for deciding: an addition or a comparison for gates, a MAC or an addition for predictors.
    outputs
        Output activations of a gated layer, else 0.
    mask_bits
        Decisions of a gated layer, else 0.
    fired
        Decisions that fired, on average.
    """

    name: str
    macs: int
    executed: float
    decision: int = 0
    outputs: int = 0
    mask_bits: int = 0
    fired: float = 0.0


@torch.no_grad()
def _output_sizes(model: ResNet, size: int) -> dict[str, int]:
    """Pixels of every convolution's output, by layer name, for an image of size x size."""
    pixels: dict[str, int] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            pixels[name] = output.shape[2] * output.shape[3]

        return hook

    copy = model.clone().eval()
    for name, conv, _ in copy.named_convs():
        conv.register_forward_hook(record(name))
    copy.features(torch.zeros(1, 3, size, size, device=copy.mean.device))
    return pixels


def count_work(model: ResNet, size: int, fire_rates: Mapping[str, float]) -> list[LayerWork]:
    """Count every layer's work for one image.

    Parameters
    ----------
    model
        The network.
    size
        Height and width of the image.
    fire_rates
        By gated layer, the share of decisions that fired.

    Returns
    -------
    list[LayerWork]
        One entry per layer in execution order, the classifier last.
    """
    pixels = _output_sizes(model, size)
    work, kept = [], 1.0  # share of channels that the layer before left non-zero
    for name, conv, _ in model.named_convs():
        assert isinstance(conv, nn.Conv2d | GatedConv2d | FBSConv2d | DGCConv2d)
        area, macs = pixels[name], conv.weight.numel() * pixels[name]
        if isinstance(conv, GatedConv2d) and conv.granularity != "dense":
            rate, groups = fire_rates[name], conv.groups_gating
            bits = area * conv.out_channels // conv.slice_size
            work.append(LayerWork(
                name=name, macs=macs, executed=macs * (1 / groups + (1 - 1 / groups) * rate),
                decision=bits * conv.slice_size, outputs=area * conv.out_channels, mask_bits=bits, fired=bits * rate,
            ))  # fmt: skip
        elif isinstance(conv, FBSConv2d):
            density = conv.kept / conv.out_channels
            in_area = area * conv.stride**2
            # Predictor, pooling of its input, and the product with the gain.
            decision = conv.in_channels * conv.out_channels + in_area * conv.in_channels + area * conv.kept
            work.append(LayerWork(name=name, macs=macs, executed=macs * kept * density, decision=decision))
            # The stem's output and that of a block's first convolution are read as they are; a residual sum is dense.
            alone = name == "conv1" or (name.startswith("conv") and int(name.split("_")[1]) % 2 == 1)
            kept = density if alone else 1.0
        elif isinstance(conv, DGCConv2d):
            in_area = area * conv.stride**2
            decision = 2 * HEADS * conv.in_channels * conv.hidden + in_area * conv.in_channels
            executed = macs * conv.kept / conv.in_channels
            work.append(LayerWork(name=name, macs=macs, executed=executed, decision=decision))
        else:
            work.append(LayerWork(name=name, macs=macs, executed=macs))
    fc = model.fc.weight.numel()
    return [*work, LayerWork(name="fc", macs=fc, executed=fc)]


def figures(model: ResNet, size: int, fire_rates: Mapping[str, float]) -> dict[str, Any]:
    """What a results file says about a network's work.

    Returns
    -------
    dict[str, Any]
        "sparsity": {"output", "mac"} of the gated layers; "reduction": {"poster" (the poster's formula on the
        output-weighted sparsity), "gated_layers" (MAC-true), "network" (MAC-true, ungated layers included),
        "with_decisions" (the same, deciding included)}, ratios to the dense work; "macs", "decision_operations" and
        "mask_bits" per image; "index_reduction", activations per mask bit; "layers", sparsity by layer. Entries that
        a method does not have are None.
    """
    work = count_work(model, size, fire_rates)
    gated = [layer for layer in work if layer.mask_bits]
    macs, executed = sum(layer.macs for layer in work), sum(layer.executed for layer in work)
    decision = sum(layer.decision for layer in work)
    result: dict[str, Any] = {
        "sparsity": None,
        "reduction": {"poster": None, "gated_layers": None, "network": macs / executed,
                      "with_decisions": macs / (executed + decision)},
        "macs": macs, "decision_operations": decision, "mask_bits": None, "index_reduction": None, "layers": {},
    }  # fmt: skip
    if gated:
        groups = int(model.hparams["groups"])
        bits, outputs = sum(layer.mask_bits for layer in gated), sum(layer.outputs for layer in gated)
        # As the paper counts: every output activation has the same weight, and an activation its slice's decision.
        output = 1 - sum(layer.fired / layer.mask_bits * layer.outputs for layer in gated) / outputs
        gated_macs, gated_executed = sum(layer.macs for layer in gated), sum(layer.executed for layer in gated)
        share = gated_executed / gated_macs
        mac = 1 - (share - 1 / groups) / (1 - 1 / groups)
        result["sparsity"] = {"output": output, "mac": mac}
        result["reduction"] |= {"poster": flop_reduction(output, groups), "gated_layers": 1 / share}
        result["mask_bits"], result["index_reduction"] = bits, outputs / bits
        result["layers"] = {layer.name: 1 - layer.fired / layer.mask_bits for layer in gated}
    return result
