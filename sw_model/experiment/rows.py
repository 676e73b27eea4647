"""Plans: the rows that a machine which is lent for minutes works through, as TOML says them.

A plan is a list of tables ``[[row]]``. Keys of a row: those of `Row`; all but the name have defaults.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cdgate.errors import UsageError
from sw_model.network.methods import METHODS

__all__ = ["PLANS", "Row", "allotted", "limited", "read_plan"]

#: The plans that come with the project, by name. "first" fits a command of ten minutes; "second" is for another one.
PLANS = {
    "first": """\
[[row]]                 # how fast this machine is
name = "speed"
kind = "speed"
method = "scdg"
seconds = 90

[[row]]                 # the network of the repository's kind: pre-trained, then fine-tuned, gates on
name = "scdg"
method = "scdg"
contrastive = 0.667
sparsity = 0.72
state = "all"
""",
    "second": """\
[[row]]
name = "cdg0"
method = "cdg0"
contrastive = 1
equal = true
state = "weights"

[[row]]
name = "cdg100"
method = "cdg100"
contrastive = 1
equal = true
state = "weights"

[[row]]
name = "dense"
method = "dense"
contrastive = 1
equal = true
""",
}

KINDS = ("train", "speed")
STATES = ("none", "weights", "all")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a plan.

    Attributes
    ----------
    name
        Of its files and in its results: letters, digits, ``_`` and ``-``, at most 32.
    kind
        "train", or "speed": time a contrastive step, eager and compiled.
    method, width, depth, groups
        The network; slices are of 8 channels, or of 4, 2 or 1 where 8 do not divide an output group.
    start
        The key ``from``: go on with the network of this checkpoint, and with the rest of the state if it lies beside.
    seconds
        Training time; None: a share of what the rows with a time leave.
    share
        Of that time, relative to the shares of the others.
    equal
        Whether the row has as many contrastive epochs as all others that say so, as many as the time allows all.
    contrastive
        Share of the row's time for pre-training, 0 to 1; the rest is fine-tuning with labels.
    sparsity
        Output-weighted sparsity to which T is adjusted.
    size
        Height of the contrastive crops; None: that of the images.
    batch, tune_batch
        Images in a batch of either phase; at most the data set.
    lr, tune_lr
        Peak rates at batches of 128 and 64, scaled to the row's batch by `sw_model.training.rates.scaled_rate`.
    evaluate
        Whether the encoder is judged after pre-training, and the network after fine-tuning.
    evaluation
        Seconds that are kept free for each evaluation.
    state
        What comes back: "none", "weights", or "all" (weights, projector and momentum).
    """

    name: str
    kind: str = "train"
    method: str = "scdg"
    width: float = 1.0
    depth: int = 18
    groups: int = 4
    start: str | None = None
    seconds: float | None = None
    share: float = 1.0
    equal: bool = False
    contrastive: float = 2 / 3
    sparsity: float = 0.72
    size: int | None = None
    batch: int = 1024
    tune_batch: int = 512
    lr: float = 0.12
    tune_lr: float = 0.06
    evaluate: bool = True
    evaluation: float = 30.0
    state: str = "none"

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that have a share of the time."""
        shares = {"contrastive": self.contrastive, "supervised": 1 - self.contrastive}
        return tuple(name for name, share in shares.items() if share > 0) if self.kind == "train" else ()

    @property
    def kept_free(self) -> float:
        """Seconds of all evaluations."""
        return self.evaluation * len(self.phases) if self.evaluate else 0.0


#: What a number of a row must be: least and most; the least is excluded where it is 0 and the key is in `_ABOVE`.
_LIMITS = {"width": (0, 64), "groups": (1, 1024), "seconds": (0, 10**8), "share": (0, 10**6), "contrastive": (0, 1),
           "sparsity": (0, 1), "size": (8, 4096), "batch": (2, 2**20), "tune_batch": (2, 2**20), "lr": (0, 100),
           "tune_lr": (0, 100), "evaluation": (0, 10**8)}  # fmt: skip
_ABOVE = ("width", "seconds", "share", "sparsity", "lr", "tune_lr")


def _row(content: Any, where: str) -> Row:
    """The row that a table says; raises UsageError if it is none."""
    if not isinstance(content, dict):
        raise UsageError(f"{where} must be a table")
    known = {field.name: field for field in fields(Row)}
    values = {"start" if key == "from" else key: value for key, value in content.items() if key != "start"}
    for key in content:
        if key == "start" or (key != "from" and key not in known):
            names = ", ".join(sorted((set(known) - {"start"}) | {"from"}))
            raise UsageError(f"{where}: key {key!r} must be one of {names}")
    if not isinstance(values.get("name"), str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", values["name"]):
        raise UsageError(f"{where}: name must have 1 to 32 letters, digits, _ or -, not {values.get('name')!r}")
    where = f"row {values['name']}"
    for key, value in values.items():
        kind = known[key].type
        if key in _LIMITS:
            least, most = _LIMITS[key]
            whole = "int" in str(kind)
            number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not number or not least <= value <= most or (key in _ABOVE and value <= least):
                rule = f"{'above' if key in _ABOVE else 'from'} {least} to {most}"
                raise UsageError(f"{where}: {key} must be a {'whole ' if whole else ''}number {rule}, not {value!r}")
        elif key in ("equal", "evaluate") and not isinstance(value, bool):
            raise UsageError(f"{where}: {key} must be true or false, not {value!r}")
    for key, allowed in (("kind", KINDS), ("state", STATES), ("method", tuple(METHODS)), ("depth", (10, 18, 20, 34))):
        if key in values and values[key] not in allowed:
            raise UsageError(f"{where}: {key} must be one of {', '.join(map(str, allowed))}, not {values[key]!r}")
    if not isinstance(values.get("start", ""), str):
        raise UsageError(f"{where}: from must be the path of a checkpoint, not {values['start']!r}")
    row = Row(**values)
    if row.kind == "speed" and (row.seconds is None or row.equal):
        raise UsageError(f"{where}: a row of speed must have seconds, and is not equal to others")
    if row.equal and (row.contrastive != 1 or row.seconds is not None):
        raise UsageError(f"{where}: rows of equal epochs must have contrastive = 1 and no seconds")
    return row


def read_plan(source: str) -> tuple[Row, ...]:
    """Read a plan.

    Parameters
    ----------
    source
        Name of one of `PLANS`, or a TOML file.

    Returns
    -------
    tuple[Row, ...]
        Its rows, in order.

    Raises
    ------
    UsageError
        The file is missing or no plan; the message names the row and the key.
    """
    text = PLANS.get(source)
    if text is None:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"--plan must be {' or '.join(PLANS)} or a TOML file, not {source}") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"plan {source} must be TOML: {error}") from None
    tables = content.get("row")
    if set(content) != {"row"} or not isinstance(tables, list) or not tables:
        raise UsageError(f"plan {source} must have one table [[row]] or more, and nothing else")
    rows = tuple(_row(table, f"row {number} of plan {source}") for number, table in enumerate(tables, start=1))
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise UsageError(f"plan {source} must have rows of different names, not {', '.join(names)}")
    return rows


def allotted(rows: tuple[Row, ...], seconds: float) -> dict[str, float]:
    """Share out a time among rows that are still to come.

    Parameters
    ----------
    rows
        The rows; their evaluations are kept free first.
    seconds
        All that is left.

    Returns
    -------
    dict[str, float]
        Training seconds by the row's name, 0 where nothing is left.
    """
    free = max(0.0, seconds - sum(row.kept_free for row in rows))
    fixed = {row.name: row.seconds for row in rows if row.seconds is not None}
    squeeze = min(1.0, free / max(sum(fixed.values()), 1e-9))
    times = {name: value * squeeze for name, value in fixed.items()}
    rest, shares = free - sum(times.values()), sum(row.share for row in rows if row.seconds is None)
    return times | {row.name: rest * row.share / shares for row in rows if row.seconds is None}


def limited(row: Row, images: int, size: int) -> Row:
    """A row whose batches and crops a data set of so many images of that size can give."""
    crops = min(row.size or size, size)
    return replace(row, batch=min(row.batch, images), tune_batch=min(row.tune_batch, images), size=crops)
