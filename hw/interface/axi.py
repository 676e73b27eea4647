"""Signatures of the buses, from their masters' side, and the payloads between the engine's bus components.

Members are named as AXI names its signals, so a bus ``m_axi`` has the ports that tools and cocotbext-axi look for.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.interface.registers import ADDRESS_BITS

__all__ = [
    "ADDR_BITS",
    "MAX_BURST",
    "OUTSTANDING",
    "PAGE_BYTES",
    "Response",
    "Axi4",
    "AxiLite",
    "RegisterPort",
    "prefixed",
    "BusTransfer",
    "Burst",
    "ReadBeat",
    "WriteBeat",
]


#: Width of a byte address on ``m_axi``, in bits.
ADDR_BITS = 32

#: Beats of the longest burst that the engine makes. AXI4 allows 256; short ones share the bus better.
MAX_BURST = 64

#: Bursts that may be under way at a time, reads and writes each.
OUTSTANDING = 8

#: No burst crosses a multiple of this, in bytes (AXI4, A3.4.1).
PAGE_BYTES = 4096

#: Responses of AXI that are errors.
Response = {"SLVERR": 2, "DECERR": 3}


def Axi4(data_bits):
    """AXI4 as far as the engine uses it: one ID, INCR bursts, whole beats."""
    channel = {"addr": ADDR_BITS, "len": 8, "size": 3, "burst": 2, "id": 1}
    members = {}
    for prefix in ("aw", "ar"):
        members |= {prefix + name: Out(width) for name, width in channel.items()}
        members |= {prefix + "valid": Out(1), prefix + "ready": In(1)}
    members |= {
        "wdata": Out(data_bits),
        "wstrb": Out(data_bits // 8),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
    }
    members |= {"bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}
    members |= {"rid": In(1), "rdata": In(data_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1)}
    return wiring.Signature(members)


def AxiLite():
    """AXI4-Lite with 32 bits of data."""
    return wiring.Signature(
        {
            "awaddr": Out(ADDRESS_BITS),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(ADDRESS_BITS),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def RegisterPort():
    """Reads and writes of whole registers, by number of the register, from the side that asks.

    ``write`` is a strobe; ``write_hit`` says in its cycle whether there is such a register. ``read_data`` and
    ``read_hit`` answer ``read_addr`` :attr:`AxiLiteSlave.READ_LATENCY` cycles later.
    """
    return wiring.Signature(
        {
            "write": Out(1),
            "write_addr": Out(ADDRESS_BITS - 2),
            "write_data": Out(32),
            "write_hit": In(1),
            "read_addr": Out(ADDRESS_BITS - 2),
            "read_data": In(32),
            "read_hit": In(1),
        }
    )


def prefixed(name, signature):
    """Return the members of a bus as members of a component: ``awaddr`` of bus ``m_axi`` becomes ``m_axi_awaddr``."""
    return {f"{name}_{member}": flow for member, flow in signature.members.items()}


#: Consecutive beats, of any number; ``address`` in bytes, a multiple of the beat.
BusTransfer = data.StructLayout({"address": ADDR_BITS, "beats": unsigned(30)})


#: One burst of a transfer: ``length`` beats, at most `MAX_BURST`; ``last`` if it is the transfer's last.
Burst = data.StructLayout({"address": ADDR_BITS, "length": unsigned(MAX_BURST.bit_length()), "last": 1})


def ReadBeat(data_bits):
    """A beat that was read; ``last`` of its transfer."""
    return data.StructLayout({"data": data_bits, "last": 1})


def WriteBeat(data_bits):
    """A beat to write, and which of its bytes."""
    return data.StructLayout({"data": data_bits, "strobe": data_bits // 8})
