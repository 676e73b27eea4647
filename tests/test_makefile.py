"""The Makefile: what it lists, what it passes on, and what it says when something is missing."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def make(root):
    def call(*args, **env):
        variables = re.findall(
            r"\w+", re.search(r"^VARIABLES := (.*(?:\\\n.*)*)", (root / "Makefile").read_text(), re.M)[1]
        )
        outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", *variables}
        kept = {name: value for name, value in os.environ.items() if name not in outer}
        return subprocess.run(
            [shutil.which("make"), "--no-print-directory", *args],
            cwd=root,
            env={**kept, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    return call


def commands(done):
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(".venv/bin/python -m")]


def test_help_is_the_default_and_lists_every_target(make, root):
    done = make()
    assert done.returncode == 0
    phony = set(re.findall(r"^\.PHONY: (\S+)$", (root / "Makefile").read_text(), re.MULTILINE)) - {"tools"}
    assert {
        "sim",
        "network",
        "verilog",
        "synth",
        "train",
        "quantize",
        "evaluate",
        "test",
        "test-slow",
        "lint",
        "clean",
        "configs",
        "bench",
        "program",
        "disasm",
        "interface",
    } <= phony
    for target in phony:
        assert re.search(rf"^  {target} +\S", done.stdout, re.MULTILINE), target


def test_sim_passes_what_is_given(make):
    assert commands(make("-n", "-o", ".venv/base", "sim"))[-1].split() == [".venv/bin/python", "-m", "sim"]
    line = commands(
        make(
            "-n",
            "-o",
            ".venv/base",
            "sim",
            "LAYER=conv2_2",
            "MODE=dense",
            "IMAGE=a b.png",
            "IMAGES=3",
            "BATCH=2",
            "CONFIG=small",
            "CHECKPOINT=x.safetensors",
        )
    )[-1]
    assert re.sub(" +", " ", line).strip() == (
        ".venv/bin/python -m sim --layer 'conv2_2' --mode 'dense' --image 'a b.png' --images '3' --batch '2' "
        "--config 'small' --checkpoint 'x.safetensors'"
    )


@pytest.mark.parametrize(
    "given, passed",
    [
        (["WAVES=1"], ["--waves"]),
        (["WAVES=0"], []),
        (["WAVES=1", "WAVES_CYCLES=50"], ["--waves", "--waves-cycles", "'50'"]),
    ],
)
def test_sim_records_waves(make, given, passed):
    assert commands(make("-n", "-o", ".venv/base", "sim", *given))[-1].split()[3:] == passed


@pytest.mark.parametrize(
    "target, expected",
    [
        (("verilog", "CONFIG=small"), "-m gen.verilog --config 'small'"),
        (("network",), "-m sim.network"),
        (("program",), "-m gen.program"),
        (
            ("program", "IMAGES=2", "MODE=base", "BANDWIDTH=1", "LATENCY=9", "CONFIG=half", "CHECKPOINT=x"),
            (
                "-m gen.program --images '2' --mode 'base' --bandwidth '1' --latency '9' --config 'half' "
                "--checkpoint 'x'"
            ),
        ),
        (("interface", "CONFIG=half"), "-m gen.interface --config 'half'"),
        (("disasm", "PROGRAM=a b", "CONFIG=small"), "-m gen.disasm 'a b' --config 'small'"),
        (
            ("disasm", "IMAGES=2", "MODE=base", "CHECKPOINT=x"),
            "-m gen.disasm --images '2' --mode 'base' --checkpoint 'x'",
        ),
        (
            (
                "network",
                "IMAGES=2",
                "BANDWIDTH=1",
                "LATENCY=9",
                "RUNS=gated",
                "DATA=a b",
                "CONFIG=half",
                "CHECKPOINT=x",
            ),
            (
                "-m sim.network --images '2' --bandwidth '1' --latency '9' --runs 'gated' --data 'a b' --config 'half' "
                "--checkpoint 'x'"
            ),
        ),
        (("configs",), "-m gen.config"),
        (("bench",), "-m sim.benchmark"),
        (("synth",), "-m gen.synth --target 'ecp5-85f'"),
        (("synth", "CONFIG=small", "SEEDS=3"), "-m gen.synth --target 'ecp5-85f' --config 'small' --seeds '3'"),
        (
            ("synth", "TOP=core", "SEED=4", "FREQ=60"),
            "-m gen.synth --target 'ecp5-85f' --top 'core' --seed '4' --freq '60'",
        ),
    ],
)
def test_options(make, target, expected):
    line = commands(make("-n", "-o", ".venv/base", "-o", ".venv/synth", *target))[-1]
    assert re.sub(" +", " ", line.strip()).endswith(expected)


def test_every_stamp_has_its_group(make, root):
    done = make("-n", "-B", "test", "lint", "synth")
    groups = {line.split()[3] for line in commands(done) if "gen.requirements" in line}
    assert groups == {"base", "train", "test", "lint", "synth"}


def test_missing_compiler_is_one_line(make, tmp_path):
    for tool in ("bash", "make", "perl"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = make("tools", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("make: g++ is missing")


def test_missing_python_is_one_line(make, root, tmp_path):
    (tmp_path / "bash").symlink_to(shutil.which("bash"))
    shutil.copy(root / "Makefile", tmp_path)
    done = make("-C", str(tmp_path), ".venv/bin/python", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("make: Python 3.11 or newer is missing")


def test_bad_configuration_fails(make):
    done = make("-o", ".venv/base", "verilog", "CONFIG=huge")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "gen.verilog: configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'"
    )


@pytest.mark.parametrize("value", ["o'brien.png", "x'; echo INJECTED; '", "a $(HOME) $$b `c`.png", '"', "-n", "ä b"])
def test_any_value_is_one_word(make, tmp_path, value):
    """What the shell and make itself could take for something else reaches the program as it is."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\n")
    python.chmod(0o755)
    done = make("-o", ".venv/base", "-o", "tools", "sim", f"IMAGE={value}", f"OUT={value}", f"PY={python}")
    assert done.returncode == 0 and ast.literal_eval(done.stdout.splitlines()[-1]) == [
        "-m", "sim", "--image", value, "--output", value,
    ]  # fmt: skip
    assert "INJECTED" not in done.stdout.splitlines()


@pytest.mark.parametrize("name", ["layer", "LAYERS", "Config"])
def test_misspelt_variable_is_one_line(make, name):
    done = make("-n", "sim", f"{name}=conv5_2")
    assert done.returncode == 2 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert f"{name} is no variable of this Makefile, which has LAYER MODE" in line


@pytest.mark.parametrize(
    "target, option",
    [
        ("sim", "--output 'o'"),
        ("network", "--output 'o'"),
        ("program", "--output 'o'"),
        ("interface", "--output 'o'"),
        ("verilog", "--output 'o'"),
        ("synth", "--output 'o'"),
        ("configs", "--output 'o'/configs.json"),
        ("bench", "--output 'o'/benchmark.json"),
    ],
)
def test_folder_of_results(make, target, option):
    assert commands(make("-n", "-o", ".venv/base", "-o", ".venv/synth", target, "OUT=o"))[-1].strip().endswith(option)
