"""Works through a plan against the clock: trains its rows, judges them, and keeps what comes back up to date."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cdgate.cli import say
from cdgate.errors import UsageError
from cdgate.files import write_json
from sw_model.data.dataset import DataSet
from sw_model.evaluation import flops
from sw_model.evaluation.protocols import fine_tuned_evaluation, linear_evaluation
from sw_model.experiment.parts import MOST, write_parts
from sw_model.experiment.rows import Row, allotted, limited
from sw_model.experiment.speed import measure
from sw_model.experiment.state import load_rest, save_state
from sw_model.network.methods import METHODS
from sw_model.network.resnet import STAGES, ResNet
from sw_model.network.weights import load_model, training_facts
from sw_model.training.machine import hardware
from sw_model.training.modules import PhaseModule
from sw_model.training.options import read_json
from sw_model.training.phase import Phase, Settings, make_module, phase_facts, train_phase
from sw_model.training.rates import scaled_rate
from sw_model.training.record import phase_record

__all__ = ["Machine", "Runner"]

#: Batches of which a row's rates are given.
BATCH, TUNE_BATCH = 128, 64
#: T to begin with: the sparsity is Phi(T) where the saliency is Gaussian.
TARGET = 0.57
#: Share of the time of equal rows that is planned; the rest is for what the trial did not see.
PLANNED = 0.9
#: Bytes of a parameter, by what comes back of a row.
BYTES = {"none": 0, "weights": 2, "all": 4}
#: Batches of 256 for BatchNorm's statistics before an evaluation.
BN_BATCHES = 50


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How a plan runs on a machine; fields as those of `sw_model.training.phase.Settings`."""

    accelerator: str
    precision: str
    compiled: bool
    seed: int
    save_every: float = 240

    @property
    def device(self) -> torch.device:
        """Where networks are."""
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")


