"""What comes back of a training: weights in float16, and what training on needs beside them, in half the bytes.

``NAME.safetensors`` is a file of `sw_model.network.weights.save_weights`, which ``sw_model.train --from`` and
``sw_model.quantize`` read. ``NAME.rest.safetensors`` has the projector's parameters in float16 and statistics in
float32 (``projector.*``) and the optimiser's momentum in bfloat16 (``momentum.*``, by the parameter's name).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cdgate.errors import CheckpointError
from cdgate.files import replaced
from sw_model.network.weights import check_finite, save_weights
from sw_model.training.modules import PhaseModule

__all__ = ["load_rest", "save_state"]


def _rest_of(path: Path) -> Path:
    """The file of the rest that belongs to a file of weights."""
    return path.with_name(f"{path.stem}.rest.safetensors")


def save_state(path: Path, module: PhaseModule, rest: bool) -> None:
    """Write a network while it trains, and perhaps the rest.

    Parameters
    ----------
    path
        Of the weights.
    module
        The phase's module; its optimiser is that of its trainer.
    rest
        Whether projector and momentum are written, too.

    Raises
    ------
    CheckpointError
        A value is not finite, or too large for float16.
    """
    save_weights(path, module.model, module.all_facts())
    if not rest:
        return
    tensors: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if name.startswith("projector."):
            tensors[name] = value.half() if value.ndim > 1 else value
    slots = module.trainer.optimizers[0].state
    for name, parameter in module.named_parameters():
        momentum = slots.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum.to(torch.bfloat16)
    check_finite(tensors, "state of training")
    with replaced(_rest_of(path)) as part:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, part)


def load_rest(path: Path, module: PhaseModule) -> bool:
    """Give a phase that begins the projector and the momentum that lie beside a file of weights.

    What another kind of phase has no use for is left: fine-tuning has no projector.

    Parameters
    ----------
    path
        Of the weights.
    module
        The phase's module.

    Returns
    -------
    bool
        Whether there was such a file.

    Raises
    ------
    CheckpointError
        It is damaged, or of another network.
    """
    rest = _rest_of(path)
    if not rest.is_file():
        return False
    try:
        with safe_open(rest, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        check_finite(tensors, f"{rest}")
        own = module.state_dict()
        projector = {name: value for name, value in tensors.items() if name in own}
        module.load_state_dict(projector, strict=False)
        shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        momentum = {name.removeprefix("momentum."): v for name, v in tensors.items() if name.startswith("momentum.")}
        module.momentum = {name: value for name, value in momentum.items() if name in shapes}
        if any(value.shape != shapes[name] for name, value in module.momentum.items()):
            raise ValueError("shapes differ")
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f"{rest} must be a whole file that belongs to {path}") from error
    return True
