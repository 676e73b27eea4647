"""The signals that are worth a look, as lists that GTKWave and Surfer open beside the waves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from amaranth.hdl import Shape

from hw.interface.layouts import GateMode, IdleCause

__all__ = ["GROUPS", "Group", "Signal", "gtkwave_list", "select", "surfer_list", "write_words"]


@dataclass(frozen=True)
class Signal:
    """A signal of the list.

    Attributes
    ----------
    name
        Its path below ``tb_core``. Yosys may have added ``$7`` or the like to any part of it; a star stands for a
        number.
    meaning
        What it says, for people.
    shown
        How its values are shown: "hex", "unsigned", "signed", "binary", or the enumeration whose words they are.
    """

    name: str
    meaning: str
    shown: str | type[Enum] = "hex"


@dataclass(frozen=True)
class Group:
    """Signals under one heading, a single word, and a line about what they show together."""

    title: str
    meaning: str
    signals: tuple[Signal, ...]


#: What is listed, in the order in which a pixel passes through the engine.
GROUPS = (
    Group(
        "Pass",
        "cycles as in reports and mismatches",
        (
            Signal("cycle", "cycle of the pass", "unsigned"),
            Signal("clk", "clock"),
            Signal("start", "the pass starts"),
            Signal("busy", "a pass is under way"),
            Signal("dut.comparator.layer$mode", "what decides", GateMode),
        ),
    ),
    Group(
        "Scheduler",
        "which job is next: fired slots first, then pixels",
        (
            Signal("dut.scheduler.pixel__valid", "a pixel is due"),
            Signal("dut.scheduler.pixel__payload$image", "its image", "unsigned"),
            Signal("dut.scheduler.pixel__payload$row", "its row", "unsigned"),
            Signal("dut.scheduler.pixel__payload$col", "its column", "unsigned"),
            Signal("dut.scheduler.pixel__payload$slice", "its slice of 8 channels", "unsigned"),
            Signal("dut.scheduler.base_ready", "weights of base jobs are in"),
            Signal("dut.scheduler.pool.o__valid", "a psum slot is free"),
            Signal("dut.scheduler.issue", "base job taken for the pixel"),
            Signal("dut.scheduler.issue_slot", "into this slot", "unsigned"),
            Signal("dut.scheduler.cond_valid", "a fired slot waits"),
            Signal("dut.scheduler.cond_slot", "which slot", "unsigned"),
            Signal("dut.scheduler.cond_ready", "weights of conditional jobs are in"),
            Signal("dut.scheduler.take_cond", "conditional job taken"),
            Signal("dut.scheduler.stall", "why no job was taken, when last none was", IdleCause),
        ),
    ),
    Group(
        "Steps",
        "what the multipliers are given in each cycle",
        (
            Signal("dut.steps.i__valid", "a job is offered"),
            Signal("dut.steps.i__ready", "it is taken, if offered"),
            Signal("dut.steps.active", "a step is issued"),
            Signal("dut.steps.job$cond", "of a conditional job"),
            Signal("dut.steps.job$slot", "for this slot", "unsigned"),
            Signal("dut.steps.first", "first step of the job"),
            Signal("dut.steps.ifmap_addr", "address of the chunk of the ifmap"),
            Signal("dut.steps.weight_addr", "address of the weights in the ring"),
        ),
    ),
    Group(
        "Decision",
        "a slice fires if its saliency > its threshold",
        (
            Signal("dut.comparator.s1_control$valid", "end of a job"),
            Signal("dut.comparator.s1_control$cond", "of a conditional job: no decision"),
            Signal("dut.comparator.s1_control$slot", "of this slot", "unsigned"),
            Signal("dut.comparator.s1_saliency", "saliency: the slice's sum", "signed"),
            Signal("dut.comparator.s1_threshold", "threshold of the slice", "signed"),
            Signal("dut.comparator.fires", "decision, a bit for each channel", "binary"),
            Signal("dut.comparator.end$valid", "outcome of the job"),
            Signal("dut.comparator.end$fire", "conditional job due; else psums complete"),
            Signal("dut.comparator.end$slot", "of this slot", "unsigned"),
            Signal("dut.comparator.mask__valid", "a decision leaves the engine"),
            Signal("dut.comparator.mask__payload$fire", "what was decided", "binary"),
            Signal("dut.comparator.mask__payload$image", "for this image", "unsigned"),
            Signal("dut.comparator.mask__payload$row", "this row", "unsigned"),
            Signal("dut.comparator.mask__payload$col", "this column", "unsigned"),
            Signal("dut.comparator.mask__payload$slice", "this slice", "unsigned"),
        ),
    ),
    Group(
        "Requantiser",
        "from complete psums to codes, in 9 cycles",
        (
            Signal("dut.output.psum_read", "a complete slot is read"),
            Signal("dut.output.psum_slot", "this slot", "unsigned"),
            Signal("dut.output.requantise_*.psum", "psum", "signed"),
            Signal("dut.output.requantise_*.multiplier", "multiplier", "signed"),
            Signal("dut.output.requantise_*.offset", "offset, with the rounding term", "signed"),
            Signal("dut.output.requantise_*.residual", "code of the residual, a cycle later", "signed"),
            Signal("dut.output.requantise_*.s5_total", "sum to shift, 5 cycles later", "signed"),
            Signal("dut.output.requantise_*.s8_shifted", "after the shift, 8 cycles later", "signed"),
            Signal("dut.output.requantise_*.code", "code, 9 cycles later"),
            Signal("dut.output.write_en", "codes are written to the ofmap"),
            Signal("dut.output.write$addr", "to this word"),
            Signal("dut.output.write$sub", "to this part of it", "unsigned"),
            Signal("dut.output.write$codes", "the codes, the first channel's lowest"),
        ),
    ),
    Group(
        "Counters",
        "where the cycles go",
        (
            Signal("dut.counters.step", "this cycle is a step"),
            Signal("dut.counters.step_cond", "a conditional one"),
            Signal("dut.counters.cause", "why it is idle, if it is no step", IdleCause),
            Signal("dut.counters.counts$base_steps", "base steps so far", "unsigned"),
            Signal("dut.counters.counts$cond_steps", "conditional steps so far", "unsigned"),
            Signal("dut.counters.counts$decisions", "decisions so far", "unsigned"),
            Signal("dut.counters.counts$fired", "of these fired", "unsigned"),
        ),
    ),
)

#: GTKWave's flags of a format, and Surfer's name of it.
_FORMATS = {
    "hex": (0x22, None),
    "unsigned": (0x24, "Unsigned"),
    "binary": (0x28, "Binary"),
    "signed": (0x420, "Signed"),
}
_COMMENT, _GROUP, _GROUP_END, _WORDS = 0x200, 0x800200, 0x1000200, 0x2000

#: Where Surfer looks for words, below the folder in which it is started.
_FOLDER = Path(".surfer/mappings")


def _pattern(name: str) -> re.Pattern[str]:
    parts = re.escape(name).replace(r"\*", r"(\d+)")
    return re.compile(r"tb_core\." + re.sub(r"\\[.$]|$", lambda end: r"(?:\$\d+)?" + end[0], parts))


def select(signal: Signal, ranges: Mapping[str, str]) -> list[str]:
    """Return the paths of a signal: one, or one for each number that its star stands for.

    Parameters
    ----------
    signal
        What is wanted.
    ranges
        What was traced: bit ranges such as ``[7:0]``, empty for a single bit, by path.
    """
    found: dict[tuple[str, ...], str] = {}
    for match in filter(None, map(_pattern(signal.name).fullmatch, ranges)):
        # Of a signal and its namesakes in other components the first has no number behind its name.
        found[match.groups()] = min(found.get(match.groups(), match[0]), match[0], key=lambda path: (len(path), path))
    return [found[key] for key in sorted(found)]


def gtkwave_list(dump: str, ranges: Mapping[str, str], start: int, marker: int) -> str:
    """Return the save file of GTKWave.

    Parameters
    ----------
    dump
        Name of the file with the waves, in the same folder.
    ranges
        As for `select`.
    start, marker
        Times of the left edge and of the marker.
    """
    lines = [
        f'[dumpfile] "{dump}"',
        f"[timestart] {start}",
        "[size] 1600 1000",
        f"*-3.000000 {marker}" + 26 * " -1",
        "[treeopen] tb_core.",
        "[signals_width] 450",
        "[sst_expanded] 0",
    ]
    words: list[str] = []
    for group in GROUPS:
        lines += [f"@{_GROUP:x}", f"-{group.title}", f"@{_COMMENT:x}", f"-{group.meaning}"]
        for signal in group.signals:
            if isinstance(signal.shown, str):
                flags, translation = f"@{_FORMATS[signal.shown][0]:x}", []
            else:
                name = signal.shown.__name__
                words += [name] if name not in words else []
                flags = f"@{_FORMATS['hex'][0] | _WORDS:x}"
                translation = [f"^{words.index(name) + 1} {_FOLDER / name}.txt"]
            for path in select(signal, ranges):
                lane = re.search(r"_(\d+)\.\w+$", path) if "*" in signal.name else None
                label = signal.meaning if lane is None else f"lane {lane[1]}: {signal.meaning}"
                lines += [flags, *translation, f"+{{{label}}} {path}{ranges[path]}"]
        lines += [f"@{_GROUP_END:x}", f"-{group.title}"]
    return "\n".join(lines) + "\n"


def surfer_list(ranges: Mapping[str, str], marker: int) -> str:
    """Return the command file of Surfer; arguments as for `gtkwave_list`."""
    items: list[tuple[str, str | None]] = []  # command, and format if it is not the usual one
    for group in GROUPS:
        items.append((f"divider_add {group.title}", None))
        for signal in group.signals:
            shown = _FORMATS[signal.shown][1] if isinstance(signal.shown, str) else signal.shown.__name__
            items += [(f"variable_add {path}", shown if ranges[path] else None) for path in select(signal, ranges)]
    lines = [command for command, _ in items]
    for number, (command, shown) in enumerate(items):
        if shown is not None:  # an item is named by its number in hexadecimal, with the digits a to p
            digits = "".join(chr(ord("a") + int(digit, 16)) for digit in f"{number:02x}")
            lines += [f"item_focus {digits}_{command.split()[1]}", f"item_set_format {shown}"]
    return "\n".join([*lines, "item_unfocus", "zoom_fit", f"cursor_set {marker}"]) + "\n"


def write_words(folder: Path) -> None:
    """Write the words of the enumerations below ``folder``, in files that both viewers can read."""
    (folder / _FOLDER).mkdir(parents=True)
    for shown in {signal.shown for group in GROUPS for signal in group.signals}:
        if not isinstance(shown, str):
            # The first line is for Surfer; to GTKWave it is a value that never comes.
            lines = [
                f"Bits = {Shape.cast(shown).width}",
                *(f"{member.value} {member.name.lower()}" for member in shown),
            ]
            (folder / _FOLDER / f"{shown.__name__}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
