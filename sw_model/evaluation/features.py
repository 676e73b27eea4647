"""Features of a frozen encoder, kept for the protocols that need them again and again, and the kNN classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy

from sw_model.data.augment import to_float
from sw_model.data.dataset import Images
from sw_model.network.resnet import ResNet

__all__ = ["DIVERGED", "Features", "diverged", "extract", "knn_logits", "top1"]

#: An image's features have diverged if the largest is more than so many times the median image's largest.
DIVERGED = 100.0


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder made of some images.

    Attributes
    ----------
    values
        (N, D) float32, on the CPU.
    fire_rates
        By gated layer, the share of decisions that fired.
    """

    values: Tensor
    fire_rates: dict[str, float]


@torch.no_grad()
def extract(model: ResNet, images: Images, branch: int = 1, batch_size: int = 256) -> Features:
    """Encode images with the gates on.

    Parameters
    ----------
    model
        In eval mode, on any device.
    images
        (N, H, W, 3) uint8.
    branch
        Whose base path gates, 1 or 2.
    batch_size
        Images encoded at a time.
    """
    values, convs = [], model.gated_convs()
    fired = dict.fromkeys(convs, 0.0)
    for start in range(0, len(images), batch_size):
        x = to_float(images[start : start + batch_size].to(model.mean.device))
        values.append(model.features(x, branch).float().cpu())
        for name, conv in convs.items():
            fired[name] += conv.fire_rate.item() * len(x)
    return Features(torch.cat(values), {name: count / len(images) for name, count in fired.items()})


def diverged(values: Tensor) -> Tensor:
    """Images whose features ran away: they are not finite, or beyond `DIVERGED` times the median image's.

    A frozen encoder may do so where every layer multiplies its input by gains that grow with that input, as DGC's do:
    in training BatchNorm bounds what a batch can reach, its running statistics do not. One such image among thousands
    is enough to flatten the scale of all features, or to make it NaN, so classifiers are not trained on it.

    Parameters
    ----------
    values
        (N, D) float.

    Returns
    -------
    Tensor
        (N,) bool.
    """
    size = values.abs().amax(1)
    return ~(size <= DIVERGED * size[size.isfinite()].median())


def knn_logits(bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int = 200, t: float = 0.1) -> Tensor:
    """Votes of the k nearest features, weighted by exp(cosine similarity / t).

    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018, section 3.4.

    Parameters
    ----------
    bank
        (N, D) features whose labels are known; those that diverged do not vote.
    labels
        (N,) int64.
    queries
        (M, D).
    classes
        Number of classes.
    k
        Neighbours that vote, or all N if there are fewer.
    t
        Temperature.

    Returns
    -------
    Tensor
        (M, classes).
    """
    usable = ~diverged(bank)
    bank, labels = bank[usable], labels[usable]
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    votes = []
    for part in queries.split(1024):
        similarity, index = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        weight = (similarity / t).exp()
        votes.append(torch.zeros(len(part), classes, device=part.device).scatter_add_(1, labels[index], weight))
    return torch.cat(votes)


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of rows of (N, classes) whose greatest entry is that of the label; a row that is not finite is wrong."""
    logits, labels = logits.cpu(), labels.cpu()
    finite = logits.isfinite().all(1)
    if not finite.any():
        return 0.0
    right = multiclass_accuracy(logits[finite], labels[finite], num_classes=logits.shape[1], average="micro")
    return float(right * finite.float().mean())
