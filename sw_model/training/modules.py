"""Lightning modules of contrastive and supervised training, the same for every method.

Nothing in a step waits for the device: what is read off it, the figures of the log and whether the loss is finite, is
kept there until somebody asks.
"""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sw_model.network.dgc import DGCConv2d
from sw_model.network.resnet import ResNet
from sw_model.training.batches import Batch
from sw_model.training.clock import Clock
from sw_model.training.losses import gather_batch, nt_xent, threshold_penalty

__all__ = ["ContrastiveModule", "PhaseModule", "SupervisedModule"]

#: With a wanted sparsity, T is adjusted every so many steps, by so much per unit of sparsity and step. The thresholds
#: follow T within about 80 steps and the sparsity has a slope of 0.34 in T, so this is close to critical damping.
ADJUST_EVERY, ADJUST_RATE = 10, 0.005


class PhaseModule(L.LightningModule):
    """What the phases share: optimiser, learning rate by step and progress, regulariser, checkpoint contents.

    Parameters
    ----------
    model
        The network, changed in place.
    lr
        Peak learning rate.
    lr_factor
        Factor of the peak rate at a step and at a progress, 0 to 1.
    clock
        How far the phase is.
    weight_decay
        Of convolution and linear weights; thresholds, biases and BatchNorm have none.
    target
        T of the thresholds.
    sparsity
        Output-weighted sparsity of the training batches to which T is adjusted; None leaves T as it is.
    compiled
        Whether the encoder is compiled (slow to start, a quarter faster).

    Attributes
    ----------
    facts
        What is kept in the checkpoint about the phase, beside T: what the callbacks add.
    target
        T, a scalar on the device.
    momentum
        What the optimiser's momentum begins with, by the parameter's name; zero where it is missing.
    latest
        Figures of the last step, scalars on the device.
    finite
        Whether all losses were finite since the last look, a scalar on the device.
    """

    #: Whether DGC prunes more and more channels in this phase; it prunes all it shall in the other.
    ramp = False

    def __init__(
        self,
        model: ResNet,
        lr: float,
        lr_factor: Callable[[int, float], float],
        clock: Clock | None = None,
        weight_decay: float = 5e-4,
        target: float = 0.57,
        sparsity: float | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.peak_lr, self.lr_factor = lr, lr_factor
        self.weight_decay, self.sparsity = weight_decay, sparsity
        self.encode: Callable[[Tensor, int], Tensor] = model.features
        if compiled:
            self.encode = torch.compile(model.features, dynamic=False)
        self.clock, self.progress = clock or Clock(), 0.0
        self.facts: dict[str, Any] = {}
        self.latest: dict[str, Tensor] = {}
        self.momentum: dict[str, Tensor] = {}
        self.target: Tensor
        self.finite: Tensor
        self.register_buffer("target", torch.tensor(target, dtype=torch.float64), persistent=False)
        self.register_buffer("finite", torch.tensor(True), persistent=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum, without weight decay on everything that is one-dimensional (tau above all)."""
        params = list(self.parameters())
        names = {parameter: name for name, parameter in self.named_parameters()}
        groups = [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.SGD(groups, lr=self.peak_lr, momentum=0.9, nesterov=True)
        for parameter in params:
            if names[parameter] in self.momentum:
                start = torch.empty_like(parameter).copy_(self.momentum[names[parameter]])
                optimiser.state[parameter]["momentum_buffer"] = start
        return optimiser

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Look at the clock; set the step's learning rate, and how far DGC's ramp has come."""
        step = self.trainer.global_step
        self.progress = self.clock.progress(step)
        if self.clock.timed and self.trainer.world_size > 1:
            self.progress = self.trainer.strategy.broadcast(self.progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.peak_lr * self.lr_factor(step, self.progress)
        for conv in self.model.channel_convs().values():
            if isinstance(conv, DGCConv2d):
                conv.progress = self.progress if self.ramp else 1.0

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Move T towards the one that gives the wanted sparsity; before the step ends, so that a save has it."""
        step = self.trainer.global_step
        # The thresholds cannot follow any more when the learning rate has come close to zero.
        followed = step % ADJUST_EVERY == 0 and self.lr_factor(step, self.progress) > 0.1
        if self.sparsity is not None and followed and self.model.gated_convs():
            # All processes must agree on T.
            found = self.trainer.strategy.reduce(self.model.sparsities()[0], reduce_op="mean")
            self.target += ADJUST_EVERY * ADJUST_RATE * (self.sparsity - found)

    def regularised(self, loss: Tensor) -> Tensor:
        """The task's loss plus the method's own: the pull of the thresholds, or the size of the saliencies."""
        self.latest["loss"] = loss.detach()
        self.finite &= loss.detach().isfinite()
        taus = [conv.tau for conv in self.model.gated_convs().values()]
        if taus:
            loss = loss + threshold_penalty(taus, self.target)
        for conv in self.model.channel_convs().values():
            loss = loss + conv.PENALTY_WEIGHT * conv.penalty
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network, and the facts of the run."""
        checkpoint["network"] = dict(self.model.hparams)
        checkpoint["facts"] = self.all_facts()

    def all_facts(self) -> dict[str, Any]:
        """The facts, with T and the seconds of training as they are now."""
        return dict(self.facts, target=float(self.target), seconds=self.clock.elapsed())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with the phase's time, and with T where it is adjusted, as they were saved."""
        facts = checkpoint["facts"]
        self.facts["started"], self.clock.before = facts["started"], facts["seconds"]
        if self.sparsity is not None:
            self.target.fill_(facts["target"])

    def stays_finite(self) -> bool:
        """Whether all losses so far, and all parameters, are finite, in all processes; waits for the device."""
        sums = torch.stack([p.detach().sum(dtype=torch.float32) for p in self.parameters()])
        flaw = 1.0 - (self.finite & sums.isfinite().all()).float()
        return not float(self.trainer.strategy.reduce(flaw, reduce_op="sum"))


class ContrastiveModule(PhaseModule):
    """CDG's contrastive phase: SimCLR whose view 1 is gated through branch 1 and view 2 through branch 2.

    The encoder runs once per view, so that BatchNorm sees one view at a time. Negatives come from all processes.
    """

    ramp = True

    def __init__(self, model: ResNet, *args: Any, temperature: float = 0.5, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        dim = model.fc.in_features
        self.temperature = temperature
        self.projector = nn.Sequential(
            nn.Linear(dim, 2 * dim, bias=False), nn.BatchNorm1d(2 * dim), nn.ReLU(), nn.Linear(2 * dim, 128)
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """NT-Xent of the two views of the joint batch."""
        z = [gather_batch(self.projector(self.encode(view, branch))) for branch, view in enumerate(batch, start=1)]
        return self.regularised(nt_xent(z[0], z[1], self.temperature))


class SupervisedModule(PhaseModule):
    """Supervised fine-tuning through branch 1 with the gates on."""

    def __init__(self, model: ResNet, *args: Any, label_smoothing: float = 0.1, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        self.label_smoothing = label_smoothing

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy with label smoothing."""
        images, labels = batch
        logits = self.model.fc(self.encode(images, 1)).float()
        self.latest["accuracy"] = (logits.detach().argmax(1) == labels).float().mean()
        return self.regularised(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing))
