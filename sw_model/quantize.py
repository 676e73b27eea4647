"""Post-training quantisation: `python -m sw_model.quantize --checkpoint runs/x/last.ckpt --data FOLDER --out FILE`.

All BatchNorm statistics are re-estimated through each branch on clean training images (branch 2 for its saliency's own,
then branch 1 for all the rest), BatchNorm is folded, and `sw_model.int_builder` chooses the integers on calibration
images. The stem takes raw uint8 colours: normalised input is ``(q / 255 - mean) / std``, so its weights become
``w / (255 * std)``, the code of zero is ``255 * mean``, and its offset follows from the weights as quantised. Then the
float and the integer network are evaluated on the test images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors import safe_open
from torch import Tensor, nn

from . import checkpoint, evaluate
from .accounting import LANES
from .data import DIGITS, DataError, load_data
from .gating import GatedConv2d
from .int_builder import RealLayer, build_network
from .int_model import IMAGE, IntNetwork
from .machine import hardware
from .parallel import FLOAT, Task, evaluate_all
from .resnet import ResNet
from .topology import resnet_plan

__all__ = ["main", "obstacle", "quantize", "real_layers", "restore_model", "training_facts"]

#: Images that the activation scales are chosen on, the first of the training set.
CALIBRATION_IMAGES = 512


def _folded(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return gain and offset of a BatchNorm in eval mode, (channels,) float64 each."""
    if bn.running_var is None or bn.running_mean is None:
        raise ValueError("BatchNorm must keep running statistics")
    gain = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    return gain, bn.bias.double() - gain * bn.running_mean.double()


