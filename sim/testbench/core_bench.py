"""The cocotb side of the testbench: it starts the clock, then run after run, and waits for each to end."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge


@cocotb.test()
async def run_all(dut):
    """Execute the runs 0 to ``CDGATE_RUNS`` - 1; `tb_core.sv` does the work and limits each run's cycles."""
    # The clock is toggled by the simulator interface in C++, without Python at its edges.
    Clock(dut.clk, 2, unit="step", impl="gpi").start()
    for number in range(int(os.environ["CDGATE_RUNS"])):
        dut.number.value = number
        dut.go.value = 1
        await RisingEdge(dut.finished)
        dut.go.value = 0
        await FallingEdge(dut.finished)
