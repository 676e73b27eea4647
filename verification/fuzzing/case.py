"""Cases of a fuzz: drawn from a seed, run, made smaller where one is a finding, kept in files."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdgate.errors import UserError
from cdgate.files import write_json
from verification.fuzzing.host import FindingError

__all__ = ["Case", "Finding", "Kind", "Tally", "attempt", "check_case", "load_case", "save_case", "shrink", "simpler"]

#: What is tried, as JSON can hold it: choices by name.
Case = dict[str, Any]

#: Cases that are drawn to know what types the choices of a kind have.
_DRAWN = 300

#: What JSON calls the types of choices.
_JSON_TYPES = {
    bool: "true or false",
    dict: "an object",
    float: "a number with a point",
    int: "an integer",
    list: "a list",
    str: "a string",
    type(None): "null",
}


@dataclass(frozen=True)
class Kind:
    """A kind of things that are tried.

    Attributes
    ----------
    name
        Of the kind.
    share
        Of the time.
    draw
        Makes a case from random numbers and the parameters of the engine.
    run
        Runs a case where it belongs (a folder, or a `verification.fuzzing.host.Host`); returns how it ended, in a few
        words that are counted; raises `FindingError` for what must not be. Any other exception is a finding, too.
    simplest
        The simplest value of each choice that a finding may be made simpler by.
    smaller
        Yields more cases that are simpler than one.
    """

    name: str
    share: float
    draw: Callable[[random.Random, Any], Case]
    run: Callable[[Case, Any], str]
    simplest: Case = field(default_factory=dict)
    smaller: Callable[[Case], Iterator[Case]] = lambda case: iter(())


@dataclass(frozen=True)
class Finding:
    """A case that must not end as it does, and how that is."""

    kind: str
    config: Any  #: Name of the engine's configuration, or its parameters by name; empty in software.
    case: Case
    text: str


@dataclass
class Tally:
    """What was tried of a kind: cases by end, and findings."""

    ends: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """Number of cases."""
        return sum(self.ends.values())

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        self.ends.update(other.ends)
        self.findings += other.findings
        self.seconds += other.seconds


def attempt(kind: Kind, case: Case, place: Any) -> tuple[str, str | None]:
    """Run a case; return how it ended, and the finding's text if it is one."""
    try:
        return kind.run(case, place), None
    except FindingError as error:
        return "finding", str(error)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).splitlines() or [""])[0]
        return "finding", f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}: {first}"


def simpler(case: Case, simplest: Case) -> Iterator[Case]:
    """Yield cases with one choice simpler: at its simplest, halfway there, or a list without one of its elements."""
    for name, least in simplest.items():
        value = case.get(name)
        if value == least or name not in case:
            continue
        yield {**case, name: least}
        if isinstance(value, list):
            for n in range(len(value)):
                yield {**case, name: value[:n] + value[n + 1 :]}
        elif type(value) is int and type(least) is int and abs(value - least) > 1:
            yield {**case, name: (value + least) // 2}
            yield {**case, name: value - (1 if value > least else -1)}


def _alike(text: str | None) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "#", text or "")[:40]


def shrink(kind: Kind, case: Case, text: str, place: Any, seconds: float) -> tuple[Case, str]:
    """Make a finding simpler as long as it stays one of the same words, but for numbers; return it and its text.

    Parameters
    ----------
    kind, case, text, place
        The finding.
    seconds
        Time for it.
    """
    stop = time.monotonic() + seconds
    while True:
        for candidate in (*simpler(case, kind.simplest), *kind.smaller(case)):
            if time.monotonic() > stop:
                return case, text
            _, found = attempt(kind, candidate, place)
            if found is not None and _alike(found) == _alike(text):
                case, text = candidate, found
                break
        else:
            return case, text


def save_case(folder: Path, finding: Finding) -> Path:
    """Write a finding as a file that can be replayed; return its path."""
    content = {"kind": finding.kind, "config": finding.config, "case": finding.case, "found": finding.text}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    path = folder / f"{finding.kind}_{digest}.json"
    write_json(path, content)
    return path


def load_case(path: Path) -> Finding:
    """Read a file of `save_case`.

    Raises
    ------
    UserError
        If it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Finding(content["kind"], content["config"], content["case"], content.get("found", ""))
    except OSError as error:
        raise UserError(f"case {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"case {path} must be a JSON file with kind, config and case") from None
    if not isinstance(found.kind, str) or not isinstance(found.case, dict) or not isinstance(found.config, str | dict):
        raise UserError(f"case {path} must have a name as kind, a name or parameters as config, choices as case")
    return found


def check_case(kind: Kind, case: Case, params: Any) -> None:
    """See that a case has the choices that cases of its kind have, with values of the same types.

    Parameters
    ----------
    kind, case
        Those; the case may have ``before``, which is not looked at.
    params
        Of the engine, None in software.

    Raises
    ------
    UserError
        If it has not.
    """
    drawn = [kind.draw(random.Random(number), params) for number in range(_DRAWN)]
    types = {name: {type(one[name]) for one in (*drawn, kind.simplest) if name in one} for name in drawn[0]}
    if case.keys() - {"before"} != types.keys():
        raise UserError(f"case of {kind.name} must have {', '.join(types)}, not {', '.join(case) or 'nothing'}")
    for name, allowed in types.items():
        if type(case[name]) not in allowed:
            names = " or ".join(sorted(_JSON_TYPES[one] for one in allowed))
            raise UserError(f"{name} of a case of {kind.name} must be {names}, not {ascii(case[name])[:80]}")
