"""Models of cells: multiplier and block RAM against slow Python, a table against Yosys', what they refuse."""

import shutil
import subprocess

import pytest

from cdgate.tools import verilator_env
from sim.run.build import SimulationError
from tests.verification.mapped.blocks import Multiplier, Port, Ram, initial_bits
from tests.verification.mapped.simulation import build, simulate
from tests.verification.mapped.vectors import bench
from verification.mapped.cells import SLOW_LUT, models

STEPS = 3000

#: Registers of the multipliers that are compared.
MULTIPLIERS = {"m0": (), "m1": ("p",), "m2": ("a", "b", "p"), "m3": ("a",), "m4": ("b",)}

#: What the vendor calls them.
REGISTER_NAMES = {"a": "INPUTA", "b": "INPUTB", "p": "OUTPUT"}

#: Of the RAMs: widths, registers and read-before-write of both ports.
RAMS = {
    "r0": ((2, 2), (True, True), (True, True)),
    "r1": ((18, 18), (True, True), (True, True)),
    "r2": ((36, 36), (True, True), (False, False)),
    "r3": ((36, 36), (False, False), (False, False)),
    "r4": ((1, 1), (False, True), (False, True)),
    "r5": ((4, 9), (True, False), (True, False)),
    "r6": ((9, 18), (False, False), (False, False)),
    "r7": ((18, 2), (False, True), (True, False)),
    "r8": ((36, 36), (False, True), (False, False)),
}
ROWS = {0: 0x5A3C_0F96, 1: int("c93a5" * 16, 16), 63: int("1b7e3" * 16, 16)}
ROWS = {row: sum((value >> 20 * n & 0x3FFFF) << 20 * n for n in range(16)) for row, value in ROWS.items()}

INPUTS = {"a": 18, "b": 18, "signed_a": 1, "signed_b": 1, "enable": 1, "reset": 1, "lookup": 4, "stop": 3}
INPUTS |= {
    f"{name}_{side}_{what}": width
    for name in RAMS
    for side in "ab"
    for what, width in (("enable", 1), ("write", 1), ("address", 14), ("data", 18), ("register", 1))
}
OUTPUTS = dict.fromkeys(MULTIPLIERS, 36) | {f"{name}_do{side}": 18 for name in RAMS for side in "ab"}
OUTPUTS |= {"table_short": 64, "table_long": 64, "starts": 2}


def instance(kind, name, parameters, pins):
    """Return an instance of Verilog, of parameters and pins by name."""
    told = {key: value if "'" in str(value) else f'"{value}"' for key, value in parameters.items()}
    first = ", ".join(f".{key}({value})" for key, value in told.items())
    return f"  {kind} #({first}) {name} ({', '.join(f'.{key}({value})' for key, value in pins.items())});"


def bits(stem, count, wire):
    return {f"{stem}{n}": f"{wire}[{n}]" for n in range(count)}


def multiplier(name, registers):
    parameters = {f"REG_{which}_CLK": "CLK0" for key, which in REGISTER_NAMES.items() if key in registers}
    pins = bits("A", 18, "a") | bits("B", 18, "b") | bits("P", 36, name) | {f"C{n}": "1'b0" for n in range(18)}
    signs = {"SIGNEDA": "signed_a", "SIGNEDB": "signed_b", "SOURCEA": "1'b0", "SOURCEB": "1'b0"}
    return instance(
        "MULT18X18D", f"i_{name}", parameters, pins | signs | {"CLK0": "buffered", "CE0": "enable", "RST0": "reset"}
    )


def ram_parameters(widths, registered, old):
    both = list(zip("AB", widths, registered, old, strict=True))
    return (
        {f"DATA_WIDTH_{side}": f"32'd{width}" for side, width, _, _ in both}
        | {f"REGMODE_{side}": "OUTREG" if on else "NOREG" for side, _, on, _ in both}
        | {f"WRITEMODE_{side}": "READBEFOREWRITE" if before else "NORMAL" for side, _, _, before in both}
        | {f"INITVAL_{row:02X}": f"320'h{value:x}" for row, value in ROWS.items()}
    )


