"""Faults of the bus, one at a time: at every beat of two small programs, and what becomes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hw.interface.instructions import Opcode
from hw.params import HwParams
from sim.plan.cases import random_case
from sim.testbench.session import Session
from verification.fuzzing.host import DONE, FindingError, Host, Job, job_of
from verification.networks.one_layer import OneLayer, one_layer

__all__ = ["CHANNELS", "FAULTS", "Row", "inject", "small_programs"]

#: Cycles that a program gets between two instructions here.
WATCHDOG = 3_000


@dataclass(frozen=True)
class Fault:
    """A kind of fault: settings of the memory by way, and how a run must end.

    Attributes
    ----------
    settings
        Of the testbench, without the place.
    ends
        How a read and a write must end; None if there is no such fault.
    last
        Only at last beats of bursts (True) or only at the others (False); None: at all.
    """

    settings: dict[str, int]
    ends: tuple[str | None, str | None]
    last: bool | None = None


#: The faults by name.
FAULTS = {
    "SLVERR": Fault({"error": 2}, ("READ_SLAVE", "WRITE_SLAVE")),
    "DECERR": Fault({"error": 3}, ("READ_DECODE", "WRITE_DECODE")),
    "no response": Fault({"error": 4}, ("WATCHDOG", "WATCHDOG")),
    "late RLAST": Fault({"error": 5}, ("READ_LAST", None), last=True),
    "early RLAST": Fault({"error": 5}, ("READ_LAST", None), last=False),
    "time-out": Fault({"error": 6, "late": 2 * WATCHDOG}, ("WATCHDOG", "WATCHDOG")),
    "delay": Fault({"error": 6, "late": WATCHDOG // 3}, (DONE, DONE)),
}

#: What is moved, by name: the instructions that move it, and whether it is written.
CHANNELS: dict[str, tuple[tuple[Any, ...], bool]] = {
    "instructions": ((), False),
    "weights": ((Opcode.LOAD_WEIGHTS,), False),
    "parameters": ((Opcode.LOAD_PARAMETERS,), False),
    "maps read": ((Opcode.LOAD_MAP,), False),
    "maps written": ((Opcode.STORE_MAP,), True),
    "logits": ((Opcode.STORE_LOGITS,), True),
}

_UNALIGNED = "unaligned"


@dataclass
class Row:
    """What came of a fault in a channel.

    Attributes
    ----------
    fault, channel
        Which.
    injected, recovered
        Runs with the fault; of these, those after which a soft reset and a good program gave the exact result.
    outcomes
        Runs by their end.
    findings
        What must not be, by place.
    """

    fault: str
    channel: str
    injected: int = 0
    recovered: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def small_programs(params: HwParams) -> tuple[OneLayer, OneLayer]:
    """Return the program of a gated layer with a residual, and that of a classifier."""
    channels: dict[str, Any] = {"in_ch": 2 * params.in_par, "out_ch": 16, "groups": 2}
    layer = random_case(21, size=(3, 3), residual="unsigned", **channels)
    return one_layer(layer, params), one_layer(random_case(22, in_ch=16, size=(2, 2), classes=10), params)


def _beats(one: OneLayer, params: HwParams, channel: str) -> Iterator[tuple[int, bool]]:
    """Yield address of each beat that a channel moves, and whether it is the last of its burst."""
    size, page = params.axi_bytes, 64 * params.axi_bytes
    opcodes, _ = CHANNELS[channel]
    if not opcodes:
        spans = [(64 * n, 64) for n in range(len(one.instructions))]
    else:
        spans = [(address, count) for opcode, address, count in one.transfers(params) if opcode in opcodes]
    for first, count in spans:
        stop = first + -(-count // size) * size
        for address in range(first, stop, size):
            yield address, address + size == stop or (address + size) % page == 0


def inject(
    session: Session, programs: tuple[OneLayer, OneLayer], params: HwParams, every: int, told: Callable[[str], None]
) -> list[Row]:
    """Inject every fault at every beat, each in a run of its own, and recover from it.

    Parameters
    ----------
    session
        The engine.
    programs
        From `small_programs`.
    params
        The engine's parameters.
    every
        1 for all beats, n for each n-th.
    told
        Called before each row is begun, with its name and number and how many faults were injected.
    """
    host = Host(session, params, WATCHDOG)
    rows: list[Row] = []
    count = len(CHANNELS) + sum(
        fault.ends[writes] is not None for fault in FAULTS.values() for _, writes in CHANNELS.values()
    )

    def begin(row: Row) -> None:
        done = sum(one.injected for one in rows)
        told(f"row {len(rows) + 1} of {count} ({row.fault}, {row.channel}), {done:,} faults before it")

    for name, fault in FAULTS.items():
        for channel, (_, writes) in CHANNELS.items():
            if fault.ends[writes] is None:
                continue
            row = Row(name, channel)
            begin(row)
            for one in programs:
                places = [place for place, last in _beats(one, params, channel) if fault.last in (None, last)]
                if places:
                    host.load(job_of(one))
                for place in places[::every]:
                    _at_a_beat(host, row, fault, writes, place, params.axi_bytes)
            rows.append(row)
    for channel, (opcodes, _) in CHANNELS.items():
        row = Row(_UNALIGNED, channel)
        begin(row)
        for one in programs:
            _at_odd_addresses(host, row, one, params, opcodes, every)
        rows.append(row)
    broken = {name: count for name, count in host.broken_rules().items() if name != "R_LAST"}
    if broken:
        rows[-1].findings.append(f"rules of the buses were broken: {broken}")
    return rows


def _at_a_beat(host: Host, row: Row, fault: Fault, writes: bool, place: int, size: int) -> None:
    way = "write" if writes else "read"
    settings = {"late": fault.settings.get("late", 0), f"{way}_error": fault.settings["error"]}
    host.blank()
    host.session.set(**settings, **{f"{way}_first": place, f"{way}_last": place + size - 1})
    host.start()
    _judge(host, row, fault.ends[writes], f"at {place:#x}")


def _at_odd_addresses(
    host: Host, row: Row, one: OneLayer, params: HwParams, opcodes: tuple[Any, ...], every: int
) -> None:
    """Move the address of each transfer, or of the program, by less than a unit."""
    job: Job = job_of(one)
    if not opcodes:
        host.load(job)
        for odd in range(1, 64, every):
            host.blank()
            host.driver.write("PROGRAM_ADDRESS", job.network.program + odd)
            host.start()
            _judge(host, row, "ADDRESS", f"program moved by {odd}")
        return
    for index, (opcode, address, _) in enumerate(one.transfers(params)):
        if opcode not in opcodes:
            continue
        for odd in range(1, params.axi_bytes):
            place = job.network.program + 64 * index
            text = bytearray(one.instructions[index])
            text[8:12] = (address + odd).to_bytes(4, "little")
            host.load(job, patches=[(place, bytes(text))])
            host.start()
            _judge(host, row, "ADDRESS", f"instruction {index} moved by {odd}", job)


def _judge(host: Host, row: Row, expected: str | None, where: str, job: Job | None = None) -> None:
    row.injected += 1
    try:
        end = host.finish()
        row.outcomes[end] += 1
        if end != expected:
            row.findings.append(f"{where}: the run ends with {end}, not {expected}")
        host.check(exact=end == DONE)
        host.registers()
        host.recover(job)
        row.recovered += 1
    except FindingError as error:
        row.findings.append(f"{where}: {error}")
        host.session.reset()
        assert host.loaded is not None
        host.load(host.loaded)
