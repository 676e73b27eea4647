"""A network's weights in files, with what the training wrote about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sw_model.network.resnet import ResNet

__all__ = ["load_model", "save_weights", "training_facts"]


def load_model(path: str | Path) -> ResNet:
    """Rebuild the network of a training checkpoint, in eval mode with its own running statistics.

    A file of `save_weights` will do, too.

    Raises
    ------
    ValueError
        The file is neither.
    """
    try:
        if Path(path).suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                model = ResNet(**json.loads(file.metadata()["network"]))
                model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            return model.eval()
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        model = ResNet(**checkpoint["network"])
        state = checkpoint["state_dict"]
        model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    except FileNotFoundError:
        raise ValueError(f"training checkpoint must exist, not {path}") from None
    except Exception as error:
        raise ValueError(f"training checkpoint must be a file written by sw_model.train, not {path}") from error
    return model.eval()


def save_weights(path: Path, model: ResNet, facts: dict[str, Any]) -> None:
    """Write a network's state without the optimiser's: weights in float16, what has one value a channel in float32.

    It is half the size of the float32 weights, to train on from or to quantise anew. `facts` are those of the training.
    """
    state = {name: value.half() if value.ndim > 1 else value for name, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in state.items()}, part,
              {"network": json.dumps(model.hparams), "facts": json.dumps(facts)})  # fmt: skip
    part.replace(path)


def training_facts(path: Path) -> dict[str, Any]:
    """Return what the training wrote about itself, as plain JSON values."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["facts"])
    facts = torch.load(path, map_location="cpu", weights_only=True).get("facts", {})
    return json.loads(json.dumps(facts, default=str))
