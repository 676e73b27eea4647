"""Which activation bank holds what, and which instructions use it, as the compiler goes through the passes."""

from __future__ import annotations

from dataclasses import dataclass, field

from gen.network.instruction import Instruction
from hw.params import BANKS

__all__ = ["Bank", "Banks"]


@dataclass
class Bank:
    """What is known of a bank.

    Attributes
    ----------
    number
        As the instructions number it.
    taken
        Whether it holds something that is still wanted.
    users
        Instructions that use what it holds, or that used what it held before; the next one that writes it has to wait
        for them.
    writers
        Of these, those that wrote what it holds.
    freed
        When it was given back, in order.
    """

    number: int
    taken: bool = False
    users: list[Instruction] = field(default_factory=list)
    writers: list[Instruction] = field(default_factory=list)
    freed: int = -1


class Banks:
    """The four banks. A map takes one, whatever its size, and gives it back when nobody reads it any more."""

    def __init__(self) -> None:
        self._banks = [Bank(number) for number in range(BANKS)]
        self._clock = 0

    def __getitem__(self, number: int) -> Bank:
        return self._banks[number]

    def take(self) -> Bank:
        """Return the bank that has been free for longest: what is loaded into it has to wait for the least."""
        free = [bank for bank in self._banks if not bank.taken]
        if not free:
            raise AssertionError("no bank is free: gen.network.segments counted wrongly")
        bank = min(free, key=lambda bank: bank.freed)
        bank.taken = True
        return bank

    def release(self, bank: Bank) -> None:
        """Give a bank back. It keeps its users, for whom the next one has to wait."""
        self._clock += 1
        bank.taken, bank.freed = False, self._clock
