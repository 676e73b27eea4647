"""Lightning modules of the three phases, their data, and checkpoints that survive a kill."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from sw_model.augment import contrastive_view, crop_flip
from sw_model.data import batch_indices, step_generator
from sw_model.losses import nt_xent, threshold_penalty
from sw_model.resnet import ResNet

Batch = tuple[Tensor, Tensor]


class PhaseModule(L.LightningModule):
    """What the phases share: optimiser, learning rate as a function of the step, regulariser, checkpoint contents.

    Args:
        model: The network, changed in place.
        lr: Peak learning rate.
        lr_factor: Factor of the peak rate at a step.
        weight_decay: Of convolution and linear weights; thresholds, biases and BatchNorm have none.
        target: T of the thresholds.
        compiled: Whether the encoder is compiled (slow to start, a quarter faster).
    """

    def __init__(
        self,
        model: ResNet,
        lr: float,
        lr_factor: Callable[[int], float],
        weight_decay: float = 5e-4,
        target: float = 0.57,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.peak_lr, self.lr_factor = lr, lr_factor
        self.weight_decay, self.target = weight_decay, target
        self.encode: Callable[[Tensor, int], Tensor] = model.features
        if compiled:
            self.encode = torch.compile(model.features, dynamic=False)
        self.facts: dict[str, Any] = {}
        self.latest: dict[str, float] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum, without weight decay on everything that is one-dimensional (tau above all)."""
        params = list(self.parameters())
        groups = [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=self.peak_lr, momentum=0.9, nesterov=True)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the step's learning rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.peak_lr * self.lr_factor(self.trainer.global_step)

    def regularised(self, loss: Tensor) -> Tensor:
        """The task's loss plus the pull of the thresholds."""
        taus = [conv.tau for conv in self.model.gated_convs().values()]
        self.latest["loss"] = loss.detach().item()
        return loss + threshold_penalty(taus, self.target) if taus else loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network, and the facts of the run."""
        checkpoint["network"] = dict(self.model.hparams)
        checkpoint["facts"] = dict(self.facts)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue to count the phase's time where it was saved."""
        self.facts = dict(checkpoint["facts"])


