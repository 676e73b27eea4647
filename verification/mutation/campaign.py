"""A campaign: mutants are made, run until something is found in them, and the rest is proven or explained."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdgate.errors import RunError
from hw.params import HwParams
from sim.run import system
from sim.run.system import NetworkSimulator
from verification.mutation.attempts import Attempt, attempts
from verification.mutation.equivalence import prove
from verification.mutation.explained import explanation
from verification.mutation.findings import Finding, of_error, of_verdict
from verification.mutation.mutations import Mutation
from verification.mutation.netlist import ORIGINAL, list_mutations, write_selectable
from verification.mutation.networks import NetworkTrial, run_network, trial
from verification.scenarios.scenarios import SCENARIOS, run_scenario
from verification.scenarios.short_program import ShortProgram, beginning

__all__ = ["PROOF_AFTER", "TRIALS", "Campaign", "Trial", "carry_out", "trials"]

Say = Callable[[str], None]

#: Seconds between two lines about the progress.
_INTERVAL = 5.0

#: Runs of networks, the cheapest first: network, mode, memory.
TRIALS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("slices", "gated", {}),
    ("stress", "dense", {"stall": 90, "extra": 50, "seed": 3}),
    ("stress", "gated", {"bandwidth": 4, "stall": 40, "extra": 90, "seed": 5}),
    ("channels", "gated", {}),
    ("pools", "gated", {}),
    ("short channels", "gated", {"seed": 7}),
    ("stress channels", "gated", {"stall": 20, "seed": 13}),
    ("short", "gated", {"stall_w": 255, "seed": 8}),
    ("wide", "gated", {"stall": 8, "seed": 6}),
    ("large", "gated", {"bandwidth": 3, "stall": 60, "seed": 21}),
    ("slices", "gated", {"bandwidth": 64, "stall": 210, "seed": 11}),
    ("wide", "dense", {"bandwidth": 64, "latency": 4, "stall": 30, "seed": 7}),
)

#: What is left after so many trials is tried to be proven equivalent, before it is run again and again.
PROOF_AFTER = 10


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A run that every mutant that is left has to pass.

    Attributes
    ----------
    name
        Of the run.
    function, arguments
        As `verification.mutation.attempts.attempts` takes them.
    judge
        Returns what its result shows, or None.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    judge: Callable[[Any], Finding | None]

    def finding(self, attempt: Attempt) -> Finding | None:
        """Return what a mutant's run shows, or None."""
        if attempt.error is not None:
            return of_error(attempt.error, self.name)
        return self.judge(attempt.value)


@dataclass
class Campaign:
    """What has become of some mutations.

    Attributes
    ----------
    mutations
        All, by number.
    top
        Name of the top module.
    found
        By number what has found them.
    proven
        Numbers of those that Yosys has proven equivalent.
    seconds
        Wall time of each step, by name.
    """

    mutations: dict[int, Mutation]
    top: str
    found: dict[int, Finding] = field(default_factory=dict)
    proven: set[int] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def left(self) -> list[int]:
        """Numbers of those that are neither found nor proven equivalent."""
        return [number for number in self.mutations if number not in self.found and number not in self.proven]

    @property
    def explained(self) -> dict[int, str]:
        """Reasons for those that are left, where there is one."""
        reasons = {number: explanation(self.mutations[number], self.top) for number in self.left}
        return {number: reason for number, reason in reasons.items() if reason is not None}

    @property
    def contradicted(self) -> list[int]:
        """Numbers of those that were found though there is a reason why no run can: the reason is wrong."""
        return [number for number in self.found if explanation(self.mutations[number], self.top) is not None]

    @property
    def survivors(self) -> list[int]:
        """Numbers of those for which there is none."""
        return [number for number in self.left if number not in self.explained]


def _network(one: NetworkTrial) -> Trial:
    return Trial(
        name=one.name,
        function=run_network,
        arguments=one.arguments,
        judge=lambda value: of_verdict(one.judge(value), one.name),
    )


def _scenario(name: str, program: ShortProgram) -> Trial:
    return Trial(name=name, function=run_scenario, arguments=(name, program), judge=lambda _: None)


def trials(params: HwParams) -> Iterator[Trial]:
    """Yield the runs of an engine, in their order: networks, then what a host meets besides."""
    short = None
    for name, mode, memory in TRIALS:
        one = trial(name, params, mode, **memory)
        if short is None:
            short = beginning(one.planned)
        yield _network(one)
    assert short is not None
    for name in SCENARIOS:
        yield _scenario(name, short)


def carry_out(
    verilog: Path,
    params: HwParams,
    count: int,
    seed: int,
    folder: Path,
    builds: Path,
    say: Say,
    runs: Iterator[Trial] | None = None,
) -> Campaign:
    """Make mutants of an engine and run them until each is found, as far as it goes.

    Parameters
    ----------
    verilog
        Of the whole engine, its description beside it.
    params
        The engine's.
    count, seed
        Of the mutations.
    folder
        For files.
    builds
        Folder of the simulators.
    say
        Takes lines about the progress.
    runs
        The trials; all if not given.

    Raises
    ------
    RunError
        If the engine without a mutation does not pass.
    """
    description = json.loads(verilog.with_suffix(".json").read_text(encoding="utf-8"))
    start = time.monotonic()
    mutations = list_mutations(verilog, description["top"], count, seed, folder)
    campaign = Campaign({mutation.number: mutation for mutation in mutations}, description["top"])
    selectable = write_selectable(description, mutations, folder)
    campaign.seconds["mutations"] = time.monotonic() - start
    simulator = system.build(selectable, builds, announce=lambda: say("building the simulator of all mutants"))
    campaign.seconds["build"] = simulator.build_seconds
    for number, one in enumerate(trials(params) if runs is None else runs):
        if number == PROOF_AFTER:
            _prove(campaign, folder, say)
        if not campaign.left:
            break
        start = time.monotonic()
        _try(campaign, one, simulator, folder, say)
        campaign.seconds[one.name] = time.monotonic() - start
    return campaign


def _prove(campaign: Campaign, folder: Path, say: Say) -> None:
    start = time.monotonic()
    left = campaign.left
    say(f"proving equivalence of {len(left)} mutants that are not found yet")
    campaign.proven |= prove([campaign.mutations[number] for number in left], folder)
    campaign.seconds["equivalence"] = time.monotonic() - start


def _try(campaign: Campaign, one: Trial, simulator: NetworkSimulator, folder: Path, say: Say) -> None:
    """Run the original, all mutants that are left, and the original again: what is left behind may change nothing."""
    left: Sequence[int] = campaign.left
    told = time.monotonic()
    found = 0
    order = [ORIGINAL, *left, ORIGINAL]
    for done, attempt in enumerate(attempts(simulator, order, one.function, one.arguments, folder / "runs")):
        finding = one.finding(attempt)
        if attempt.number == ORIGINAL:
            if finding is not None:
                raise RunError(f"engine without a mutation must pass {one.name}, but: {finding.text}")
        elif finding is not None:
            campaign.found[attempt.number] = finding
            found += 1
        if time.monotonic() - told > _INTERVAL:
            told = time.monotonic()
            say(f"{one.name}: {done} of {len(left)} mutants run, {found} found")
    say(f"{one.name}: {found} of {len(left)} mutants found")
