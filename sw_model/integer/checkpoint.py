"""The checkpoint file: an integer network and what is needed to train on, in one safetensors file.

The integers are the specification. For every layer the file holds ``int.<layer>.weight`` (int8), ``.M`` (int16),
``.B`` (int64) and in gated layers ``.K`` (int32), without elements where a layer has none; the scalars of all layers
and the network's facts are one JSON text under the metadata key ``cdgate``. Beside them, as ``train.<name>`` in
float32: the scale of every weight code, and BatchNorm's parameters, both branches' running statistics and tau under the
names of the float model's state.
`float_state` gives that state back, with the weights as quantised, so that training can go on from the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from cdgate.errors import CheckpointError
from cdgate.files import as_path, write_file
from sw_model.integer.layer import IMAGE, SCALAR_FIELDS, IntLayer, check_name
from sw_model.integer.network import IntNetwork

__all__ = ["DEFAULT_CHECKPOINT", "float_state", "is_quantised", "load", "save"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_SHIPPED = "checkpoints/resnet18_scdg_cifar10.safetensors"

#: The trained network that is shipped: beside the packages in the repository, in one of them where they are installed.
DEFAULT_CHECKPOINT = _ROOT / _SHIPPED if (_ROOT / _SHIPPED).is_file() else _ROOT / "cdgate" / _SHIPPED

#: Version of the layout described above.
SCHEMA = 1
_KEY = "cdgate"

#: Entry of a layer that only those have that need it.
_ADDED = "base_groups"
_DTYPES = {"weight": torch.int8, "M": torch.int16, "B": torch.int64, "K": torch.int32}
_SCALAR_TYPES: dict[str, type] = dict.fromkeys(SCALAR_FIELDS, int)
_SCALAR_TYPES.update(dict.fromkeys(("name", "kind", "input", "residual"), str))
_SCALAR_TYPES.update(dict.fromkeys(("gated", "residual_signed"), bool))


def save(path: str | Path, net: IntNetwork) -> None:
    """Write a network; the file appears under its name only when it is whole.

    Parameters
    ----------
    path
        File to write; its folder is made if missing.
    net
        The network; ``net.training`` goes along as float32.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for layer in net.layers:
        for name in _DTYPES:
            value = getattr(layer, name)
            if value is not None:
                tensors[f"int.{layer.name}.{name}"] = value.contiguous()
    for name, value in net.training.items():
        tensors[f"train.{name}"] = value.detach().to(torch.float32).contiguous()
    scalars = [
        {name: value for name in SCALAR_FIELDS if (value := getattr(layer, name)) != () or name != _ADDED}
        for layer in net.layers
    ]
    text = json.dumps({"schema": SCHEMA, "layers": scalars, "meta": net.meta}, sort_keys=True)
    write_file(path, serialize(tensors, metadata={_KEY: text}))


def is_quantised(metadata: Mapping[str, str] | None) -> bool:
    """Tell whether the metadata of a safetensors file are those of `save`."""
    return _KEY in (metadata or {})


def load(path: str | Path = DEFAULT_CHECKPOINT) -> IntNetwork:
    """Read a network and prove again that none of its sums overflows.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    IntNetwork
        The network.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, no checkpoint of this kind, or holds values that a layer
        refuses (see `sw_model.integer.layer.validate_layer`).
    UserError
        The path is none.
    """
    path = as_path("checkpoint", path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} must be an existing file")
    try:
        # Read whole, not mapped: the file may be replaced or cut while the network is in use.
        content = path.read_bytes()
        tensors = deserialize(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {path} must be a whole safetensors file: {reason}") from None
    try:
        return replace(_assemble(tensors, metadata), digest=hashlib.sha256(content).hexdigest())
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        reason = f"missing entry {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise CheckpointError(f"checkpoint {path} must hold a valid network: {reason}") from None


def _assemble(tensors: dict[str, Tensor], metadata: dict[str, str]) -> IntNetwork:
    if _KEY not in metadata:
        raise ValueError(f"metadata key {_KEY} is missing; was the file written by sw_model.quantize?")
    try:
        text = json.loads(metadata[_KEY])
    except json.JSONDecodeError as error:
        raise ValueError(f"metadata {_KEY} is not JSON: {error}") from None
    if not isinstance(text, dict) or text.get("schema") != SCHEMA:
        raise ValueError(f"schema must be {SCHEMA}, not {text.get('schema') if isinstance(text, dict) else text}")
    if not isinstance(text["layers"], list):
        raise ValueError("layers must be a list")
    layers = tuple(_layer(scalars, tensors) for scalars in text["layers"])
    training = {name.removeprefix("train."): value for name, value in tensors.items() if name.startswith("train.")}
    for name, value in training.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"tensor train.{name} must be finite")
    return IntNetwork(layers, text["meta"], training)


def _layer(scalars: Any, tensors: dict[str, Tensor]) -> IntLayer:
    if not isinstance(scalars, dict) or set(scalars) | {_ADDED} != set(SCALAR_FIELDS):
        raise ValueError(f"every layer must have exactly the entries {', '.join(SCALAR_FIELDS)}")
    name = scalars["name"]
    check_name(name)
    for key, value in scalars.items():
        if key in ("pad_code", _ADDED) or (key == "residual" and value is None):
            continue
        # Compared exactly: bool is an int in Python, but true is no stride.
        if type(value) is not _SCALAR_TYPES[key]:
            raise ValueError(f"layer {name}: {key} must be of type {_SCALAR_TYPES[key].__name__}, not {value!r}")
    lists = {key: scalars.get(key, []) for key in ("pad_code", _ADDED)}
    for key, numbers in lists.items():
        if not isinstance(numbers, list) or any(type(number) is not int for number in numbers):
            raise ValueError(f"layer {name}: {key} must be a list of integers")
    values: dict[str, Any] = {}
    for field, dtype in _DTYPES.items():
        key = f"int.{name}.{field}"
        value = tensors.get(key)
        if value is None and (field != "K" or scalars["gated"]):
            raise ValueError(f"tensor {key} is missing")
        if value is not None and value.dtype != dtype:
            raise ValueError(f"tensor {key} must be {dtype}, not {value.dtype}")
        values[field] = value
    values.update(scalars, **{key: tuple(numbers) for key, numbers in lists.items()})
    return IntLayer(**values)


def float_state(net: IntNetwork) -> dict[str, Tensor]:
    """Give back the state of the float model, to train on from: weights are ``code * scale`` of their slice.

    The stem's scale includes the folded normalisation, which is undone with ``meta["std"]``: a weight on normalised
    input is ``code * scale * 255 * std`` of its colour.

    Parameters
    ----------
    net
        A network that `sw_model.quantize` made.

    Returns
    -------
    dict[str, Tensor]
        Names and tensors for ``ResNet.load_state_dict``.

    Raises
    ------
    CheckpointError
        The network carries no training state, as one with random weights.
    """
    names = net.meta.get("weight_names")
    if not names:
        raise CheckpointError("checkpoint must hold a training state to continue from, but has none")
    state = {name: value for name, value in net.training.items() if not name.startswith("scale.")}
    for layer in net.layers:
        if layer.kind == "maxpool":
            continue
        scale = net.training[f"scale.{layer.name}"]
        weight = layer.weight.to(torch.float32) * scale.reshape(-1, *(1,) * (layer.weight.ndim - 1))
        if layer.input == IMAGE:
            weight = weight * 255 * torch.tensor(net.meta["std"], dtype=torch.float32).reshape(1, -1, 1, 1)
        state[names[layer.name]] = weight
    return state