def ram(name, widths, registered, old):
    pins = {}
    for side in "AB":
        wire = f"{name}_{side.lower()}"
        pins |= bits(f"AD{side}", 14, f"{wire}_address") | bits(f"DI{side}", 18, f"{wire}_data")
        pins |= bits(f"DO{side}", 18, f"{name}_do{side.lower()}")
        pins |= {f"CE{side}": f"{wire}_enable", f"WE{side}": f"{wire}_write", f"OCE{side}": f"{wire}_register"}
        pins |= {f"CLK{side}": "buffered", f"RST{side}": "1'b0"}
        pins |= {f"CS{side}{n}": "1'b0" for n in range(3)}
    return instance("DP16KD", f"i_{name}", ram_parameters(widths, registered, old), pins)


def text():
    body = ["  wire buffered;", "  DCCA buffer (.CLKI(clk), .CE(1'b1), .CLKO(buffered));"]
    body += [multiplier(name, registers) for name, registers in MULTIPLIERS.items()]
    body += [ram(name, *made) for name, made in RAMS.items()]
    # As r0, but that three inputs end the simulation.
    ending = ram("r0", *RAMS["r0"]).replace("i_r0", "ending").replace(".RSTA(1'b0)", ".RSTA(stop[0])")
    ending = ending.replace(".CSB1(1'b0)", ".CSB1(stop[1])").replace("r0_do", "unused_do")
    for side in "ab":
        ending = ending.replace(f"r0_{side}_write", "stop[2]").replace(f"r0_{side}_enable", "stop[2]")
        ending = ending.replace(f"r0_{side}_address", "somewhere")
    body += ["  wire [13:0] somewhere = 14'd32;", "  wire [17:0] unused_doa, unused_dob;", ending]
    for wire, kind in (("table_short", "LUT4"), ("table_long", SLOW_LUT)):
        for n in range(64):
            pins = {"A": "lookup[0]", "B": "lookup[1]", "C": "lookup[2]", "D": "lookup[3]", "Z": f"{wire}[{n}]"}
            body.append(instance(kind, f"i_{wire}_{n}", {"INIT": f"16'd{n * 40503 % 65536}"}, pins))
    for n, value in enumerate(("RESET", "SET")):
        pins = {"CLK": "buffered", "LSR": "1'b0", "CE": "1'b0", "DI": f"1'b{1 - n}", "M": "1'b0", "Q": f"starts[{n}]"}
        body.append(instance("TRELLIS_FF", f"i_starts_{n}", {"CEMUX": "CE", "REGSET": value}, pins))
    return bench(INPUTS, OUTPUTS, "\n".join(body), models())


def port(rng):
    """Return what a port does; the addresses are few, so that ports meet."""
    address = rng.choice((0, 0, 32, 64, 16352)) + rng.randrange(32)
    return Port(rng.randrange(4) > 0, rng.randrange(2), address, rng.randrange(1 << 18), rng.randrange(4) > 0)


def uses(rng, model):
    """Return what both ports of a RAM do: they never write the same bits."""
    first, second = port(rng), port(rng)
    if 36 in model.widths or model.written(0, first).keys() & model.written(1, second).keys():
        second = Port(second.enable, 0, second.address, second.data, second.register)
    return first, second


@pytest.fixture
def simulator(root, tmp_path):
    return build("cell_models", text(), root, tmp_path)


def quiet():
    return dict.fromkeys(INPUTS, 0)


