"""Callbacks of a phase: saves, a guard against losses that are not finite, progress with its log, the kNN monitor."""

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from cdgate.errors import RunError, UserError
from cdgate.files import replaced
from sw_model.data.dataset import DataSet
from sw_model.evaluation.features import extract, knn_logits, top1
from sw_model.evaluation.protocols import prepared
from sw_model.training.modules import PhaseModule

__all__ = ["LOG_COLUMNS", "Checkpointer", "CsvLog", "Guard", "KnnMonitor", "Log", "Progress", "read_log"]

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
        with self.path.open("a+b") as file:
            empty = file.tell() == 0
            if not empty:
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # a kill tore the last row
                    file.write(b"\n")
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, LOG_COLUMNS, restval="", lineterminator="\n")
            if empty:
                writer.writeheader()
            writer.writerow(row)
            file.write(text.getvalue().encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a log with the columns that they have: the phase's name, the step as int, all else as float.

    A row that a kill tore is left out.

    Raises
    ------
    UserError
        The file is none that `CsvLog` wrote.
    """
    if not path.is_file():
        return []
    kinds: dict[str, Callable[[str], Any]] = {"phase": str, "step": int}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        return [{key: kinds.get(key, float)(value) for key, value in row.items() if value} for row in rows]
    except (ValueError, TypeError, csv.Error):
        raise UserError(f"{path} must be a log of training: it is damaged; remove it, or name another --run") from None


class Checkpointer(L.Callback):
    """Saves model, optimiser and step every few minutes, every epoch and at the phase's end, never half a file.

    Also ends the phase early when `stop` says so; a phase that ended, early or not, is marked complete.

    Parameters
    ----------
    path
        The phase's checkpoint file.
    every_seconds
        Time between two saves.
    every_steps
        Steps between two saves, whichever comes first; None if only the time counts.
    stop
        Asked after every step.
    saved
        Called after every save.
    """

    def __init__(
        self,
        path: Path,
        every_seconds: float = 300,
        every_steps: int | None = None,
        stop: Callable[[], bool] = lambda: False,
        saved: Callable[[PhaseModule], None] = lambda module: None,
    ) -> None:
        self.path, self.every, self.every_steps, self.stop, self.saved = path, every_seconds, every_steps, stop, saved
        self.last = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save when it is time."""
        assert isinstance(pl_module, PhaseModule)
        now, step = time.monotonic(), trainer.global_step
        # Clocks differ between processes; the first decides for all.
        due = now - self.last >= self.every or (self.every_steps is not None and step % self.every_steps == 0)
        end = self.stop() or pl_module.clock.progress(step) >= 1
        if trainer.world_size > 1:
            due, end = trainer.strategy.broadcast((due, end))
        if due or end:
            self.last = now
            pl_module.facts.update(steps=step, complete=end, sparsity=pl_module.model.sparsity())
            require_finite(trainer, pl_module)
            if trainer.is_global_zero:
                with replaced(self.path) as part:
                    trainer.save_checkpoint(part)
                self.saved(pl_module)
            else:  # takes part in it, and writes nothing
                trainer.save_checkpoint(self.path)
        if end:
            trainer.should_stop = True


def require_finite(trainer: L.Trainer, module: PhaseModule) -> None:
    """End training where a loss or a parameter is not finite; what was saved last stays.

    Raises
    ------
    RunError
        Some are not.
    """
    if not module.stays_finite():
        raise RunError(
            f"loss and weights must stay finite, but those of step {trainer.global_step} are not: training has "
            "diverged; what was saved last is kept, and goes on with a lower rate"
        )


class Guard(L.Callback):
    """Looks every few steps whether loss and parameters are finite; comes before all that reports them.

    Parameters
    ----------
    every_steps
        Steps between two looks.
    """

    def __init__(self, every_steps: int = 10) -> None:
        self.every = every_steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Look when it is time."""
        assert isinstance(pl_module, PhaseModule)
        if trainer.global_step % self.every == 0:
            require_finite(trainer, pl_module)


class Progress(L.Callback):
    """A line with loss, sparsity, images per second and time left; the same figures go to the log.

    Parameters
    ----------
    phase
        Name of the phase.
    log
        Takes the figures.
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
        batch_size: int,
        every_steps: int = 10,
        show: Callable[[str], None] = print,
    ) -> None:
        self.phase, self.log_row, self.batch = phase, log, batch_size
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
        elif step % self.every == 0 or pl_module.clock.progress(step) >= 1:
            latest = {name: float(value) for name, value in pl_module.latest.items()}
            now = time.monotonic()  # the device has caught up
            rate = (step - self.mark[1]) / (now - self.mark[0])
            self.mark = (now, step)
            clock = pl_module.clock
            left = clock.left(step, rate)
            total = f"/{clock.steps}" if math.isfinite(clock.steps) else ""
            sparsity = pl_module.model.sparsity()
            taus = [conv.tau.detach() for conv in pl_module.model.gated_convs().values()]
            row = {
                "phase": self.phase,
                "step": step,
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                **latest,
                "sparsity_output": sparsity["output"] if taus else None,
                "sparsity_mac": sparsity["mac"] if taus else None,
                "tau": torch.cat(taus).mean().item() if taus else None,
                "target": float(pl_module.target) if taus else None,
                "images_per_second": rate * self.batch,
            }
            self.log_row(row)
            figures = " ".join(f"{k} {v:.3f}" for k, v in latest.items())
            gates = f" sparsity {sparsity['output']:.3f} (MAC {sparsity['mac']:.3f})" if taus else ""
            self.show(
                f"{self.phase} {step}{total} {figures}{gates} {rate * self.batch:.1f} img/s, {left / 60:.1f} min left"
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
