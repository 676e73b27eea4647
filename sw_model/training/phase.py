"""One phase of training, whatever the method, by steps or by time, resumable at any moment."""

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from sw_model.data.dataset import DataSet
from sw_model.network.resnet import ResNet
from sw_model.network.weights import load_model, read_training
from sw_model.training.batches import TrainingData
from sw_model.training.callbacks import Checkpointer, CsvLog, Guard, KnnMonitor, Progress
from sw_model.training.clock import Clock
from sw_model.training.machine import on_gpu
from sw_model.training.modules import ContrastiveModule, PhaseModule, SupervisedModule
from sw_model.training.rates import half_cosine, linear_decay, warmup_constant, warmup_cosine

__all__ = ["PHASES", "Phase", "Settings", "first_process", "phase_facts", "train_phase"]

#: Phases by name, in order; their place is a part of the seed.
PHASES = ("contrastive", "supervised", "decay")
WARMUP_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is trained, how long and how.

    Attributes
    ----------
    name
        One of `PHASES`, and the name of its checkpoint.
    epochs
        Passes over the training images; need not be whole. Infinite where only the time counts.
    seconds
        Training time, all launches together; the phase ends with whichever of the two is first, and its rates fall by
        whichever is farther.
    size
        Height and width of the crops.
    batch_size
        Images in a batch.
    lr
        Peak learning rate.
    schedule
        "constant" (with warm-up), "cosine" (with warm-up, to zero) or "linear" (to zero).
    target
        T of the thresholds.
    sparsity
        Output-weighted sparsity to which T is adjusted, or None.
    """

    name: str
    size: int
    batch_size: int
    lr: float
    schedule: str
    target: float
    sparsity: float | None = None
    epochs: float = math.inf
    seconds: float = math.inf

    def steps(self, images: int) -> float:
        """Number of steps; infinite where only the time counts."""
        steps = self.epochs * images / self.batch_size
        return math.ceil(steps) if math.isfinite(steps) else steps

    def lr_factor(self, total: float) -> Callable[[int, float], float]:
        """The learning rate's factor as a function of the step and the progress."""
        if self.schedule == "linear":
            return lambda step, progress: linear_decay(progress)
        if self.schedule == "constant":
            return lambda step, progress: warmup_constant(step, WARMUP_STEPS)
        if math.isfinite(self.seconds):  # how many steps there will be is not known
            return lambda step, progress: warmup_constant(step, WARMUP_STEPS) * half_cosine(progress)
        return lambda step, progress: warmup_cosine(step, min(WARMUP_STEPS, int(total) // 10), int(total))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How training runs on a machine.

    Attributes
    ----------
    run
        Folder of checkpoints and log.
    seed
        Of order and augmentation.
    steps
        At most this many steps of a phase, for a trial.
    save_every
        Seconds between saves; the end of an epoch saves, too, unless the phase has a time.
    saved
        Called after every save.
    log_every
        Steps between two rows of the log, for which the device is waited for.
    compiled
        Whether the encoder is compiled.
    accelerator, devices
        As Lightning's trainer has them; several devices are trained on by DDP.
    precision
        As Lightning's trainer has it.
    monitor
        Whether the kNN monitor runs.
    """

    run: Path
    seed: int
    steps: int | None = None
    save_every: float = 300
    compiled: bool = False
    accelerator: str = "cpu"
    devices: int = 1
    precision: Any = "bf16-mixed"
    monitor: bool = True
    log_every: int = 10
    saved: Callable[[PhaseModule], None] = lambda module: None


def first_process() -> bool:
    """Whether this is the process that evaluates and writes files, where several train together."""
    return getattr(rank_zero_only, "rank", 0) == 0


def phase_facts(path: Path) -> dict[str, Any]:
    """Facts of a phase's checkpoint; empty if there is none.

    Raises
    ------
    CheckpointError
        The file is damaged.
    """
    return dict(read_training(path)["facts"]) if path.is_file() else {}


def make_module(phase: Phase, model: ResNet, total: float, compiled: bool = False) -> PhaseModule:
    """The Lightning module of a phase of so many steps."""
    kind = ContrastiveModule if phase.name == "contrastive" else SupervisedModule
    clock = Clock(total, phase.seconds)
    return kind(
        model, phase.lr, phase.lr_factor(total), clock, target=phase.target, sparsity=phase.sparsity, compiled=compiled
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice, and warnings about its own use of torch, from the output."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        yield


@_quiet()
def train_phase(
    phase: Phase,
    model: ResNet,
    data: DataSet,
    settings: Settings,
    stop: Callable[[], bool] = lambda: False,
    begin: Callable[[PhaseModule], None] = lambda module: None,
) -> None:
    """Train a phase, or what is left of it; the network of its checkpoint ends up in `model`.

    Parameters
    ----------
    phase
        What to do.
    model
        The network, changed in place.
    data
        The data set.
    settings
        How to do it.
    stop
        Asked after every step; ends the phase early.
    begin
        Called with the module of a phase that begins anew, to give it more than the network.

    Raises
    ------
    RunError
        A loss was not finite.
    CheckpointError
        The phase's checkpoint is damaged.
    KeyboardInterrupt
        It was interrupted; what was saved last stays.
    """

    def show(text: str) -> None:
        print(text, flush=True)

    path, log = settings.run / f"{phase.name}.ckpt", CsvLog(settings.run / "log.csv")
    facts = phase_facts(path)
    steps = min(phase.steps(len(data.train)), settings.steps or math.inf)
    total = int(steps) if math.isfinite(steps) else math.inf
    if total == 0:
        return
    if facts.get("complete"):
        model.load_state_dict(load_model(path).state_dict())
        show(f"{phase.name}: complete after {facts['steps']} steps")
        return
    module = make_module(phase, model.train(), total, settings.compiled)
    if not facts:
        begin(module)
    limited = math.isfinite(total)
    module.facts.update(
        started=facts.get("started", time.time()), phase=phase.name, size=phase.size, batch_size=phase.batch_size,
        total_steps=total if limited else None,
    )  # fmt: skip
    epoch = max(1, len(data.train) // phase.batch_size)
    callbacks: list[L.Callback] = [
        Guard(settings.log_every),
        Progress(phase.name, log, phase.batch_size, settings.log_every, show),
        Checkpointer(path, settings.save_every, None if module.clock.timed else epoch, stop, settings.saved),
    ]
    contrastive = phase.name == "contrastive"
    if contrastive and settings.monitor:
        callbacks.insert(2, KnnMonitor(phase.name, log, data, epoch, show))
    several, gpu = settings.devices > 1, on_gpu(settings.accelerator)
    # The classifier gets no gradient in the contrastive phase.
    strategy = "ddp_find_unused_parameters_true" if contrastive else "ddp"
    trainer = L.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="auto" if not several else strategy,
        sync_batchnorm=several and gpu,
        benchmark=gpu,
        precision=settings.precision,
        max_steps=int(total) if limited else -1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    seed = settings.seed * 16 + PHASES.index(phase.name)
    batches = TrainingData(data, contrastive, phase.size, phase.batch_size, seed)
    try:
        trainer.fit(module, batches, ckpt_path=str(path) if facts else None, weights_only=True)
    except SystemExit:
        # The trainer's way to end the program after Ctrl-C.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
