"""What a run's folder tells about how it came to be: the launches, and a summary of the phases."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cdgate.errors import UserError
from cdgate.files import write_file, write_json
from sw_model.training.machine import hardware
from sw_model.training.phase import Phase, phase_facts

__all__ = ["note_launch", "phase_record", "write_summary"]

LAUNCHES = "launches.jsonl"  # commands of a run that was restarted, perhaps with other options


def _launches(run: Path) -> list[dict[str, Any]]:
    """What `note_launch` noted; raises UserError if the note is damaged."""
    path = run / LAUNCHES
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (OSError, ValueError):
        raise UserError(f"{path} must have a JSON text in each line: it is damaged; remove it to go on") from None


def note_launch(run: Path, command: str) -> None:
    """Add a launch to those of a run.

    Raises
    ------
    UserError
        The note of the earlier ones is damaged.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    lines = [*_launches(run), {"time": now, "command": command}]
    write_file(run / LAUNCHES, "".join(json.dumps(line) + "\n" for line in lines))


def phase_record(facts: dict[str, Any], phase: Phase, images: int) -> dict[str, Any]:
    """What a summary says about a phase.

    Parameters
    ----------
    facts
        Of its checkpoint.
    phase
        The phase.
    images
        Number of training images.
    """
    seen = facts["steps"] * facts["batch_size"]
    return {
        "steps": facts["steps"],
        "epochs": round(seen / images, 3),
        "batch_size": facts["batch_size"],
        "image_size": facts["size"],
        "peak_lr": phase.lr,
        "target": facts["target"],
        "wall_seconds": round(facts["seconds"], 1),
        "images_per_second": round(seen / max(facts["seconds"], 1e-9), 1),
        "sparsity": facts["sparsity"],
        "complete": facts["complete"],
    }


def write_summary(run: Path, content: dict[str, Any], phases: Iterable[Phase], images: int) -> None:
    """Write `summary.json`: what was run, phase by phase.

    Parameters
    ----------
    run
        The run's folder.
    content
        What the command knows: command, seed, data set, network, precision.
    phases
        All phases; those that have not begun are left out.
    images
        Number of training images.
    """
    found = {phase.name: (phase_facts(run / f"{phase.name}.ckpt"), phase) for phase in phases}
    records = {name: phase_record(facts, phase, images) for name, (facts, phase) in found.items() if facts}
    summary = {
        **content,
        "launches": _launches(run),
        "regulariser": 1e-2,
        "weight_decay": 5e-4,
        "optimiser": "SGD, Nesterov momentum 0.9",
        "phases": records,
        "wall_seconds": round(sum(record["wall_seconds"] for record in records.values()), 1),
        "hardware": hardware(),
        "torch": torch.__version__,
    }
    write_json(run / "summary.json", summary)
