"""The memory that a program runs in: regions with names and contents."""

from __future__ import annotations

from dataclasses import dataclass

from cdgate.errors import CompileError
from hw.interface.axi import ADDR_BITS, PAGE_BYTES
from hw.params import HwParams

__all__ = ["MemoryImage", "Region"]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A range of memory.

    Attributes
    ----------
    name
        What it is for.
    address, size
        First byte, and number of bytes.
    content
        What the host writes there beforehand; None where the engine writes, or the host for each run.
    """

    name: str
    address: int
    size: int
    content: bytes | None

    @property
    def stop(self) -> int:
        """Byte after the last one."""
        return self.address + self.size


class MemoryImage:
    """Regions one after the other from address 0, each from the start of a page.

    Parameters
    ----------
    params
        The engine.
    """

    def __init__(self, params: HwParams):
        self._params = params
        self._regions: dict[str, Region] = {}

    def __getitem__(self, name: str) -> Region:
        return self._regions[name]

    def __iter__(self):
        return iter(self._regions.values())

    @property
    def size(self) -> int:
        """Bytes from address 0 to the end of the last region."""
        return max((region.stop for region in self), default=0)

    def add(self, name: str, content: bytes) -> Region:
        """Add a region with contents."""
        return self._append(name, len(content), content)

    def reserve(self, name: str, size: int) -> Region:
        """Add a region without contents."""
        return self._append(name, size, None)

    def _append(self, name: str, size: int, content: bytes | None) -> Region:
        address = -(-self.size // PAGE_BYTES) * PAGE_BYTES
        if address + size > 1 << ADDR_BITS:
            raise CompileError(f"network: memory must end below 2^{ADDR_BITS}, but {name} ends at {address + size}")
        region = Region(name=name, address=address, size=size, content=content)
        self._regions[name] = region
        return region
