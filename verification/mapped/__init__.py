"""The netlist that is placed and routed, simulated: `verification.netlist` runs it."""
