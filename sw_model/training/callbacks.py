"""Callbacks of a phase: checkpoints that survive a kill, a line and a log of progress, the kNN monitor."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from sw_model.data.dataset import DataSet
from sw_model.evaluation.features import extract, knn_logits, top1
from sw_model.evaluation.protocols import prepared
from sw_model.training.modules import PhaseModule

__all__ = ["LOG_COLUMNS", "Checkpointer", "CsvLog", "KnnMonitor", "Log", "Progress", "read_log"]

Log = Callable[[dict[str, Any]], None]

#: Columns of the log. Loss, accuracy and sparsities are those of one batch, the sparsities those of the branch computed
#: last: 2 in the contrastive phase. A row of the kNN monitor has its accuracy and nothing else.
LOG_COLUMNS = ("phase", "step", "lr", "loss", "accuracy", "sparsity_output", "sparsity_mac", "tau", "target",
               "images_per_second", "knn")  # fmt: skip


class CsvLog:
    """Appends rows to a CSV file; unlike Lightning's CSV log it goes on after a resume with what is there.

    Parameters
    ----------
    path
        The file, made with its heading when the first row comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, row: dict[str, Any]) -> None:
        """Append a row; columns that it lacks stay empty."""
        new = not self.path.is_file()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS, restval="")
            if new:
                writer.writeheader()
            writer.writerow(row)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a log with the columns that they have: the phase's name, the step as int, all else as float."""
    if not path.is_file():
        return []
    kinds = {"phase": str, "step": int}
    with path.open(newline="") as file:
        return [
            {key: kinds.get(key, float)(value) for key, value in row.items() if value} for row in csv.DictReader(file)
        ]


class Checkpointer(L.Callback):
    """Saves model, optimiser and step every few minutes, every epoch and at the phase's end, never half a file.

    Also ends the phase early when `stop` says so; a phase that ended, early or not, is marked complete.

    Parameters
    ----------
    path
        The phase's checkpoint file.
    total_steps
        Steps of the phase.
    every_seconds
        Time between two saves.
    every_steps
        Steps between two saves, whichever comes first.
    stop
        Asked after every step.
    """

    def __init__(
        self,
        path: Path,
        total_steps: int,
        every_seconds: float = 300,
        every_steps: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path, self.total_steps, self.every, self.stop = path, total_steps, every_seconds, stop
        self.every_steps = every_steps or total_steps
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save when it is time."""
        assert isinstance(pl_module, PhaseModule)
        now, step = time.monotonic(), trainer.global_step
        # Clocks differ between processes; the first decides for all.
        due, stop = now - self.saved >= self.every or step % self.every_steps == 0, self.stop()
        if trainer.world_size > 1:
            due, stop = trainer.strategy.broadcast((due, stop))
        facts = pl_module.facts
        facts["steps"] = step
        facts["complete"] = step >= self.total_steps or stop
        if facts["complete"] or due:
            facts["seconds"] = facts.get("seconds", 0.0) + now - self.saved
            self.saved = now
            facts["sparsity"] = pl_module.model.sparsity()
            part = self.path.with_suffix(".part")
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                part.replace(self.path)
            trainer.strategy.barrier()
        if facts["complete"]:
            trainer.should_stop = True


class Progress(L.Callback):
    """A line with loss, sparsity, images per second and time left; the same figures go to the log.

    Parameters
    ----------
    phase
        Name of the phase.
    log
        Takes the figures.
    total_steps
        Steps of the phase.
    batch_size
        Images in a batch.
    every_steps
        Steps between two lines.
    show
        Prints the line.
    """

    def __init__(
        self,
        phase: str,
        log: Log,
        total_steps: int,
        batch_size: int,
        every_steps: int = 10,
        show: Callable[[str], None] = print,
    ) -> None:
        self.phase, self.log_row, self.total, self.batch = phase, log, total_steps, batch_size
        self.every, self.show = every_steps, show
        self.mark: tuple[float, int] | None = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Report every few steps; the first step is left out of the rate, because it compiles."""
        assert isinstance(pl_module, PhaseModule)
        now, step = time.monotonic(), trainer.global_step
        if not trainer.is_global_zero:
            return
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
                "sparsity_output": sparsity["output"] if taus else None,
                "sparsity_mac": sparsity["mac"] if taus else None,
                "tau": torch.cat(taus).mean().item() if taus else None,
                "target": pl_module.facts["target"] if taus else None,
                "images_per_second": rate * self.batch,
            }
            self.log_row(row)
            figures = " ".join(f"{k} {v:.3f}" for k, v in pl_module.latest.items())
            gates = f" sparsity {sparsity['output']:.3f} (MAC {sparsity['mac']:.3f})" if taus else ""
            self.show(
                f"{self.phase} {step}/{self.total} {figures}{gates} {rate * self.batch:.1f} img/s, "
                f"{left / 60:.1f} min left"
            )


def _spread(size: int, count: int) -> torch.Tensor:
    """At most `count` indices spread over all `size` images, which may be in the order of their classes."""
    return torch.linspace(0, size - 1, min(size, count)).round().long()


class KnnMonitor(L.Callback):
    """Accuracy of a kNN classifier on the encoder's features through branch 1, every few steps.

    It works on a copy with statistics re-estimated on a few batches, so training goes on as if it had not been there.

    Parameters
    ----------
    phase
        Name of the phase.
    log
        Takes the figure.
    data
        At most 5,000 of its training and 1,000 of its test images are used.
    every_steps
        Steps between two evaluations.
    show
        Prints the figure.
    """

    TRAIN, TEST, BATCHES = 5000, 1000, 4

    def __init__(
        self, phase: str, log: Log, data: DataSet, every_steps: int, show: Callable[[str], None] = print
    ) -> None:
        self.phase, self.log_row, self.data, self.every, self.show = phase, log, data, every_steps, show

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Evaluate when it is time."""
        assert isinstance(pl_module, PhaseModule)
        if trainer.global_step % self.every or not trainer.is_global_zero:
            return
        data = self.data
        train, test = _spread(len(data.train), self.TRAIN), _spread(len(data.test), self.TEST)
        model = prepared(pl_module.model, data, 1, self.BATCHES)
        bank, queries = extract(model, data.train[train]), extract(model, data.test[test])
        votes = knn_logits(bank.values, data.train_labels[train], queries.values, len(data.classes))
        knn = top1(votes, data.test_labels[test])
        self.log_row({"phase": self.phase, "step": trainer.global_step, "knn": knn})
        self.show(f"{self.phase} {trainer.global_step}: kNN {100 * knn:.2f} % of {len(queries.values)} test images")
