"""The command ``cdgate``: one word for every program of the project, as ``cdgate sim --layer conv3_2``."""

from __future__ import annotations

import importlib
import sys

from cdgate.cli import run
from cdgate.errors import UsageError

__all__ = ["COMMANDS", "main"]

#: By the word: the module whose ``main`` it calls, and what that does.
COMMANDS = {
    "sim": ("sim.__main__", "simulate layers on the generated Verilog, dense and gated, and compare"),
    "network": ("sim.network", "simulate a whole network with its memory behind AXI, and compare"),
    "program": ("gen.program", "compile a network: tiles, bytes, predicted cycles, program and memory"),
    "disasm": ("gen.disasm", "print the instructions of a program"),
    "verilog": ("gen.verilog", "write the Verilog of the engine, and its description"),
    "configs": ("gen.config", "list the configurations with what they take of an FPGA"),
    "interface": ("gen.interface", "write the C header and the page of registers and instructions"),
    "synth": ("gen.synth", "place and route on an FPGA: size and speed"),
    "bench": ("sim.benchmark", "time generation, simulation, golden model and training"),
    "train": ("sw_model.train", "train a network (needs the extra: cdgate[train])"),
    "compare": ("sw_model.compare", "train and judge a row of the comparison (cdgate[train])"),
    "table": ("sw_model.table", "collect results/*.json in docs/results.md"),
    "plan": ("sw_model.plan", "train a plan of networks against the clock (cdgate[train])"),
    "quantize": ("sw_model.quantize", "quantise a trained network to int8, and evaluate it"),
    "evaluate": ("sw_model.evaluate", "accuracy and sparsity of a quantised network"),
}


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {word:{width}}  {text}" for word, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: cdgate COMMAND [options]; cdgate COMMAND --help", "", *lines])


def main(argv: list[str] | None = None) -> int:
    """Call the program that the first word names; return its status."""
    words = sys.argv[1:] if argv is None else argv

    def body() -> int:
        if not words or words[0] in ("-h", "--help"):
            print(_help())
            return 0 if words else 2
        if words[0] not in COMMANDS:
            raise UsageError(f"command must be one of {', '.join(COMMANDS)}, not {words[0]!r}")
        from cdgate.packages import check

        check()
        try:
            module = importlib.import_module(COMMANDS[words[0]][0])
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{words[0]} needs the Python package {error.name}: pip install 'cdgate[train,synth]' brings all"
            ) from None
        return int(module.main(list(words[1:])))

    return run("cdgate", body)


if __name__ == "__main__":
    sys.exit(main())
