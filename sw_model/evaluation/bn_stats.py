"""Re-estimation of BatchNorm statistics for one branch.

Training mixes both branches, crops and augmentations in the running statistics. Before a network is quantised or
evaluated with a frozen encoder, they are replaced by the plain mean over clean images through the branch that is used.
"""

import torch
from torch import nn

from cdgate.errors import DataError
from sw_model.data.augment import to_float
from sw_model.data.dataset import Images
from sw_model.data.draws import step_generator
from sw_model.network.resnet import ResNet


@torch.no_grad()
def reestimate(
    model: ResNet, images: Images, branch: int = 1, batches: int = 50, batch_size: int = 256, seed: int = 0
) -> None:
    """Replace all running statistics by the averages over clean images; the model is left in eval mode.

    The BatchNorms of the other branch's saliency are not reached by the forward pass and keep their statistics.

    Parameters
    ----------
    model
        Changed in place.
    images
        (N, H, W, 3) uint8, N >= batch_size; batches are drawn without replacement while they last.
    branch
        1 or 2.
    batches
        Number of batches averaged.
    batch_size
        Images in a batch.
    seed
        Of the choice of images.

    Raises
    ------
    DataError
        There are fewer images than one batch.
    """
    if len(images) < batch_size:
        raise DataError(f"number of images must be at least the batch size {batch_size}, not {len(images)}")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    other = {id(m) for c in model.gated_convs().values() for m in [c.norm[2 - branch]]}
    for norm in norms:
        norm.momentum = None  # cumulative average
        if id(norm) not in other:
            norm.reset_running_stats()
    model.train()
    order = torch.randperm(len(images), generator=step_generator(seed, 0))
    per_pass = len(images) // batch_size
    for i in range(batches):
        start = i % per_pass * batch_size
        model(to_float(images[order[start : start + batch_size]].to(model.mean.device)), branch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