class ContrastiveModule(PhaseModule):
    """CDG's contrastive phase: SimCLR whose view 1 is gated through branch 1 and view 2 through branch 2.

    The encoder runs once per view, so that BatchNorm sees one view at a time.
    """

    def __init__(self, model: ResNet, *args: Any, temperature: float = 0.5, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        dim = model.fc.in_features
        self.temperature = temperature
        self.projector = nn.Sequential(
            nn.Linear(dim, 2 * dim, bias=False), nn.BatchNorm1d(2 * dim), nn.ReLU(), nn.Linear(2 * dim, 128)
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """NT-Xent of the two views of a batch."""
        z = [self.projector(self.encode(view, branch)) for branch, view in enumerate(batch, start=1)]
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
        self.latest["accuracy"] = (logits.argmax(1) == labels).float().mean().item()
        return self.regularised(F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing))


class StepBatches(IterableDataset[Batch]):
    """Batches of the steps `start()`, `start() + 1`, ...; each a function of (seed, step)."""

    def __init__(self, make: Callable[[int], Batch], start: Callable[[], int]) -> None:
        self.make, self.start = make, start

    def __iter__(self) -> Iterator[Batch]:
        step = self.start()
        while True:
            yield self.make(step)
            step += 1


class TrainingData(L.LightningDataModule):
    """Augmented training batches of one phase, continuing at the trainer's global step.

    Args:
        images: (N, 32, 32, 3) uint8.
        labels: (N,) int64.
        phase: "contrastive" gives (view 1, view 2), any other phase (images, labels).
        size: Height and width of the crops.
        batch_size: Images in a batch.
        seed: Of order and augmentation; phases with the same seed differ.
    """

    def __init__(self, images: Tensor, labels: Tensor, phase: str, size: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.images, self.labels, self.phase = images, labels, phase
        self.size, self.batch_size = size, batch_size
        self.seed = seed * 16 + ("contrastive", "supervised", "decay").index(phase)

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        chosen = batch_indices(self.seed, step, self.batch_size, len(self.images))
        images, generator = self.images[chosen], step_generator(self.seed, step)
        if self.phase == "contrastive":
            return contrastive_view(images, self.size, generator), contrastive_view(images, self.size, generator)
        pad = 2 if self.size == images.shape[1] else 0
        return crop_flip(images, self.size, pad, generator), self.labels[chosen]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless batches from the global step on; the trainer's `max_steps` ends them."""
        trainer = self.trainer
        assert trainer is not None
        return DataLoader(StepBatches(self.batch, lambda: trainer.global_step), batch_size=None)


class Checkpointer(L.Callback):
    """Saves model, optimiser and step every few minutes and at the phase's end, never leaving half a file.

    Also ends the phase early when `stop` says so; a phase that ended, early or not, is marked complete.

    Args:
        path: The phase's checkpoint file.
        total_steps: Steps of the phase.
        every_seconds: Time between two saves.
        stop: Asked after every step.
    """

    def __init__(
        self, path: Path, total_steps: int, every_seconds: float = 300, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.path, self.total_steps, self.every, self.stop = path, total_steps, every_seconds, stop
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save when it is time."""
        assert isinstance(pl_module, PhaseModule)
        now = time.monotonic()
        facts = pl_module.facts
        facts["steps"] = trainer.global_step
        facts["complete"] = trainer.global_step >= self.total_steps or self.stop()
        if facts["complete"] or now - self.saved >= self.every:
            facts["seconds"] = facts.get("seconds", 0.0) + now - self.saved
            self.saved = now
            facts["sparsity"] = pl_module.model.sparsity()
            part = self.path.with_suffix(".part")
            trainer.save_checkpoint(part)
            part.replace(self.path)
        if facts["complete"]:
            trainer.should_stop = True


class Progress(L.Callback):
    """A line with loss, sparsity, images per second and time left; the same figures as JSON lines in a file.

    Args:
        phase: Name of the phase.
        log: File the figures are appended to.
        total_steps: Steps of the phase.
        batch_size: Images in a batch.
        every_steps: Steps between two lines.
        show: Prints the line.
    """

    def __init__(
        self,
        phase: str,
        log: Path,
        total_steps: int,
        batch_size: int,
        every_steps: int = 10,
        show: Callable[[str], None] = print,
    ) -> None:
        self.phase, self.log_file, self.total, self.batch = phase, log, total_steps, batch_size
        self.every, self.show = every_steps, show
        self.mark: tuple[float, int] | None = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Report every few steps; the first step is left out of the rate, because it compiles."""
        assert isinstance(pl_module, PhaseModule)
        now, step = time.monotonic(), trainer.global_step
        if self.mark is None:
            self.mark = (now, step)
        elif step % self.every == 0 or step >= self.total:
            rate = (step - self.mark[1]) / (now - self.mark[0])
            self.mark = (now, step)
            left = (self.total - step) / rate
            sparsity = pl_module.model.sparsity()
            taus = [conv.tau.detach() for conv in pl_module.model.gated_convs().values()]
            row = {
                "phase": self.phase,
                "step": step,
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                **pl_module.latest,
                "sparsity": sparsity,
                "tau": torch.cat(taus).mean().item() if taus else None,
                "images_per_second": rate * self.batch,
            }
            with self.log_file.open("a") as file:
                file.write(json.dumps(row) + "\n")
            figures = " ".join(f"{k} {v:.3f}" for k, v in pl_module.latest.items())
            self.show(
                f"{self.phase} {step}/{self.total} {figures} sparsity {sparsity['output']:.3f} "
                f"(MAC {sparsity['mac']:.3f}) {rate * self.batch:.1f} img/s, {left / 60:.1f} min left"
            )


def load_model(path: str | Path) -> ResNet:
    """Rebuild the network of a training checkpoint, in eval mode with its own running statistics.

    Raises:
        ValueError: The file is not a training checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        model = ResNet(**checkpoint["network"])
        state = checkpoint["state_dict"]
        model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    except FileNotFoundError:
        raise ValueError(f"training checkpoint must exist, not {path}") from None
    except Exception as error:
        raise ValueError(f"training checkpoint must be a file written by sw_model.train, not {path}") from error
    return model.eval()
