"""Evaluation spread over processes: the float network and every mode of the integer one, on the same images."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np
import torch

from cdgate.cli import say
from cdgate.errors import DataError, UsageError
from cdgate.modes import PURE_MODES
from sw_model.data.dataset import DataSet
from sw_model.evaluation.accuracy import Accuracy, Gating, accuracy
from sw_model.integer.network import IntNetwork
from sw_model.network.resnet import ResNet

__all__ = ["check_classes", "held_out", "FLOAT", "INT_MODES", "Task", "evaluate_all", "float_correct"]

#: Names of the evaluations: the float network, and the integer network's modes.
FLOAT, INT_MODES = "float32", PURE_MODES
_SHARD = 500


@dataclass(frozen=True, eq=False)
class Task:
    """What is evaluated: the integer network, perhaps the float one, images (N, H, W, 3) uint8, labels (N,)."""

    net: IntNetwork
    model: ResNet | None
    images: np.ndarray
    labels: np.ndarray

    def run(self, what: str, start: int, stop: int) -> Accuracy:
        """Evaluate one of `FLOAT` and `INT_MODES` on the images start to stop."""
        images, labels = self.images[start:stop], self.labels[start:stop]
        if what != FLOAT:
            return accuracy(self.net, images, labels, what, first=start)
        if self.model is None:
            raise ValueError("float network must be given")
        return Accuracy(len(images), float_correct(self.model, images, labels), Gating())


@torch.no_grad()
def float_correct(model: ResNet, images: np.ndarray, labels: np.ndarray, branch: int = 1, batch: int = 50) -> int:
    """Return how many images the float network, in eval mode, classifies rightly; images (N, H, W, 3) uint8."""
    correct = 0
    for start in range(0, len(images), batch):
        x = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float().div_(255).contiguous()
        correct += int((model(x, branch).argmax(1) == torch.from_numpy(labels[start : start + batch])).sum())
    return correct


_task: Task | None = None


def _begin(task: Task) -> None:
    """Keep the task in a worker process; the processes share the cores, so each takes one thread."""
    global _task
    _task = task
    torch.set_num_threads(1)


def _work(what: str, start: int, stop: int) -> Accuracy:
    assert _task is not None
    return _task.run(what, start, stop)


def evaluate_all(task: Task, workers: int = 1) -> dict[str, Accuracy]:
    """Evaluate everything, in shards; a line every few seconds says how far it is.

    Parameters
    ----------
    task
        Networks and images.
    workers
        Processes.

    Returns
    -------
    dict[str, Accuracy]
        Accuracy by name: `FLOAT` (if the float network is given) and `INT_MODES`.
    """
    names = (FLOAT, *INT_MODES) if task.model is not None else INT_MODES
    count = len(task.images)
    shards = [(name, start, min(start + _SHARD, count)) for name in names for start in range(0, count, _SHARD)]
    totals: dict[str, Accuracy] = {name: Accuracy(0, 0, Gating()) for name in names}
    begin = shown = time.monotonic()
    for done, (name, part) in enumerate(_results(task, shards, workers), start=1):
        old = totals[name]
        old.gating.merge(part.gating)
        totals[name] = replace(old, images=old.images + part.images, correct=old.correct + part.correct)
        now = time.monotonic()
        if now - shown >= 5 and done < len(shards):
            shown, left = now, (now - begin) * (len(shards) / done - 1)
            so_far = ", ".join(f"{n} {100 * t.top1:.2f} % of {t.images}" for n, t in totals.items() if t.images)
            say(f"evaluation {done}/{len(shards)}, about {left:.0f} s left: {so_far}")
    # Shards end in any order, but tables list the layers in the engine's.
    for total in totals.values():
        total.gating.counts = {n: total.gating.counts[n] for n in task.net.names if n in total.gating.counts}
    return totals


def _results(task: Task, shards: list[tuple[str, int, int]], workers: int) -> Iterator[tuple[str, Accuracy]]:
    if workers == 1:
        for shard in shards:
            yield shard[0], task.run(*shard)
        return
    # Spawned, not forked: a forked child of a process that has used OpenMP threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(task,)) as pool:
        futures = {pool.submit(_work, *shard): shard[0] for shard in shards}
        for future in as_completed(futures):
            yield futures[future], future.result()


def check_classes(classes: int, data: DataSet) -> None:
    """Refuse a network with another number of classes than the data set has.

    Raises
    ------
    DataError
        It has.
    """
    if classes != len(data.classes):
        raise DataError(f"network for {data.name} must have {len(data.classes)} classes, not {classes}")


def held_out(data: DataSet, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the test images and labels of a data set, or the first ones of them.

    Raises
    ------
    UsageError
        There are not so many.
    """
    count = len(data.test) if limit is None else limit
    if not 1 <= count <= len(data.test):
        raise UsageError(f"--limit must be 1 to {len(data.test)}, not {limit}")
    return data.test[:count].numpy(), data.test_labels[:count].numpy()