def test_blocks_do_what_the_guides_say(simulator, rng, tmp_path):
    multipliers = {name: Multiplier(registers) for name, registers in MULTIPLIERS.items()}
    rams = {name: Ram(*made, initial_bits(ROWS)) for name, made in RAMS.items()}
    steps, wanted = [], []
    for _ in range(STEPS):
        values = {"a": rng.randrange(1 << 18), "b": rng.choice((0, 1 << 17, rng.randrange(1 << 18)))}
        values |= {name: rng.randrange(2) for name in ("signed_a", "signed_b")}
        values |= {"enable": rng.randrange(8) > 0, "reset": rng.randrange(16) == 0}
        expected = {name: model.step(**values) for name, model in multipliers.items()}
        values |= {"lookup": rng.randrange(16), "stop": 0}
        for name, model in rams.items():
            pair = uses(rng, model)
            for side, use in zip("ab", pair, strict=True):
                values |= {f"{name}_{side}_{what}": int(value) for what, value in vars(use).items()}
            expected[name] = dict(zip("ab", model.step(pair), strict=True))
        steps.append(values)
        wanted.append(expected)
    unknown = compared = 0
    for number, (seen, expected) in enumerate(
        zip(simulate(simulator, INPUTS, OUTPUTS, steps, tmp_path / "run"), wanted, strict=True)
    ):
        assert {name: seen[name] for name in MULTIPLIERS} == {name: expected[name] for name in MULTIPLIERS}, number
        for name in RAMS:
            for side in "ab":
                for bit, value in enumerate(expected[name][side]):
                    if value is None:
                        unknown += 1
                    else:
                        assert seen[f"{name}_do{side}"] >> bit & 1 == value, (number, name, side, bit)
                        compared += 1
        assert seen["table_short"] == seen["table_long"], number
        assert seen["starts"] == 2, number
    assert compared > 100_000 and unknown > 1000


def test_noise_where_ports_meet(simulator, tmp_path):
    """What is read while it is written is neither old nor new, but now and then; other bits are right."""
    steps = []
    for n in range(200):
        step = quiet() | {"r1_a_enable": 1, "r1_a_write": 1, "r1_a_address": 1, "r1_a_data": n & 1}  # the lower byte
        steps.append(step | {"r1_b_enable": 1, "r1_b_register": 1, "r1_b_address": 0})
    seen = [step["r1_dob"] for step in simulate(simulator, INPUTS, OUTPUTS, steps, tmp_path / "run")][3:]
    assert len({value % 512 for value in seen}) > 50
    assert len({value >> 9 for value in seen}) == 1


@pytest.mark.parametrize(
    "stop, message",
    [
        (1, "RSTA and RSTB of DP16KD must be 0"),
        (2, "CSA and CSB of DP16KD must be 0"),
        (4, "both ports of DP16KD write the same bits"),
    ],
)
def test_what_ends_the_simulation(simulator, stop, message, tmp_path):
    with pytest.raises(SimulationError):
        simulate(simulator, INPUTS, OUTPUTS, [quiet(), quiet() | {"stop": stop}, quiet()], tmp_path / "run")
    assert message in (tmp_path / "run/simulator.log").read_text()


@pytest.mark.parametrize(
    "kind, setting, message",
    [
        ("MULT18X18D", '.REG_PIPELINE_CLK("CLK0")', "REG_PIPELINE_CLK_must_be_NONE"),
        ("MULT18X18D", '.REG_OUTPUT_CLK("CLK1")', "REG_OUTPUT_CLK_must_be_NONE_or_CLK0"),
        ("MULT18X18D", '.REG_INPUTA_CE("CE2")', "REG_INPUTA_CE_must_be_CE0"),
        ("MULT18X18D", '.CAS_MATCH_REG("TRUE")', "CAS_MATCH_REG"),
        ("DP16KD", ".DATA_WIDTH_A(36)", "DATA_WIDTH_B_must_be_36_where_DATA_WIDTH_A_is"),
        ("DP16KD", ".DATA_WIDTH_B(3)", "DATA_WIDTH_B_must_be_1_2_4_9_18_or_36"),
        ("DP16KD", '.WRITEMODE_A("WRITETHROUGH")', "WRITEMODE_A_must_be_NORMAL_or_READBEFOREWRITE"),
        ("DP16KD", '.REGMODE_B("BOTH")', "REGMODE_B_must_be_NOREG_or_OUTREG"),
        ("DP16KD", '.CLKBMUX("INV")', "CLKBMUX_must_be_CLKB"),
        ("DP16KD", '.INIT_DATA("DYNAMIC")', "INIT_DATA"),
    ],
)
def test_what_ends_the_build(kind, setting, message, tmp_path):
    (tmp_path / "bad.sv").write_text(f"{models()}\nmodule bad;\n  {kind} #({setting}) bad ();\nendmodule\n")
    environment = verilator_env()
    command = [shutil.which("verilator", path=environment["PATH"]), "--lint-only", "-Wno-fatal", "--top-module", "bad"]
    done = subprocess.run([*command, "bad.sv"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and message in done.stderr, done.stderr[-2000:]
