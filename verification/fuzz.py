"""Tries what nobody has thought of: ``python -m verification.fuzz --seconds 600 --seed 1``; see ``--help``."""

from __future__ import annotations

import random
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import UsageError
from cdgate.files import write_json
from cdgate.lock import locked
from hw.configurations import configuration
from hw.params import HwParams
from sim.run.simulators import Simulators
from verification.fuzzing.campaign import KINDS, SOFTWARE, SYSTEM, Campaign, play, told_config
from verification.fuzzing.case import Finding, attempt, check_case, load_case

__all__ = ["BUILD", "main", "replay", "verdict"]

#: Folder of everything that is generated, under the working directory.
BUILD = Path("build")

#: Greatest seed and number of seconds.
MOST_SEED, MOST_SECONDS = 2**31 - 1, 7 * 24 * 3600


def _parser() -> Parser:
    parser = Parser(
        prog="verification.fuzz",
        description="Try random layers, networks, programs, memories, register traffic and damaged files against the "
        "golden model, the interpreters and the generated Verilog, until the time is over. What must not be is made "
        "simpler and kept as a case that can be replayed.",
    )
    parser.add_argument("--seconds", type=int, default=600, metavar="N", help="how long (default: 600)")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (default: another one each time)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="KIND",
        help=f"one of {', '.join(KINDS)}; may be given repeatedly",
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the case of a finding instead")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=BUILD / "verification" / "fuzz",
        metavar="DIR",
        help="folder of report.json and findings (default: build/verification/fuzz)",
    )
    return parser


def replay(finding: Finding, work: Path, build: Path = BUILD) -> tuple[str, str | None]:
    """Run the case of a finding; return how it ends, and what is wrong, None if nothing is.

    Parameters
    ----------
    finding
        From `verification.fuzzing.case.load_case`.
    work
        Folder for its files.
    build
        Folder of Verilog and simulators.

    Raises
    ------
    UsageError
        If its kind or its engine is none, or its case is none of its kind.
    """
    if finding.kind not in KINDS:
        raise UsageError(f"kind of a case must be one of {', '.join(KINDS)}, not {finding.kind!r}")
    kind, told = KINDS[finding.kind], finding.config
    if kind in SOFTWARE:
        if told != "":
            raise UsageError(f"config of a case of {kind.name} must be empty, not {ascii(told)[:80]}")
        _check(finding.kind, finding.case, None)
        return attempt(kind, finding.case, work)
    if not told:
        raise UsageError(f"config of a case of {kind.name} must be a configuration's name or parameters, not empty")
    try:
        config = configuration(HwParams(**told) if isinstance(told, dict) else told)
    except (TypeError, ValueError) as error:
        raise UsageError(f"engine of a case: {error}") from None
    _check(finding.kind, finding.case, config.params)
    simulators = Simulators(config, build.resolve(), say)
    if kind.name == "layers_rtl":
        return attempt(kind, finding.case, (config.params, simulators.core({}), work / "runs"))
    return simulators.system({}).run(play, (kind.name, finding.case, config.params), work / "run")


def _check(name: Any, case: Any, params: HwParams | None) -> None:
    """Raise `UserError` unless a case can be played, and those that were before it."""
    check_case(KINDS[name], case, params)
    earlier = case.get("before", [])
    if "before" in case and KINDS[name] not in SYSTEM:
        raise UsageError(f"case of {name} must have none before it")
    if not isinstance(earlier, list):
        raise UsageError("before must be a list of kinds and cases")
    for one in earlier:
        if not (isinstance(one, list) and len(one) == 2 and one[0] in [kind.name for kind in SYSTEM]):
            raise UsageError("before must be a list of kinds, for the whole engine, and cases")
        if not isinstance(one[1], dict) or "before" in one[1]:
            raise UsageError("what was before a case must be cases, with none before them")
        _check(one[0], one[1], params)


def _replay(path: Path) -> int:
    torch.set_num_threads(1)
    finding = load_case(path)
    with tempfile.TemporaryDirectory() as work:
        end, text = replay(finding, Path(work))
    print(f"{finding.kind}: {end if text is None else text}")
    print(f"verdict: {'pass' if text is None else 'fail: 1 findings'}")
    return 0 if text is None else 1


def verdict(campaign: Campaign) -> str:
    """Return ``pass``, or ``fail:`` and why; a kind of which nothing was tried is no pass."""
    if campaign.found:
        return f"fail: {len(campaign.found)} findings"
    untried = [name for name, tally in campaign.tallies.items() if not tally.tried]
    return f"fail: nothing tried of {', '.join(untried)}" if untried else "pass"


def _report(campaign: Campaign, command: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "command": command,
        "seed": campaign.seed,
        "seconds": campaign.seconds,
        "engines": {engine.config.name: told_config(engine.config) for engine in campaign.engines},
        "kinds": {
            name: {
                "tried": tally.tried,
                "seconds": round(tally.seconds, 1),
                "ends": dict(sorted(tally.ends.items())),
                "findings": len(tally.findings),
            }
            for name, tally in campaign.tallies.items()
        },
        "findings": [
            {"kind": finding.kind, "text": finding.text, "file": str(path)} for finding, path in campaign.found
        ],
        "verdict": verdict(campaign),
    }


def _print(campaign: Campaign) -> None:
    shown = table("tried", "kind", "ends", "cases", "a second", "findings", left=2)
    for name, tally in campaign.tallies.items():
        rate = f"{tally.tried / tally.seconds:.2f}" if tally.seconds else "-"
        shown.add_row(name, "", f"{tally.tried:,}", rate, str(len(tally.findings)))
        for end, count in sorted(tally.ends.items()):
            shown.add_row("", end, f"{count:,}", "", "")
    console().print(shown)


def _body(args: Any, command: str) -> int:
    if args.replay is not None:
        return _replay(args.replay)
    if not 1 <= args.seconds <= MOST_SECONDS:
        raise UsageError(f"seconds must be 1 to {MOST_SECONDS}, not {args.seconds}")
    if args.seed is not None and not 0 <= args.seed <= MOST_SEED:
        raise UsageError(f"seed must be 0 to {MOST_SEED}, not {args.seed}")
    for name in args.only:
        if name not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, not {name!r}")
    seed = random.SystemRandom().randint(0, MOST_SEED) if args.seed is None else args.seed
    print(f"seed: {seed}", flush=True)
    with locked(args.output / ".lock", announce=lambda: say(f"waiting for another run that writes to {args.output}")):
        (args.output / "report.json").unlink(missing_ok=True)
        campaign = Campaign(args.seconds, seed, args.only, BUILD, args.output, say)
        campaign.run()
        report = _report(campaign, command)
        write_json(args.output / "report.json", report)
    _print(campaign)
    print(f"report: {args.output / 'report.json'}")
    print(f"seed: {seed}")
    told = verdict(campaign)
    print(f"verdict: {told}")
    return 0 if told == "pass" else 1


def main(argv: list[str] | None = None) -> int:
    """Fuzz as the command line says; return 0 if all is tried and nothing found, 1 if not, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", parser.prog, *(sys.argv[1:] if argv is None else argv)])
    return run(parser.prog, lambda: _body(args, command))


if __name__ == "__main__":
    sys.exit(main())
