"""The C header of a configuration: registers, instructions and what else a driver needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amaranth.lib import data

from hw.interface.described import member_docs
from hw.interface.instructions import (
    BODY_OFFSET,
    INSTRUCTION_BYTES,
    ChannelParameters,
    ErrorCode,
    Header,
    Opcode,
    Tokens,
    Transfer,
)
from hw.interface.layouts import GateMode, LayerRegisters
from hw.interface.registers import IDENTITY, REGISTERS
from hw.params import LANES, HwParams

__all__ = ["c_header"]

_HEAD = """\
/* Registers and instructions of the CDGate engine, configuration {config}.
 *
 * Made by `python -m gen.interface` from the tables in hw/interface. Addresses of registers
 * are in bytes, and registers have 32 bits. Fields of instructions and of parameter records are pairs of lowest bit and
 * width, to be given to cdgate_set and cdgate_get:
 *
 *     uint8_t instruction[CDGATE_INSTRUCTION_BYTES] = {{0}};
 *     cdgate_set(instruction, CDGATE_HEADER_OPCODE, CDGATE_OP_LOAD_MAP);
 *     cdgate_set(instruction, CDGATE_TRANSFER_ADDRESS, 0x1000);
 */
#ifndef CDGATE_H
#define CDGATE_H

#include <stdint.h>

/* Sets `width` bits, at most 64, from bit `bit` on; bit n is bit n % 8 of byte n / 8. */
static inline void cdgate_set(uint8_t *bytes, unsigned bit, unsigned width, uint64_t value)
{{
    for (unsigned n = 0; n < width; n++) {{
        uint8_t mask = (uint8_t)(1u << ((bit + n) % 8));
        uint8_t *byte = &bytes[(bit + n) / 8];
        *byte = (uint8_t)((value >> n & 1) ? *byte | mask : *byte & ~mask);
    }}
}}

/* Returns such bits, without their sign. */
static inline uint64_t cdgate_get(const uint8_t *bytes, unsigned bit, unsigned width)
{{
    uint64_t value = 0;
    for (unsigned n = 0; n < width; n++)
        value |= (uint64_t)(bytes[(bit + n) / 8] >> (bit + n) % 8 & 1) << n;
    return value;
}}

static inline uint32_t cdgate_read(const volatile uint32_t *base, unsigned address)
{{
    return base[address / 4];
}}

static inline void cdgate_write(volatile uint32_t *base, unsigned address, uint32_t value)
{{
    base[address / 4] = value;
}}

/* Reads a counter of 64 bits, given by the address of its lower half. It must not be counting. */
static inline uint64_t cdgate_counter(const volatile uint32_t *base, unsigned low)
{{
    return (uint64_t)cdgate_read(base, low + 4) << 32 | cdgate_read(base, low);
}}
"""


def _fields(prefix: str, layout: Any, offset: int = 0) -> Iterator[str]:
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            yield from _fields(f"{prefix}_{name.upper()}", field.shape, offset + field.offset)
        else:
            yield f"#define {prefix}_{name.upper()} {offset + field.offset}, {field.width}"


def _enumeration(name: str, prefix: str, values: Any) -> Iterator[str]:
    docs = member_docs(values)
    yield f"enum {name} {{"
    for value in values:
        yield f"    {prefix}_{value.name} = {value.value}, /* {docs[value.name]} */"
    yield "};"


def _registers() -> Iterator[str]:
    for register in REGISTERS:
        yield f"#define CDGATE_{register.name} {register.address:#05x} /* {register.access}: {register.doc} */"
        for field in register.fields:
            yield f"#define CDGATE_{register.name}_{field.name}_SHIFT {field.offset}"
            yield (
                f"#define CDGATE_{register.name}_{field.name}_MASK {((1 << field.width) - 1) << field.offset:#x}u"
                f" /* {field.doc} */"
            )


def c_header(config: str, params: HwParams) -> str:
    """Return the text of the header.

    Parameters
    ----------
    config
        Name of the configuration.
    params
        What it is.
    """
    constants = {
        "IDENTITY_VALUE": f"{IDENTITY:#x}u",
        "INSTRUCTION_BYTES": INSTRUCTION_BYTES,
        "LANES": LANES,
        "IN_PAR": params.in_par,
        "RQ_LANES": params.rq_lanes,
        "AXI_BYTES": params.axi_bytes,
        "BANK_WORDS": params.bank_words,
        "RING_ENTRIES": params.ring_entries,
        "PARAM_WORDS": params.param_words,
        "MAX_SLICES": params.max_slices,
        "MAX_MAP": params.max_map,
        "MAX_IMAGES": params.max_images,
    }
    lines = [
        "",
        "/* What the engine was generated with. */",
        *(f"#define CDGATE_{name} {value}" for name, value in constants.items()),
        "",
        "/* Registers. */",
        *_registers(),
        "",
        "/* Instructions: header, then either a transfer or the registers of a layer. */",
        *_enumeration("cdgate_opcode", "CDGATE_OP", Opcode),
        *_enumeration("cdgate_mode", "CDGATE_MODE", GateMode),
        *_enumeration("cdgate_error", "CDGATE_ERROR", ErrorCode),
        *(f"#define CDGATE_TOKEN_{name.upper()} {1 << field.offset}u" for name, field in Tokens),
        f"#define CDGATE_HEADER_TOKENS_TAKEN {Header['take'].offset}, {Header['take'].width}",
        f"#define CDGATE_HEADER_TOKENS_GIVEN {Header['give'].offset}, {Header['give'].width}",
        *_fields("CDGATE_HEADER", Header),
        *_fields("CDGATE_TRANSFER", Transfer, BODY_OFFSET),
        *_fields("CDGATE_LAYER", LayerRegisters(params), BODY_OFFSET),
        "",
        f"/* A channel's parameters, {ChannelParameters.size // 8} bytes. */",
        *_fields("CDGATE_CHANNEL", ChannelParameters),
        "",
        "#endif",
    ]
    return _HEAD.format(config=config) + "\n".join(lines) + "\n"
