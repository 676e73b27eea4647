"""A model of the memory and of the way to it: bursts of several clients in turn, in-order answers, shared bandwidth."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from hw.interface.axi import MAX_BURST, PAGE_BYTES

__all__ = ["Burst", "Memory", "split"]

#: What is left of a burst, in bytes, that counts as nothing.
_NOTHING = 1e-6


@dataclass(eq=False)
class Burst:
    """A burst under way.

    Attributes
    ----------
    client
        Whose it is.
    size
        Bytes.
    last
        Whether it is the last one of its transfer.
    rate
        Bytes a cycle that its client takes at most.
    ready
        When its first beat can come at the earliest.
    left
        Bytes that have not been moved.
    """

    client: str
    size: int
    last: bool
    rate: float
    ready: float = 0.0
    left: float = 0.0


def split(address: int, size: int, bus: int) -> list[int]:
    """Return the sizes of the bursts that a transfer of whole beats is cut into, as `hw.bus.burst_splitter` cuts it."""
    span = min(MAX_BURST * bus, PAGE_BYTES)
    first = min(size, span - address % span)
    rest = size - first
    return [first, *[span] * (rest // span), *([rest % span] if rest % span else [])]


class Memory:
    """Answers reads and writes, each in order, both at once.

    Parameters
    ----------
    bandwidth
        Bytes a cycle of both together; 0 for no limit but the bus.
    bus
        Bytes of a beat; a channel moves one a cycle.
    """

    def __init__(self, bandwidth: float, bus: int):
        self._bandwidth = bandwidth or math.inf
        self._bus = bus
        self.reads: deque[Burst] = deque()
        self.writes: deque[Burst] = deque()
        self.now = 0.0

    def add(self, queue: deque[Burst], burst: Burst, ready: float) -> None:
        """Ask for a burst, of `reads` or of `writes`."""
        burst.ready, burst.left = ready, burst.size
        queue.append(burst)

    def _flowing(self) -> list[tuple[deque[Burst], float]]:
        """Return the queues whose first burst is being moved, and its bytes a cycle."""
        active = [queue for queue in (self.reads, self.writes) if queue and queue[0].ready <= self.now]
        share = self._bandwidth / len(active) if active else 0.0
        return [(queue, min(share, self._bus, queue[0].rate)) for queue in active]

    def next(self) -> float:
        """Return when something changes next if nothing is added."""
        times = [self.now + queue[0].left / rate for queue, rate in self._flowing()]
        times += [queue[0].ready for queue in (self.reads, self.writes) if queue and queue[0].ready > self.now]
        return min(times, default=math.inf)

    def advance(self, time: float) -> list[tuple[deque[Burst], Burst]]:
        """Move on to a time not after `next`; return the bursts that were completed, with their queues."""
        done = []
        for queue, rate in self._flowing():
            queue[0].left -= rate * (time - self.now)
            if queue[0].left < _NOTHING:
                done.append((queue, queue.popleft()))
        self.now = time
        return done
