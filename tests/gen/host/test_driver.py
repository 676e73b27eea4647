"""The driver against registers in Python: what it writes, and what it makes of what it reads."""

import pickle

import pytest

from gen.host.driver import Driver, DriverError, EngineError, LoadedNetwork, RefusedError, WaitError
from hw.interface.instructions import ErrorCode
from hw.interface.registers import COUNTERS, IDENTITY, REGISTERS, register

BITS = {part.name: 1 << part.offset for part in register("STATUS").fields}


class FakeEngine:
    """Registers of an engine whose runs take some polls of the interrupt."""

    def __init__(self, polls=3, error=None):
        self.values = {entry.address: entry.init for entry in REGISTERS}
        self.set("IDENTITY", IDENTITY)
        self.polls, self.error, self.draining = polls, error, 0
        self.log = []

    def set(self, name, value):
        self.values[register(name).address] = value

    def get(self, name):
        return self.values[register(name).address]

    def read(self, address):
        if address == register("STATUS").address and self.draining:
            self.draining -= 1
            if not self.draining:
                self.set("STATUS", 0)
        return self.values[address]

    def write(self, address, value):
        [entry] = [entry for entry in REGISTERS if entry.address == address]
        self.log.append((entry.name, value))
        assert entry.access in ("rw", "wo", "w1c")
        if entry.access == "rw":
            self.values[address] = value
        elif entry.access == "w1c":
            self.values[address] &= ~value
        elif value & 2:
            self.set("STATUS", BITS["DRAINING"])
            self.draining = 5
        elif value & 1:
            if self.get("STATUS") & (BITS["BUSY"] | BITS["ERROR"]):
                self.set("REFUSAL", 1 if self.get("STATUS") & BITS["BUSY"] else 2)
                self.set("INTERRUPT", self.get("INTERRUPT") | 4)
            else:
                self.set("STATUS", BITS["BUSY"])
                self.left = self.polls

    def wait(self, cycles):
        self.left -= 1
        if self.left:
            return False
        self.set("STATUS", BITS["ERROR"] if self.error else BITS["DONE"])
        self.set("INTERRUPT", 2 if self.error else 1)
        if self.error:
            self.set("ERROR_CODE", self.error[0].value)
            self.set("ERROR_INDEX", self.error[1])
        return True


class FakeMemory(bytearray):
    def read(self, address, size):
        return bytes(self[address : address + size])

    def write(self, address, data):
        self[address : address + len(data)] = data


def driver_of(engine):
    return Driver(engine, FakeMemory(64), engine.wait)


def test_what_is_no_engine():
    engine = FakeEngine()
    engine.set("IDENTITY", 0)
    with pytest.raises(DriverError, match="^register IDENTITY must be 0x43444731, not 0x00000000$"):
        driver_of(engine)


def test_registers_by_name():
    engine = FakeEngine()
    driver = driver_of(engine)
    driver.write("WATCHDOG", 99)
    assert engine.log == [("WATCHDOG", 99)] and driver.read("WATCHDOG") == 99
    engine.set("CONFIGURATION", 16 | 4 << 8 | 8 << 12 | 12 << 17 | 10 << 22)
    assert driver.fields("CONFIGURATION") == {
        "IN_PAR": 16,
        "RQ_LANES": 4,
        "AXI_BYTES": 8,
        "BANK_LOG2": 12,
        "RING_LOG2": 10,
    }


NETWORK = LoadedNetwork(
    regions=((4, b"abc"), (9, b"d")),
    program=0x40,
    instructions=7,
    window=(0x1000, 0x2000),
    images=(20, 3),
    logits=(19, 5),
)


def test_memory():
    driver = driver_of(FakeEngine())
    driver.load_network(NETWORK)
    assert bytes(driver.memory[4:10]) == b"abc\0\0d"
    driver.load_images(NETWORK, b"xyz")
    assert driver.logits(NETWORK) == b"\0xyz\0"
    with pytest.raises(DriverError, match="^images must be 3 bytes, not 2$"):
        driver.load_images(NETWORK, b"xy")


