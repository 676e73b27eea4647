"""Traffic on the register port while programs run: accesses right and wrong, starts, resets at any cycle."""

from __future__ import annotations

import random
from typing import Any

from gen.host.driver import DriverError
from hw.interface.registers import ADDRESS_BITS, IDENTITY, REGISTERS
from hw.params import HwParams
from verification.fuzzing.case import Case, Kind
from verification.fuzzing.host import HANG, FindingError, Host
from verification.fuzzing.jobs import POOL, good_job, prepared

__all__ = ["REGISTERS_KIND"]

_BY_ADDRESS = {one.address: one for one in REGISTERS}
_READ_WRITE = [one.name for one in REGISTERS if one.access == "rw"]
_START, _RESET = 1, 2


def _action(rng: random.Random) -> list[Any]:
    what = rng.choice(["read", "read", "read", "write", "any", "start", "soft", "rst", "wait", "wait"])
    if what == "wait":
        return [what, rng.choice([rng.random(), rng.random() / 50])]
    if what == "read":
        return [what, rng.choice([rng.choice(REGISTERS).address, rng.randrange(1 << ADDRESS_BITS)])]
    if what == "write":
        return [what, rng.choice(_READ_WRITE), rng.random()]
    if what == "any":
        return [what, rng.randrange(1 << ADDRESS_BITS), rng.getrandbits(32)]
    return [what, rng.random()]


def draw(rng: random.Random, params: HwParams) -> Case:
    """Draw what a host does."""
    return {
        "pool": rng.randrange(POOL),
        "gap": rng.choice([0, 0, 3, 20]),
        "stall": rng.choice([0, 0, 120]),
        "actions": [_action(rng) for _ in range(rng.randint(1, 25))],
        "other": rng.randrange(POOL),
    }


class _Model:
    """What the registers that are written must read as, and the window that they allow all in all."""

    def __init__(self, host: Host):
        self.host = host
        self.values: dict[str, int] = {}

    def reset(self) -> None:
        """After ``rst``."""
        self.values = {one.name: one.init for one in REGISTERS if one.access == "rw"}

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.host.driver.write(name, value)
        self.values[name] = value

    def read(self, address: int) -> None:
        """Read any address; raises `FindingError` if it is not as it must be."""
        one = _BY_ADDRESS.get(address)
        try:
            found = self.host.session.register_read(address)
        except DriverError as error:
            if one is not None or "SLVERR" not in str(error):
                raise FindingError(f"read of {address:#x}: {error}") from None
            return
        if one is None:
            raise FindingError(f"read of {address:#x}, where no register is, is answered")
        expected = {**self.values, "IDENTITY": IDENTITY, "CONTROL": 0}.get(one.name, found)
        if found != expected:
            raise FindingError(f"register {one.name} reads {found:#x}, not {expected:#x}")
        limits = {"STATUS": 15, "INTERRUPT": 7, "ERROR_CODE": 12, "REFUSAL": 2}
        if found > limits.get(one.name, found):
            raise FindingError(f"register {one.name} reads {found:#x}")


def _value(name: str, part: float, host: Host) -> int:
    """Return a value for a register: any but for those that would open the window or let a run last for ever."""
    assert host.loaded is not None
    network = host.loaded.network
    first, stop = network.window
    return {
        "PROGRAM_ADDRESS": int(part * 2 * host.loaded.size) if part < 0.5 else network.program,
        "PROGRAM_LENGTH": int((1 << 17) ** part) if part < 0.5 else network.instructions,
        "STORE_BASE": first + int(part * (stop - first)),
        "STORE_END": first + int(part * (stop - first)),
        "WATCHDOG": int(part * host.watchdog),
        "INTERRUPT_ENABLE": int(part * 8),
    }[name]


def run(case: Case, host: Host) -> str:
    """Do it all while a program runs; then a soft reset, and a good program."""
    params: HwParams = host.params
    session, driver = host.session, host.driver
    job = prepared(host, params, case["pool"])
    cycles = host.cycles[case["pool"]]
    session.set(lite_gap=case["gap"], stall=case["stall"])
    model = _Model(host)
    model.values = {name: driver.read(name) for name in _READ_WRITE}
    driver.start()
    model.values["INTERRUPT_ENABLE"] = driver.read("INTERRUPT_ENABLE")
    ends = set()
    for what, *values in case["actions"]:
        if what == "wait":
            session.wait(int(values[0] * cycles) + 1)
        elif what == "read":
            model.read(values[0])
        elif what == "write":
            model.write(values[0], _value(values[0], values[1], host))
        elif what == "any":
            _write_anywhere(session, *values)
        elif what == "start":
            driver.write("CONTROL", _START)
        elif what == "soft":
            driver.write("CONTROL", _RESET)
        else:
            session.reset(4 + int(8 * values[0]))
            model.reset()
            model.write("STORE_BASE", host.window[0])  # the window is all of memory otherwise
            model.write("STORE_END", host.window[1])
            model.write("WATCHDOG", host.watchdog)
        ends |= {name for name, value in driver.fields("STATUS").items() if value}
    _settle(host, model)
    host.check(exact=False)
    host.registers()
    host.recover(good_job(params, case["other"]) if case["other"] != case["pool"] else job)
    return f"recovered, {'error' if 'ERROR' in ends else 'ended' if 'DONE' in ends else 'no end'} on the way"


def _write_anywhere(session: Any, address: int, value: int) -> None:
    """Write where no register can be written: it must be refused."""
    one = _BY_ADDRESS.get(address)
    if one is not None and one.access != "ro":
        return
    try:
        session.register_write(address, value)
    except DriverError as error:
        if "SLVERR" in str(error):
            return
        raise FindingError(f"write to {address:#x}: {error}") from None
    raise FindingError(f"write to {address:#x}, which cannot be written, is accepted")


def _settle(host: Host, model: _Model) -> None:
    """Wait until the engine is at rest: every run must come to its end."""
    model.write("WATCHDOG", min(model.values["WATCHDOG"], host.watchdog))
    for _ in range(2000):
        status = host.driver.fields("STATUS")
        if not status["BUSY"] and not status["DRAINING"]:
            return
        host.session.wait(host.watchdog // 4)
        host.session.wait(1)
        host.driver.write("INTERRUPT", 7)
    raise FindingError(f"{HANG}: the engine does not come to rest: {status}")


_SIMPLEST: Case = {"actions": [], "gap": 0, "stall": 0, "pool": 0, "other": 0}

REGISTERS_KIND = Kind("registers", 0.04, draw, run, _SIMPLEST)
