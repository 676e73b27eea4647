"""A network's weights in files, with what the training wrote about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cdgate.errors import CheckpointError
from cdgate.files import replaced
from sw_model.integer import checkpoint
from sw_model.network.resnet import ResNet, current_arguments

__all__ = ["check_finite", "load_model", "read_training", "save_weights", "training_facts"]


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors with a value that is not finite.

    Parameters
    ----------
    state
        Tensors by name.
    what
        Whose they are, for the message.

    Raises
    ------
    CheckpointError
        Names the first such tensor.
    """
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{what} must have finite values only, but {name} has others")


def read_training(path: str | Path) -> dict[str, Any]:
    """Read a training checkpoint: "network", "state_dict", "facts" and what the trainer keeps, on the CPU.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or none.
    """
    try:
        trained = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(trained["network"], dict) and isinstance(trained["facts"], dict):
            return dict(trained, network=current_arguments(trained["network"]))
    except FileNotFoundError:
        raise CheckpointError(f"training checkpoint must exist, not {path}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise CheckpointError(f"training checkpoint must be a whole file of sw_model.train, not {path}") from error
    raise CheckpointError(f"training checkpoint must be a whole file of sw_model.train, not {path}")


def _read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Arguments, state and facts in a file of `save_weights` or a quantised network; raises CheckpointError if none."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            if checkpoint.is_quantised(metadata):
                return _quantised(path)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return current_arguments(json.loads(metadata["network"])), state, json.loads(metadata["facts"])
    except FileNotFoundError:
        raise CheckpointError(f"training checkpoint must exist, not {path}") from None
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"training checkpoint must be a whole file of sw_model.train, not {path}") from error


def _quantised(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """The same of a quantised network that carries its training state: its weights are ``code * scale``."""
    net = checkpoint.load(path)
    state = checkpoint.float_state(net)
    return current_arguments(net.meta["network"]), state, net.meta.get("training", {})


def load_model(path: str | Path) -> ResNet:
    """Rebuild the network of a training checkpoint, in eval mode with its own running statistics.

    A file of `save_weights` will do, too, and so will a quantised network of `sw_model.quantize`: to train on from
    weights of 8 bits costs nothing that the first steps do not give back (docs/training.md).

    Raises
    ------
    CheckpointError
        The file is neither, or a tensor in it is not finite.
    """
    if Path(path).suffix == ".safetensors":
        arguments, state, _ = _read_weights(path)
    else:
        trained = read_training(path)
        arguments = trained["network"]
        whole = trained["state_dict"]
        state = {k.removeprefix("model."): v for k, v in whole.items() if k.startswith("model.")}
    check_finite(state, f"training checkpoint {path}")
    try:
        model = ResNet(**arguments)
        model.load_state_dict(state)
    except Exception as error:
        raise CheckpointError(f"training checkpoint must be a whole file of sw_model.train, not {path}") from error
    return model.eval()


def save_weights(path: Path, model: ResNet, facts: dict[str, Any]) -> None:
    """Write a network's state without the optimiser's: weights in float16, what has one value a channel in float32.

    It is half the size of the float32 weights, to train on from or to quantise anew.

    Parameters
    ----------
    path
        safetensors file; its folder is made if missing.
    model
        The network, on any device.
    facts
        Those of the training.

    Raises
    ------
    CheckpointError
        A value is not finite, or too large for float16.
    """
    state = {name: value.half() if value.ndim > 1 else value for name, value in model.state_dict().items()}
    check_finite(state, "network in float16")
    content = {name: value.cpu().contiguous() for name, value in state.items()}
    with replaced(path) as part:
        save_file(content, part, {"network": json.dumps(model.hparams), "facts": json.dumps(facts)})


def training_facts(path: Path) -> dict[str, Any]:
    """Return what the training wrote about itself, as plain JSON values.

    Raises
    ------
    CheckpointError
        The file is no training checkpoint.
    """
    if path.suffix == ".safetensors":
        return _read_weights(path)[2]
    return dict(json.loads(json.dumps(read_training(path)["facts"], default=str)))
