"""Runs whole networks on the engine, in the simulator's process; what came is compared elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gen.host.driver import LoadedNetwork
from sim.testbench.session import Session

__all__ = ["MARGIN", "PROGRESS", "NetworkJob", "NetworkRun", "run_networks"]

#: Name of the file with the cycles and passes so far.
PROGRESS = "progress"

#: Bytes behind the network's memory that are looked at as well.
MARGIN = 1 << 16

#: Cycles between two looks at a run.
_INTERVAL = 1 << 18


@dataclass(frozen=True, kw_only=True)
class NetworkJob:
    """A network, and what it is run on.

    Attributes
    ----------
    network
        The network.
    images
        Laid out as it reads them.
    size
        Bytes of memory that it takes.
    cycle_limit
        Cycles after which it is given up.
    """

    network: LoadedNetwork
    images: bytes
    size: int
    cycle_limit: int


@dataclass(frozen=True, kw_only=True)
class NetworkRun:
    """What a run left behind.

    Attributes
    ----------
    counters
        By the names in `hw.interface.registers.COUNTERS`.
    trace
        Path of the traces without suffix, see `sim.run.trace.read_trace`.
    memory
        Path of the memory's contents.
    logits
        As the driver read them.
    report
        What the testbench counted during the run: rules broken, bursts, beats.
    """

    counters: dict[str, int]
    trace: Path
    memory: Path
    logits: bytes
    report: dict[str, int]


def run_networks(session: Session, jobs: Sequence[NetworkJob], settings: Mapping[str, int]) -> list[NetworkRun]:
    """Run networks one after the other, as a host would.

    Parameters
    ----------
    session
        The engine; reset once, at the beginning.
    jobs
        The networks.
    settings
        Of the testbench, see `sim.testbench.session.SETTINGS`.
    """
    session.set(**settings)
    session.reset()
    driver = session.driver()
    runs = []
    before = session.report()
    done = 0
    for job in jobs:
        driver.load_network(job.network)
        driver.load_images(job.network, job.images)
        trace = session.open_traces()

        def progress(done: int = done) -> None:
            cycles = driver.read("CYCLES_LOW")
            (session.folder / PROGRESS).write_text(f"{done + cycles} {session.passes}\n", encoding="ascii")

        driver.start()
        driver.wait(job.cycle_limit, progress, _INTERVAL)
        counters = driver.counters()
        progress()
        done += counters["cycles"]
        session.wait(64)  # nothing may come any more
        session.close_traces()
        after = session.report()
        size = -(-(job.size + MARGIN) // session.axi_bytes) * session.axi_bytes
        runs.append(
            NetworkRun(
                counters=counters,
                trace=trace,
                memory=session.memory_file(0, size),
                logits=driver.logits(job.network),
                report={
                    name: value if name.startswith("most") else value - before[name] for name, value in after.items()
                },
            )
        )
        before = after
    return runs