def test_memory_before_a_run_is_what_the_driver_writes():
    driver = driver_of(FakeEngine())
    driver.load_network(NETWORK)
    driver.load_images(NETWORK, b"xyz")
    assert NETWORK.memory(b"xyz", 64) == bytes(driver.memory)
    assert NETWORK.memory(b"xyz", 23) == bytes(driver.memory[:23])
    driver.memory[:] = b"." * 64
    driver.load_network(NETWORK)
    driver.load_images(NETWORK, b"xyz")
    for left in (b"." * 64, b"." * 70):
        assert NETWORK.memory(b"xyz", 64, left) == bytes(driver.memory)
    assert NETWORK.memory(b"xyz", 64, b"." * 9) == b"....abc..d\0\0\0\0\0\0\0\0\0\0xyz".ljust(64, b"\0")
    with pytest.raises(DriverError, match="^images must be 3 bytes, not 4$"):
        NETWORK.memory(b"wxyz", 64)
    with pytest.raises(DriverError, match="^memory must reach 0x17, not 0x16$"):
        NETWORK.memory(b"xyz", 22)


def test_run():
    engine = FakeEngine()
    driver = driver_of(engine)
    driver.load_network(NETWORK, watchdog=500)
    driver.start()
    assert engine.log == [
        ("PROGRAM_ADDRESS", 0x40),
        ("PROGRAM_LENGTH", 7),
        ("STORE_BASE", 0x1000),
        ("STORE_END", 0x2000),
        ("WATCHDOG", 500),
        ("INTERRUPT", 7),
        ("INTERRUPT_ENABLE", 3),
        ("CONTROL", 1),
    ]
    calls = []
    driver.wait(100, each=lambda: calls.append(1), interval=10)
    assert len(calls) == 2 and engine.get("INTERRUPT") == 0


def test_run_without_an_interrupt():
    engine = FakeEngine()
    driver = Driver(engine, FakeMemory(0))
    driver.start()
    assert driver.poll(10) is False
    engine.set("STATUS", BITS["DONE"])
    assert driver.poll(10) is True


def test_run_that_does_not_end():
    driver = driver_of(FakeEngine(polls=100))
    driver.start()
    with pytest.raises(WaitError, match="^run is still under way after 35 cycles$"):
        driver.wait(35, interval=10)


def test_error_of_the_engine():
    driver = driver_of(FakeEngine(error=(ErrorCode.READ_SLAVE, 12)))
    driver.start()
    with pytest.raises(EngineError, match="^engine stopped at instruction 12: READ_SLAVE$") as caught:
        driver.wait(1000, interval=10)
    assert (caught.value.code, caught.value.index) == (ErrorCode.READ_SLAVE, 12)
    with pytest.raises(RefusedError, match="^start refused: engine is stopped by an error$"):
        driver.start()
    driver.soft_reset()
    driver.start()


def test_start_while_busy_is_refused_and_the_run_goes_on():
    engine = FakeEngine()
    driver = driver_of(engine)
    driver.start()
    with pytest.raises(RefusedError, match="^start refused: engine is busy$") as caught:
        driver.start()
    assert caught.value.reason == "busy" and not engine.get("INTERRUPT") & 4
    driver.wait(1000, interval=10)


def test_soft_reset_that_does_not_come_to_rest():
    engine = FakeEngine()
    driver = driver_of(engine)
    driver.soft_reset()
    with pytest.raises(WaitError, match="^bus has not come to rest in 3 readings of the status$"):
        driver.soft_reset(attempts=3)


def test_counters_have_two_halves():
    engine = FakeEngine()
    for number, (name, _) in enumerate(COUNTERS):
        engine.set(f"{name.upper()}_LOW", number)
        engine.set(f"{name.upper()}_HIGH", 2 * number)
    found = driver_of(engine).counters()
    assert list(found) == [name for name, _ in COUNTERS]
    assert found["cond_steps"] == 2 | 4 << 32


def test_errors_can_be_sent_to_another_process():
    for error in (EngineError(ErrorCode.WATCHDOG, 3), RefusedError("busy"), WaitError("text")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error) and vars(copy) == vars(error)
