"""Post-training quantisation of a training checkpoint, and the evaluation of what came of it.

All BatchNorm statistics are re-estimated through each branch on clean training images (branch 2 for its saliency's own,
then branch 1 for all the rest), BatchNorm is folded, and `sw_model.quantisation.builder` chooses the integers on
calibration images. The stem takes raw uint8 colours: normalised input is ``(q / 255 - mean) / std``, so its weights
become ``w / (255 * std)``, the code of zero is ``255 * mean``, and its offset follows from the weights as quantised.
Then the float and the integer network are evaluated on the test images.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from cdgate.cli import say
from cdgate.errors import CheckpointError, UserError
from cdgate.files import replaced
from sw_model.data.sources import load_data
from sw_model.evaluation.bn_stats import reestimate
from sw_model.evaluation.gating_report import as_json
from sw_model.evaluation.workers import FLOAT, Task, check_classes, evaluate_all, held_out
from sw_model.integer import checkpoint
from sw_model.network.weights import check_finite, load_model, save_weights, training_facts
from sw_model.quantisation.folding import obstacle, quantize
from sw_model.training.machine import hardware

__all__ = ["CALIBRATION_IMAGES", "quantize_checkpoint"]

#: Images that the activation scales are chosen on, the first of the training set.
CALIBRATION_IMAGES = 512


def quantize_checkpoint(
    trained: Path,
    source: str,
    out: Path,
    *,
    float16: Path | None = None,
    limit: int | None = None,
    batches: int = 50,
    batches2: int = 50,
    workers: int = 1,
) -> dict[str, Any]:
    """Quantise a training checkpoint, write the integer network, and evaluate both.

    Parameters
    ----------
    trained
        Training checkpoint, or a file of `sw_model.network.weights.save_weights`.
    source
        Data set, as `sw_model.data.sources.load_data` takes it.
    out
        safetensors file to write.
    float16
        safetensors file for the network before it was quantised, if wanted.
    limit
        Evaluate only the first test images.
    batches, batches2
        Batches of 256 for BatchNorm's statistics of branch 1, and of branch 2's saliency.
    workers
        Processes of the evaluation, threads of the rest.

    Returns
    -------
    dict[str, Any]
        The figures of a results file, but for the command.

    Raises
    ------
    UserError
        The engine cannot run the network, it does not fit the data, or it has values that cannot be quantised. No
        file was written then.
    DataError
        The data cannot be had.
    """
    start = time.monotonic()
    torch.set_num_threads(workers)
    model = load_model(trained)
    if reason := obstacle(model):
        raise UserError(reason)
    data = load_data(source)
    check_classes(model.fc.out_features, data)
    test_images, test_labels = held_out(data, limit)
    # Branch 1 last: the ordinary BatchNorms keep its statistics.
    for branch, count in ((2, batches2), (1, batches)):
        if branch == 1 or model.gated_convs():
            say(f"BatchNorm statistics of branch {branch} over {count} batches of 256")
            reestimate(model, data.train, branch, count)
    check_finite(model.state_dict(), f"network of {trained}, its statistics estimated anew,")
    facts = training_facts(trained)
    try:
        net = quantize(model, data.train[:CALIBRATION_IMAGES], classes=data.classes)
        net.meta.update(training=facts, data=data.name, image_size=data.size)
        with replaced(out) as part:
            checkpoint.save(part, net)
            net = checkpoint.load(part)  # what is evaluated is what was written
            if float16:
                save_weights(float16, model, facts)
    except ValueError as error:
        if isinstance(error, UserError) and not isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{trained} cannot be quantised: {error}") from None
    say(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return {
        "checkpoint_sha256": net.digest,
        "data": net.meta["data"],
        **{key: net.meta[key] for key in ("width", "groups", "granularity", "branch")},
        "training": net.meta["training"],
        "batch_norm": {"batches": batches, "batches_branch2": batches2, "batch_size": 256},
        "calibration_images": CALIBRATION_IMAGES,
        "hardware": hardware(),
        **_evaluate(Task(net, model, test_images, test_labels), workers),
        "wall_seconds": round(time.monotonic() - start, 1),
    }


def _evaluate(task: Task, workers: int) -> dict[str, Any]:
    """Evaluate both networks; returns their figures."""
    runs = evaluate_all(task, workers)
    names = {FLOAT: FLOAT, "gated": "int8", "base": "int8_base_only", "dense": "int8_all_fire"}
    top1 = {names[name]: run.top1 for name, run in runs.items()}
    return {"accuracy": dict(top1, images=len(task.images)), **as_json(task.net, runs["gated"].gating)}
