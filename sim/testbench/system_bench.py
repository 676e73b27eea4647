"""The cocotb side of the network testbench: it runs a scenario, plain Python, in the simulator's own process.

The scenario is a function of a `sim.testbench.session.Session` and of further arguments, pickled in ``CDGATE_JOB``;
what it returns, or the exception that it ends with, is pickled beside it.
"""

import os
import pickle
import traceback
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume

from sim.testbench.session import Session


@cocotb.test()
async def run_scenario(dut):
    """Run the scenario, with the clock going on between its commands."""
    # The clock is toggled by the simulator interface in C++, without Python at its edges.
    Clock(dut.clk, 2, unit="step", impl="gpi").start()
    job = Path(os.environ["CDGATE_JOB"])
    function, arguments, axi_bytes = pickle.loads(job.read_bytes())
    up = False

    @resume
    async def call(command, a, b, c):
        nonlocal up
        dut.command.value, dut.a.value, dut.b.value, dut.c.value = command, a, b, c
        up = not up
        dut.go.value = up
        await dut.finished.value_change
        return int(dut.result.value)

    @bridge
    def scenario():
        try:
            return function(Session(call, job.parent, axi_bytes), *arguments), None, ""
        except Exception as error:
            return None, error, traceback.format_exc()

    result = await scenario()
    partial = job.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(result))
    partial.rename(job.with_suffix(".result"))
