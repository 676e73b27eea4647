"""How a trained encoder is judged: linear evaluation, kNN, and the accuracy of a fine-tuned network.

All of them work on a copy of the network whose BatchNorm statistics have been re-estimated through the branch that is
evaluated, on clean training images of full size. The gates are on.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sw_model.data.dataset import DataSet
from sw_model.data.draws import bring, step_generator
from sw_model.evaluation.bn_stats import reestimate
from sw_model.evaluation.features import diverged, extract, knn_logits, top1
from sw_model.network.resnet import ResNet

__all__ = ["BN_BATCHES", "fine_tuned_evaluation", "fit_linear", "linear_evaluation", "prepared"]

#: Batches of 256 images over which BatchNorm statistics are re-estimated.
BN_BATCHES = 50


def prepared(model: ResNet, data: DataSet, branch: int, batches: int = BN_BATCHES) -> ResNet:
    """A copy of the network in eval mode, with the statistics of the branch."""
    copy = model.clone()
    reestimate(copy, data.train, branch, batches, min(256, len(data.train)))
    return copy


def fit_linear(features: Tensor, labels: Tensor, classes: int, epochs: int = 100, seed: int = 0) -> nn.Linear:
    """Train a linear classifier on standardised features.

    SGD with momentum 0.9, batch 256, learning rate 0.1 with steps of 0.1 at 60 and 80 % of the epochs, no weight decay:
    the recipe of the first author's later self-supervised work, on cached features.

    Parameters
    ----------
    features
        (N, D) float32; images whose features diverged are left out.
    labels
        (N,) int64.
    classes
        Number of classes.
    epochs
        Passes over the features.
    seed
        Of the order; the weights start at zero.

    Returns
    -------
    nn.Linear
        The classifier; it takes features that are not standardised.
    """
    usable = ~diverged(features)
    features, labels = features[usable], labels[usable]
    deviation, mean = torch.std_mean(features, dim=0)
    scale = 1 / deviation.clamp(min=1e-6)
    x = (features - mean) * scale
    linear = nn.Linear(features.shape[1], classes, device=features.device)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimiser = torch.optim.SGD(linear.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [epochs * 6 // 10, epochs * 8 // 10])
    for epoch in range(epochs):
        for chosen in torch.randperm(len(x), generator=step_generator(seed, epoch)).split(256):
            chosen = bring(chosen, x.device)
            optimiser.zero_grad()
            F.cross_entropy(linear(x[chosen]), labels[chosen]).backward()
            optimiser.step()
        schedule.step()
    with torch.no_grad():
        linear.weight.mul_(scale)
        linear.bias.sub_(linear.weight @ mean)
    return linear


def linear_evaluation(model: ResNet, data: DataSet, branch: int, batches: int = BN_BATCHES) -> dict[str, Any]:
    """Judge a frozen encoder through one branch.

    Returns
    -------
    dict[str, Any]
        "linear" and "knn": top-1 on the test images; "fire_rates" there, by layer; "diverged": how many training and
        test images did.
    """
    encoder = prepared(model, data, branch, batches)
    train, test = extract(encoder, data.train, branch), extract(encoder, data.test, branch)
    classes = len(data.classes)
    device = model.mean.device
    bank, labels, queries = (values.to(device) for values in (train.values, data.train_labels, test.values))
    classifier = fit_linear(bank, labels, classes)
    with torch.no_grad():
        logits = classifier(queries)
    votes = knn_logits(bank, labels, queries, classes)
    return {
        "linear": top1(logits, data.test_labels),
        "knn": top1(votes, data.test_labels),
        "fire_rates": test.fire_rates,
        "diverged": {"train": int(diverged(train.values).sum()), "test": int(diverged(test.values).sum())},
    }


def fine_tuned_evaluation(model: ResNet, data: DataSet, branch: int, batches: int = BN_BATCHES) -> dict[str, Any]:
    """Judge a fine-tuned network through one branch: "top1" and "diverged" of test images, "fire_rates" by layer."""
    network = prepared(model, data, branch, batches)
    test = extract(network, data.test, branch)
    with torch.no_grad():
        logits = network.fc.cpu()(test.values)
    return {
        "top1": top1(logits, data.test_labels),
        "fire_rates": test.fire_rates,
        "diverged": {"test": int(diverged(test.values).sum())},
    }
