"""A fuzz: all kinds in turn, each its share of the time, on engines that the seed chooses."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hw.configurations import CONFIGS, Configuration, configuration
from hw.interface.axi import MAX_BURST
from hw.params import HwParams
from sim.run.build import SimulationError
from sim.run.simulators import Simulators
from verification.fuzzing.case import Case, Finding, Kind, Tally, attempt, save_case, shrink
from verification.fuzzing.files import FILES
from verification.fuzzing.host import Host
from verification.fuzzing.layers import LAYERS, LAYERS_RTL, run_batch
from verification.fuzzing.memories import MEMORIES
from verification.fuzzing.networks import NETWORKS, NETWORKS_RTL
from verification.fuzzing.programs import PROGRAMS
from verification.fuzzing.registers import REGISTERS_KIND

__all__ = ["KINDS", "SOFTWARE", "SYSTEM", "Campaign", "engines"]

#: Kinds that need no simulator, and those that run on the whole engine.
SOFTWARE = (LAYERS, NETWORKS, FILES)
SYSTEM = (PROGRAMS, MEMORIES, REGISTERS_KIND, NETWORKS_RTL)

#: All kinds by name.
KINDS: dict[str, Kind] = {kind.name: kind for kind in (LAYERS, LAYERS_RTL, NETWORKS, NETWORKS_RTL, *SYSTEM, FILES)}

#: Seconds of a turn in software, and in the simulator of the whole engine; cases of a turn in that of its core.
_TURN, _SYSTEM_TURN, _CORE_TURN = 5.0, 20.0, 24

#: Seconds for making a finding simpler.
_SHRINKING = 30.0

#: Findings of a kind after which no more are looked for.
_ENOUGH = 5

#: Fuzzes that last at least so many seconds build simulators of engines of their own.
_LONG = 600

#: Seconds beyond its turn after which a simulator hangs.
_HANGS = 300


def engines(seed: int, seconds: float) -> list[Configuration]:
    """Return the engines of a fuzz: in a short one small, else one that is named and one that is like no other."""
    if seconds < _LONG:
        return [configuration("small")]
    rng = random.Random(f"{seed}/engines")
    in_par, axi_bits = rng.choice([2, 4, 8]), rng.choice([32, 64, 128])
    least = MAX_BURST * axi_bits // (64 * in_par)
    own = HwParams(
        in_par=in_par,
        rq_lanes=rng.choice([n for n in (1, 2, 4, 8) if n <= in_par]),
        axi_bits=min(axi_bits, 64 * in_par),
        bank_words=rng.choice([512, 1024, 2048]),
        ring_entries=max(rng.choice([128, 256, 512]), least),
        psum_slots=rng.randint(2, 16),
        max_slices=rng.choice([16, 32, 64]),
        max_map=rng.choice([16, 32]),
        max_images=rng.choice([2, 4, 8]),
    )
    return [configuration(rng.choice(["small", "tiny"])), configuration(own)]


def drawn(kind: Kind, seed: int, config: str, number: int, params: HwParams | None) -> Case:
    """Return a case of a kind: the same whenever it is asked for."""
    return kind.draw(random.Random(f"{seed}/{kind.name}/{config}/{number}"), params)


def play(session: Any, name: str, case: Case, params: HwParams) -> tuple[str, str | None]:
    """Run a case of a kind for the whole engine on a fresh host, after those that it says were before it."""
    torch.set_num_threads(1)
    host = Host(session, params)
    for before, earlier in case.get("before", []):
        attempt(KINDS[before], earlier, host)
    return attempt(KINDS[name], case, host)


def turn(
    session: Any, names: Sequence[str], params: HwParams, config: str, seed: int, firsts: dict[str, int], seconds: float
) -> dict[str, Tally]:
    """Try cases of several kinds in one simulator, mixed, without a reset by ``rst`` between them.

    Parameters
    ----------
    session
        The engine.
    names
        Of the kinds.
    params, config
        The engine's parameters and the name of its configuration.
    seed
        Of the fuzz.
    firsts
        Number of the first case, by kind.
    seconds
        Time for it.
    """
    torch.set_num_threads(1)
    start = time.monotonic()
    kinds = [KINDS[name] for name in names]
    tallies = {name: Tally() for name in names}
    host = Host(session, params)
    history: list[list[Any]] = []
    broken: dict[str, int] = {}
    while time.monotonic() - start < seconds:
        kind = min(kinds, key=lambda kind: tallies[kind.name].seconds / kind.share)
        tally = tallies[kind.name]
        case = drawn(kind, seed, config, firsts[kind.name] + tally.tried, params)
        began = time.monotonic()
        end, text = attempt(kind, case, host)
        rules = {name: count for name, count in host.broken_rules().items() if name != "R_LAST"}
        if text is None and rules != broken:
            end, text = "finding", f"rules of the buses were broken: {rules}"
        broken = rules
        tally.ends[end] += 1
        history = [*history, [kind.name, case]][-6:]
        if text is not None:
            case, text = _reduced(session, kind, case, text, params, history[:-1])
            tally.findings.append(Finding(kind.name, config, case, text))
            history, host = [], Host(session, params)
            broken = {name: count for name, count in host.broken_rules().items() if name != "R_LAST"}
            if len(tally.findings) >= _ENOUGH:
                break
        tally.seconds += time.monotonic() - began
    return tallies


def _reduced(
    session: Any, kind: Kind, case: Case, text: str, params: HwParams, history: list[list[Any]]
) -> tuple[Case, str]:
    """Make a finding simpler; if it is none by itself, keep what was before it."""
    if play(session, kind.name, case, params)[1] is None:
        return {**case, "before": history}, text
    alone = dataclasses.replace(kind, run=lambda one, host: kind.run(one, Host(session, params)))
    return shrink(alone, case, text, None, _SHRINKING)


@dataclass
class _Engine:
    config: Configuration
    simulators: Simulators
    work: Path


class Campaign:
    """A fuzz.

    Parameters
    ----------
    seconds
        How long it lasts, with all that is built.
    seed
        Of everything random.
    only
        Names of the kinds; all if empty.
    build
        Folder of Verilog and simulators.
    output
        Folder of findings and of files at work.
    say
        Takes lines about the progress.
    """

    def __init__(
        self, seconds: float, seed: int, only: Sequence[str], build: Path, output: Path, say: Callable[[str], None]
    ) -> None:
        self.seconds, self.seed, self.say, self.output = seconds, seed, say, output.resolve()
        self.kinds = [kind for name, kind in KINDS.items() if name in only or not only]
        self.tallies = {kind.name: Tally() for kind in self.kinds}
        self.found: list[tuple[Finding, Path]] = []  #: Findings with their files, as they are found.
        self._numbers: dict[tuple[str, str], int] = {}
        # Of a short fuzz, too, every kind shall have a turn.
        self._turn = min(_TURN, seconds / (2 * len(self.kinds)))
        self._start = self._told = time.monotonic()
        self.engines = [
            _Engine(config, Simulators(config, build.resolve(), say), self.output / "work" / config.name)
            for config in engines(seed, seconds)
        ]

    def run(self) -> None:
        """Let all kinds take turns until the time is over."""
        torch.set_num_threads(1)
        turns: list[tuple[float, list[str], Callable[[list[str]], None]]] = [
            (kind.share, [kind.name], self._software) for kind in self.kinds if kind in SOFTWARE
        ]
        if LAYERS_RTL in self.kinds:
            turns.append((LAYERS_RTL.share, [LAYERS_RTL.name], self._core))
        names = [kind.name for kind in self.kinds if kind in SYSTEM]
        if names:
            turns.append((sum(KINDS[name].share for name in names), names, self._system))
        spent = [0.0] * len(turns)
        while (now := time.monotonic()) - self._start < self.seconds and turns:
            chosen = min(range(len(turns)), key=lambda n: spent[n] / turns[n][0])
            _, names, body = turns[chosen]
            names = [name for name in names if len(self.tallies[name].findings) < _ENOUGH]
            if not names:
                spent[chosen] = float("inf")
                if all(value == float("inf") for value in spent):
                    return
                continue
            body(names)
            spent[chosen] += time.monotonic() - now - self._building
            self._building = 0.0

    _building = 0.0  #: Seconds of the present turn that went into simulators.

    def tick(self, *_: Any) -> None:
        """Tell how far it is, every five seconds."""
        now = time.monotonic()
        if now - self._told < 5:
            return
        self._told = now
        counts = ", ".join(f"{name} {tally.tried:,}" for name, tally in self.tallies.items())
        self.say(f"{now - self._start:5.0f} s of {self.seconds:.0f}: {counts}")

    def _left(self) -> float:
        return self.seconds - (time.monotonic() - self._start)

    def _next(self, kind: str, config: str, count: int = 1) -> int:
        first = self._numbers.get((kind, config), 0)
        self._numbers[kind, config] = first + count
        return first

    def _found(self, finding: Finding) -> None:
        self.tallies[finding.kind].findings.append(finding)
        path = save_case(self.output / "findings", finding)
        self.found.append((finding, path))
        self.say(f"finding: {finding.kind}: {finding.text[:200]} ({path})")

    def _software(self, names: list[str]) -> None:
        [name] = names
        kind, tally, start = KINDS[name], self.tallies[name], time.monotonic()
        place = self.output / "work" / name
        place.mkdir(parents=True, exist_ok=True)
        while time.monotonic() - start < min(self._turn, self._left()) and len(tally.findings) < _ENOUGH:
            case = drawn(kind, self.seed, "", self._next(name, ""), None)
            end, text = attempt(kind, case, place)
            tally.ends[end] += 1
            if text is not None:
                self._found(Finding(name, "", *shrink(kind, case, text, place, _SHRINKING)))
            self.tick()
        tally.seconds += time.monotonic() - start

    def _built(self, build: Callable[[dict[str, Any]], Any]) -> Any:
        """Return a simulator; the time for it is no kind's."""
        start = time.monotonic()
        simulator = build({})
        self._building += time.monotonic() - start
        return simulator

    def _engine(self) -> _Engine:
        """Return the engine whose turn it is."""
        self.engines = [*self.engines[1:], self.engines[0]]
        return self.engines[-1]

    def _core(self, names: list[str]) -> None:
        engine = self._engine()
        config, params, tally = engine.config.name, engine.config.params, self.tallies[LAYERS_RTL.name]
        simulator = self._built(engine.simulators.core)
        start = time.monotonic()
        first = self._next(LAYERS_RTL.name, config, _CORE_TURN)
        cases = [drawn(LAYERS_RTL, self.seed, config, first + n, params) for n in range(_CORE_TURN)]
        work = engine.work / "core"
        for case, (end, text) in zip(cases, run_batch(cases, params, simulator, work, self.tick), strict=True):
            tally.ends[end] += 1
            if text is not None and len(tally.findings) < _ENOUGH:
                place = (params, simulator, work)
                small, told = shrink(LAYERS_RTL, case, text, place, _SHRINKING)
                self._found(Finding(LAYERS_RTL.name, told_config(engine.config), small, told))
        tally.seconds += time.monotonic() - start

    def _system(self, names: list[str]) -> None:
        engine = self._engine()
        config = engine.config
        simulator = self._built(engine.simulators.system)
        seconds = min(_SYSTEM_TURN, max(1.0, self._left()))
        firsts = {name: self._numbers.get((name, config.name), 0) for name in names}
        start = time.monotonic()
        running = simulator.start(
            turn, (names, config.params, config.name, self.seed, firsts, seconds), engine.work / "system"
        )
        try:
            while not running.ended:
                time.sleep(0.1)
                self.tick()
                if time.monotonic() - start > seconds + _HANGS:
                    raise SimulationError(f"simulator does not come back after {seconds:.0f} s")
            tallies = running.result()
        except SimulationError as error:
            self._found(Finding(names[0], told_config(config), {"firsts": firsts, "seed": self.seed}, str(error)))
            return
        finally:
            running.stop()
        rest = (time.monotonic() - start - sum(tally.seconds for tally in tallies.values())) / len(names)
        for name, tally in tallies.items():
            self._next(name, config.name, tally.tried)
            for finding in tally.findings:
                self._found(dataclasses.replace(finding, config=told_config(config)))
            self.tallies[name].add(Tally(tally.ends, [], tally.seconds + rest))


def told_config(config: Configuration) -> Any:
    """Return what tells a configuration in a file: its name, or its parameters."""
    return config.name if config.name in CONFIGS else dataclasses.asdict(config.params)
