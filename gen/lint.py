"""Lint of the generated Verilog: ``python -m gen.lint`` writes every configuration and runs Verilator -Wall on it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from cdgate.cli import Parser, run
from cdgate.errors import UserError
from cdgate.tools import verilator_env
from gen import verilog
from hw.configurations import CONFIGS, configuration

__all__ = ["WAIVERS", "lint", "main"]

#: The warnings that are switched off, each with its reason.
WAIVERS = Path(__file__).with_name("waivers.vlt")


def lint(path: Path, top: str) -> list[str]:
    """Return the messages of Verilator on the Verilog file `path` with top module `top`."""
    done = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "--top-module", top, str(WAIVERS), str(path)],
        env=verilator_env(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    messages = [line for line in done.stderr.splitlines() if line.startswith("%")]
    if done.returncode and not messages:
        messages = [f"verilator ended with status {done.returncode}: {done.stderr.strip()[-200:]}"]
    return messages


def main(argv: list[str] | None = None) -> int:
    """Lint the configurations named on the command line, or all."""
    parser = Parser(prog="gen.lint", description="Run Verilator -Wall on the Verilog of the engine.")
    parser.add_argument("config", nargs="*", metavar="CONFIG", help="configuration (default: all)")
    args = parser.parse_args(argv)

    def body() -> None:
        configs = [configuration(name) for name in args.config or CONFIGS]
        for config, top in itertools.product(configs, verilog.TOPS):
            path = verilog.write(config, top=top)
            messages = lint(path, verilog.top_name(config.name, top))
            print(*messages, f"{path}: {len(messages)} messages", sep="\n", flush=True)
            if messages:
                raise UserError(f"{path} is not clean; the warnings that may be waived are in {WAIVERS.name}")

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
