"""The cocotb side of `test_surroundings`: it sees that the testbench has begun, and which Python it runs in."""

import os

import cocotb
from cocotb.triggers import Timer


@cocotb.test()
async def run_tiny(dut):
    """Write what the testbench holds to the file that ``CDGATE_SEEN`` names; asserts count."""
    await Timer(1, "step")
    assert __debug__ and os.environ["CDGATE_SEEN"]
    with open(os.environ["CDGATE_SEEN"], "w") as file:  # noqa: PTH123
        file.write(str(int(dut.number.value)))
