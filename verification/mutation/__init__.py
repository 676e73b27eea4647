"""Faults in the generated Verilog: made by Yosys, run as the network is run, found by its checks or explained."""