@dataclass(kw_only=True)
class Runner:
    """A plan at work.

    Attributes
    ----------
    rows
        The plan.
    data
        The data set.
    run
        Folder of checkpoints and logs, one a row; the same command goes on with it.
    out
        Folder of what comes back, in parts.
    deadline
        When all has to be done, by `time.monotonic`.
    machine
        How it runs.
    facts
        What the results say beside the rows.
    results
        By the row's name.
    """

    rows: tuple[Row, ...]
    data: DataSet
    run: Path
    out: Path
    deadline: float
    machine: Machine
    facts: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = tuple(limited(row, len(self.data.train), self.data.size) for row in self.rows)
        self.back = self.run / "back"  # what comes back, whole
        self.back.mkdir(parents=True, exist_ok=True)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def work(self) -> dict[str, Any]:
        """Do what the plan says, as far as the time goes; the results by the row's name.

        Raises
        ------
        UsageError
            A row's network cannot be, or what comes back would be too much.
        """
        models = self.models()
        known = self.run / "rows.json"
        if known.is_file():
            self.results = read_json(known)
        for number, row in enumerate(self.rows):
            if row.name in self.results:
                say(f"{row.name}: complete")
                if not self.results[row.name]["is_compiled"]:
                    self.machine = replace(self.machine, compiled=False)
                continue
            seconds = allotted(self.rows[number:], self.left())[row.name]
            model = models.pop(row.name)
            say(f"{row.name}: {seconds:.0f} s of {self.left():.0f} s")
            if row.kind == "speed":
                result = self.speed(row, model, seconds)
            else:
                result = self.train(row, model, seconds, self.rows[number:])
            self.results[row.name] = {
                "method": row.method, "network": dict(model.hparams), "from": row.start,
                "is_compiled": self.machine.compiled, **result,
            }  # fmt: skip
            write_json(known, self.results)
            self.publish()
        return self.results

    def models(self) -> dict[str, ResNet]:
        """All rows' networks, so that a wrong row, or one too many, is refused before anything is trained.

        Raises
        ------
        UserError
            A row's network cannot be, or what comes back would be too much.
        """
        models = {row.name: self.model(row) for row in self.rows}
        size = sum(BYTES[row.state] * sum(p.numel() for p in models[row.name].parameters()) for row in self.rows)
        if size > MOST:
            raise UsageError(f"states of all rows must be at most {MOST >> 20} MiB, not {size / 2**20:.1f}: give fewer "
                             "rows a state")  # fmt: skip
        return models

    def publish(self) -> None:
        """Bring what comes back up to date."""
        write_json(self.back / "results.json", {
            **self.facts, "data": self.data.name, "hardware": hardware(), "torch": torch.__version__,
            "precision": self.machine.precision, "rows": self.results,
        })  # fmt: skip
        write_parts(self.back, self.out)

    def model(self, row: Row) -> ResNet:
        """A row's network, untrained or from a checkpoint."""
        data = self.data
        if row.start is not None:
            model = load_model(row.start)
            if (model.fc.out_features, model.hparams["stem"]) != (len(data.classes), data.stem):
                raise UsageError(f"row {row.name}: from must be a network for {data.name}, not {row.start}")
            return model.train()
        torch.manual_seed(self.machine.seed)
        narrowest = int(STAGES[row.depth][0] * row.width) // row.groups
        model = ResNet(
            row.width, row.depth, row.groups, max(1, math.gcd(8, narrowest)), num_classes=len(data.classes),
            stem=data.stem, **METHODS[row.method].network,
        )  # fmt: skip
        model.mean.copy_(torch.tensor(data.mean).view(3, 1, 1))
        model.std.copy_(torch.tensor(data.std).view(3, 1, 1))
        return model

    def phase(self, row: Row, name: str, target: float, seconds: float, epochs: float = math.inf) -> Phase:
        """A phase of a row: rates fall with half a cosine."""
        first = name == "contrastive"
        batch = row.batch if first else row.tune_batch
        rate, usual = (row.lr, BATCH) if first else (row.tune_lr, TUNE_BATCH)
        return Phase(
            name=name, size=(row.size or self.data.size) if first else self.data.size, batch_size=batch,
            lr=scaled_rate(rate, usual, batch), schedule="cosine", target=target, sparsity=row.sparsity,
            epochs=epochs, seconds=seconds,
        )  # fmt: skip

    def timed(self, row: Row, model: ResNet, compiled: bool, seconds: float) -> dict[str, Any]:
        """Speed of a row's contrastive step, on a copy of its network; eager from then on if it cannot be compiled."""
        module = make_module(self.phase(row, "contrastive", TARGET, 1.0), model.clone().train(), math.inf, compiled)
        machine, size = self.machine, row.size or self.data.size
        try:
            return measure(module, self.data, size, row.batch, machine.device, machine.precision, seconds)
        except Exception as error:  # whatever a compiler says of a network that it does not take
            if not compiled:
                raise
            reason = (str(error).splitlines() or [""])[0]
            say(f"{row.name}: goes on without compilation: {type(error).__name__}: {reason}")
            self.machine = replace(machine, compiled=False)
            return self.timed(row, model, False, seconds)

    def speed(self, row: Row, model: ResNet, seconds: float) -> dict[str, Any]:
        """Eager and, where networks are compiled here, compiled speed."""
        begin = time.monotonic()
        result = {"batch": row.batch, "eager": self.timed(row, model, False, seconds / 4)}
        if self.machine.compiled:
            found = self.timed(row, model, True, max(0.0, seconds - (time.monotonic() - begin)) / 2)
            if self.machine.compiled:
                result["compiled"] = found
        return result

    def equal_epochs(self, seconds: float) -> dict[str, Any]:
        """As many epochs as all rows that want equally many can have in a time, and what each then takes."""
        note = self.run / "equal.json"
        if not note.is_file():
            begin = time.monotonic()
            rows = [row for row in self.rows if row.equal]
            rates = {
                row.name: self.timed(row, self.model(row), self.machine.compiled, seconds / 30)["images_per_second"]
                for row in rows
            }
            each = {name: len(self.data.train) / rate for name, rate in rates.items()}  # seconds an epoch
            free = seconds - (time.monotonic() - begin)
            write_json(note, {
                "epochs": max(PLANNED * free, 0.0) / sum(each.values()), "epoch_seconds": each,
            })  # fmt: skip
        found: dict[str, Any] = read_json(note)
        return found

    def train(self, row: Row, model: ResNet, seconds: float, coming: tuple[Row, ...]) -> dict[str, Any]:
        """Train a row, judge it, and keep its state; what the results say of it."""
        folder, note = self.run / row.name, self.run / row.name / "time.json"
        folder.mkdir(exist_ok=True)
        epochs = math.inf
        if row.equal:
            times = allotted(coming, self.left())
            found = self.equal_epochs(sum(times[other.name] for other in coming if other.equal))
            epochs = found["epochs"]
            seconds = epochs * found["epoch_seconds"][row.name] / PLANNED
        if not note.is_file():
            write_json(note, {"contrastive": seconds * row.contrastive, "supervised": seconds * (1 - row.contrastive)})
        shares, end = read_json(note), time.monotonic() + seconds + row.kept_free
        spent = {name: phase_facts(folder / f"{name}.ckpt").get("seconds", 0.0) for name in row.phases}
        still = {name: max(0.0, shares[name] - spent[name]) for name in row.phases}
        target = TARGET if row.start is None else training_facts(Path(row.start)).get("target", TARGET)
        result: dict[str, Any] = {"phases": {}}

        def begin(module: PhaseModule) -> None:
            if row.start is not None and not result["phases"]:
                found = load_rest(Path(row.start), module)
                say(f"{row.name}: goes on {'with' if found else 'without'} projector and momentum")

        for number, name in enumerate(row.phases):
            # What an earlier launch left, or a slow evaluation, may be too much for the time that there is now.
            following = row.phases[number:]
            free = end - time.monotonic() - (row.evaluation * len(following) if row.evaluate else 0.0)
            squeeze = min(1.0, max(0.0, free) / max(sum(still[other] for other in following), 1e-9))
            time_of_phase = max(1e-3, spent[name] + squeeze * still[name])
            phase = self.phase(row, name, target, time_of_phase, epochs if name == "contrastive" else math.inf)
            train_phase(phase, model, self.data, self.settings(row), begin=begin)
            facts = phase_facts(folder / f"{name}.ckpt")
            target = facts["target"]
            result["phases"][name] = phase_record(facts, phase, len(self.data.train))
            if row.evaluate and self.left() > 0:
                result |= self.judge(row, model, name)
                model.cpu().train()
        return result

    def settings(self, row: Row) -> Settings:
        """How a row trains; every save is brought back at once."""

        def saved(module: PhaseModule) -> None:
            log = self.run / row.name / "log.csv"
            if log.is_file():
                shutil.copyfile(log, self.back / f"{row.name}.csv")
            if row.state != "none":
                save_state(self.back / f"{row.name}.safetensors", module, row.state == "all")
            self.publish()

        machine = self.machine
        return Settings(
            run=self.run / row.name, seed=machine.seed, save_every=machine.save_every, compiled=machine.compiled,
            accelerator=machine.accelerator, precision=machine.precision, monitor=False,
            log_every=10 if machine.accelerator == "cpu" else 50, saved=saved,
        )  # fmt: skip

    def judge(self, row: Row, model: ResNet, phase: str) -> dict[str, Any]:
        """Linear evaluation and kNN after pre-training, the accuracy after fine-tuning, through both branches."""
        protocol = linear_evaluation if phase == "contrastive" else fine_tuned_evaluation
        model = model.to(self.machine.device)
        found = {}
        for branch in (1, 2):
            result = protocol(model, self.data, branch, BN_BATCHES)
            result |= flops.figures(model, self.data.size, result.pop("fire_rates"))
            scores = ", ".join(f"{key} {100 * result[key]:.2f} %" for key in ("linear", "knn", "top1") if key in result)
            say(f"{row.name}: branch {branch}: {scores}")
            found[str(branch)] = result
        return {"linear" if phase == "contrastive" else "fine_tuned": found}
