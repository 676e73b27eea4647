"""Faults planted between a host and a good engine, in the simulator's process: what a bad engine would look like."""

from unittest import mock

from gen.host.driver import DriverError
from hw.interface.instructions import ErrorCode
from hw.interface.registers import register
from sim.testbench.session import Session
from verification.fuzzing import campaign

#: A byte of memory in front of every window.
PLACE = 0x40

_read, _memory = Session.register_read, Session.memory_read


def _stray_write(self, address, size):
    """A byte outside of the window changes."""
    data = bytearray(_memory(self, address, size))
    if address <= PLACE < address + size:
        data[PLACE - address] ^= 1
    return bytes(data)


def _wrong_code(self, address):
    """SLVERR of a read is told as DECERR, and an early end as SLVERR."""
    value = _read(self, address)
    wrong = {ErrorCode.READ_SLAVE.value: ErrorCode.READ_DECODE.value, ErrorCode.WATCHDOG.value: ErrorCode.LAYER.value}
    return wrong.get(value, value) if address == register("ERROR_CODE").address else value


def _answered(self, address):
    """Where no register is, 0 is read."""
    try:
        return _read(self, address)
    except DriverError:
        return 0


#: What is planted, by the kind that must find it.
PLANTS = {
    "programs": ("memory_read", _stray_write),
    "memories": ("register_read", _wrong_code),
    "registers": ("register_read", _answered),
}


def planted(session, params, seed, seconds):
    """Return the tally of each kind with its fault planted."""
    found = {}
    for kind, (name, wrong) in PLANTS.items():
        with (
            mock.patch.object(Session, name, wrong),
            mock.patch.multiple(campaign, _SHRINKING=0.2, _ENOUGH=1),
        ):
            found |= campaign.turn(session, [kind], params, "small", seed, {kind: 0}, seconds)
    return found