def _threshold(conv: GatedConv2d, branch: int) -> Tensor:
    """Return the real threshold of the saliency: ``mean + tau * sqrt(var + eps)``, (units,) float64."""
    norm = conv.norm[branch - 1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean.double() + conv.tau.double() * (norm.running_var.double() + norm.eps).sqrt()


def obstacle(model: ResNet) -> str | None:
    """Return why the engine cannot run a network of this kind, or None if it can."""
    mode, stem, size = (model.hparams[key] for key in ("gate_mode", "stem", "slice_size"))
    if mode in ("fbs", "dgc"):
        return f"network to quantise must be dense or gated by slice or channel, not {mode}"
    if stem != "small":
        return f"network to quantise must have the small stem, not the {stem} one"
    if mode == "slice" and size not in (1, LANES):
        return f"network to quantise must have slices of 1 or {LANES} channels, not {size}"
    return None


@torch.no_grad()
def real_layers(model: ResNet, branch: int = 1) -> list[RealLayer]:
    """List a float network's layers with BatchNorm folded, in the engine's order.

    Args:
        model: In eval mode; its running statistics are those of the branch.
        branch: Whose base path gates, 1 or 2.

    Returns:
        Layers for `sw_model.int_builder.build_network`.

    Raises:
        ValueError: The engine has no such layers.
    """
    mode, overlap = model.hparams["gate_mode"], model.hparams["overlap"]
    if reason := obstacle(model):
        raise ValueError(reason)
    if branch == 2 and overlap and mode != "dense":
        raise ValueError(f"branch to quantise must be 1 where the overlap is {overlap}: the engine's second is the "
                         "inverse diagonal")  # fmt: skip
    modules = {name: (conv, bn) for name, conv, bn in model.named_convs()}
    layers = []
    for entry in resnet_plan(1.0, model.stage_blocks, model.stage_channels):
        conv, bn = modules[entry["name"]]
        assert isinstance(conv, nn.Conv2d | GatedConv2d) and isinstance(bn, nn.BatchNorm2d)
        gain, offset = _folded(bn)
        weight, zero = conv.weight.double(), None
        if entry["input"] == IMAGE:
            weight = weight / (255 * model.std.double().reshape(1, -1, 1, 1))
            zero = 255 * model.mean.double().flatten()
        gate: dict[str, Any] = {}
        if isinstance(conv, GatedConv2d) and conv.mode != "dense":
            gate = dict(groups=conv.groups_gating, branch=branch, slice_size=conv.slice_size,
                        threshold=_threshold(conv, branch))  # fmt: skip
        layers.append(RealLayer(
            name=entry["name"], weight=weight, gain=gain, offset=offset, stride=entry["stride"],
            pad=entry["kernel"] // 2, relu=entry["relu"], input=entry["input"], residual=entry["residual"], zero=zero,
            **gate,
        ))  # fmt: skip
    ones = torch.ones(model.fc.out_features, dtype=torch.float64)
    layers.append(RealLayer(name="fc", weight=model.fc.weight.double(), gain=ones, offset=model.fc.bias.double(),
                            input=layers[-1].name))  # fmt: skip
    return layers


def _weight_names(model: ResNet) -> dict[str, str]:
    """Return the name in the model's state of every layer's weight."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {name: names[id(conv.weight)] for name, conv, _ in model.named_convs()}
    return dict(found, fc="fc.weight")


@torch.no_grad()
def quantize(
    model: ResNet,
    calibration_images: Any,
    branch: int = 1,
    classes: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> IntNetwork:
    """Quantise a network to int8; its running statistics are taken as they are.

    Args:
        model: The float network.
        calibration_images: (N, H, W, 3), uint8: clean training images, at least 512 for a network in earnest.
        branch: Whose base path gates, 1 or 2.
        classes: Their names; numbers if not given.
        progress: Called with every layer's name.

    Returns:
        The integer network, with all that `restore_model` needs.
    """
    weights = _weight_names(model)
    meta = {
        "network": dict(model.hparams),
        "width": model.hparams["width"],
        "groups": model.hparams["groups"],
        "gate_mode": model.hparams["gate_mode"],
        "branch": branch,
        "classes": [str(name) for name in (classes or range(model.fc.out_features))],
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
        "weight_names": weights,
        "trained": True,
    }
    net = build_network(real_layers(model, branch), calibration_images, meta, progress=progress)
    kept = set(weights.values())
    state = {name: value for name, value in model.state_dict().items() if name not in kept}
    return IntNetwork(net.layers, net.meta, net.training | state)


def restore_model(net: IntNetwork) -> ResNet:
    """Return the float network of a checkpoint, with the weights as quantised, to train on or compare with.

    Raises:
        CheckpointError: The checkpoint carries no training state.
    """
    state = checkpoint.float_state(net)
    model = ResNet(**net.meta["network"])
    model.load_state_dict(state)
    return model.eval()


def training_facts(path: Path) -> dict[str, Any]:
    """Return what the training wrote about itself, as plain JSON values."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["facts"])
    facts = torch.load(path, map_location="cpu", weights_only=True).get("facts", {})
    return json.loads(json.dumps(facts, default=str))


def _evaluate(task: Task, workers: int) -> dict[str, Any]:
    """Evaluate both networks; returns the figures of a results file."""
    runs = evaluate_all(task, workers)
    names = {FLOAT: FLOAT, "gated": "int8", "base": "int8_base_only", "dense": "int8_all_fire"}
    top1 = {names[name]: run.top1 for name, run in runs.items()}
    return {"accuracy": dict(top1, images=len(task.images)), **evaluate.as_json(task.net, runs["gated"].gating)}


def _show(figures: dict[str, Any]) -> None:
    console, top1 = Console(), figures["accuracy"]
    console.print(evaluate.gating_table(figures))
    names = {"float32": "float32", "int8": "int8", "int8_base_only": "base-only", "int8_all_fire": "all-fire"}
    text = ", ".join(f"{name} {100 * top1[key]:.2f} %" for key, name in names.items())
    console.print(f"top-1 on {top1['images']} images: {text}", soft_wrap=True)


def main(argv: list[str] | None = None) -> int:
    """Quantise a training checkpoint and evaluate it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sw_model.quantize", description="Quantise a trained network.")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="training checkpoint, as runs/NAME/decay.ckpt, or of --float16"
    )
    parser.add_argument("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data.py")
    parser.add_argument(
        "--out", type=Path, help="safetensors file to write (default: network.safetensors beside the checkpoint)"
    )
    parser.add_argument("--float16", type=Path, help="safetensors file for the network before it was quantised")
    parser.add_argument("--results", type=Path, help="JSON file that the figures are written to")
    parser.add_argument("--limit", type=int, help="evaluate only the first test images")
    parser.add_argument("--batches", type=int, default=50, help="batches of 256 for BatchNorm's statistics")
    parser.add_argument("--batches2", type=int, default=50, help="the same for those of branch 2's saliency")
    parser.add_argument("--workers", type=int, default=1, help="processes of the evaluation, threads of the rest")
    args = parser.parse_args(argv)
    try:
        _run(args, ["python", "-m", "sw_model.quantize", *(sys.argv[1:] if argv is None else argv)])
    except (DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace, command: list[str]) -> None:
    for name in ("batches", "batches2", "workers"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(args, name)}")
    if not args.checkpoint.is_file():
        raise ValueError(f"training checkpoint must exist, not {args.checkpoint}")
    # Imported here: they need the packages of training, which inference does without.
    from .bn_stats import reestimate
    from .training import load_model, save_weights

    start = time.monotonic()
    out = args.out or args.checkpoint.with_name("network.safetensors")
    torch.set_num_threads(args.workers)
    model = load_model(args.checkpoint)
    if reason := obstacle(model):
        raise ValueError(reason)
    data = load_data(args.data)
    evaluate.check_classes(model.fc.out_features, data)
    test_images, test_labels = evaluate.held_out(data, args.limit)
    # Branch 1 last: the ordinary BatchNorms keep its statistics.
    for branch, batches in ((2, args.batches2), (1, args.batches)):
        if branch == 1 or model.gated_convs():
            print(f"BatchNorm statistics of branch {branch} over {batches} batches of 256", file=sys.stderr)
            reestimate(model, data.train, branch, batches)
    if args.float16:
        save_weights(args.float16, model, training_facts(args.checkpoint))
    net = quantize(model, data.train[:CALIBRATION_IMAGES], classes=data.classes)
    net.meta.update(training=training_facts(args.checkpoint), data=data.name, image_size=data.size)
    checkpoint.save(out, net)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    net = checkpoint.load(out)  # what is evaluated is what was written

    figures = {
        "command": " ".join(command),
        "data": net.meta["data"],
        **{key: net.meta[key] for key in ("width", "groups", "gate_mode", "branch")},
        "training": net.meta["training"],
        "batch_norm": {"batches": args.batches, "batches_branch2": args.batches2, "batch_size": 256},
        "calibration_images": CALIBRATION_IMAGES,
        "hardware": hardware(),
        **_evaluate(Task(net, model, test_images, test_labels), args.workers),
        "wall_seconds": round(time.monotonic() - start, 1),
    }
    if args.results:
        args.results.parent.mkdir(parents=True, exist_ok=True)
        args.results.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    _show(figures)


if __name__ == "__main__":
    sys.exit(main())
