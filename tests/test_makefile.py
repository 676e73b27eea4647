"""The Makefile: what it lists, what it passes on, and what it says when something is missing."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

#: What each target takes, by the Makefile.
TAKES = {target: names.split() for target, names in re.findall(r"^TAKES_(\S+) := (.*)$", MAKEFILE, re.M)}
VARIABLES = {name for names in TAKES.values() for name in names}
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.M))
STAMPS = [part for group in ("base", "train", "test", "lint", "synth") for part in ("-o", f".venv/{group}")]


@pytest.fixture
def make(root):
    def call(*args, **env):
        outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PY", "PYTHON", *VARIABLES}
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


def test_help_is_the_default_and_lists_every_target(make):
    done = make()
    assert done.returncode == 0
    phony = TARGETS - {"tools"}
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


def test_help_fits_80_columns_and_loses_no_word(make):
    lines = make("help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    for text in re.findall(r"^(?:#: |[a-z-]+:.*## )(.*)$", MAKEFILE, re.M):
        assert set(text.split()) <= set(words)


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
        (
            ("synth", "TARGET=ecp5-45f", "SPEED=8", "STEP=seed"),
            "-m gen.synth --target 'ecp5-45f' --speed '8' --step 'seed'",
        ),
        (
            ("synth", "RESULT=results", "NETWORK=a b.json"),
            "-m gen.synth --target 'ecp5-85f' --result 'results' --network 'a b.json'",
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
    assert f"{name} is no variable of this Makefile, which has ARGS BANDWIDTH BATCH" in line


def test_help_tells_what_every_target_takes():
    told = {}
    for name, text in re.findall(r"^#: (\w+)=\S+ +(.*)$", MAKEFILE, re.M):
        for targets in re.findall(r"(?:^|; )([a-z-]+(?:, [a-z-]+)*): ", text):
            for target in targets.split(", "):
                told.setdefault(target, set()).add(name)
    assert told == {target: set(names) for target, names in TAKES.items()}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_all_that_a_target_takes_reaches_its_program(make, target):
    values = {name: f"value-of-{name.lower()}" for name in TAKES.get(target, ())}
    done = make("-n", *STAMPS, target, *(f"{name}={value}" for name, value in values.items()), "PYTHON=python3")
    assert done.returncode == 0, done.stderr
    words = done.stdout.replace("'", "").split()
    for name, value in values.items():
        switch = name in ("OVERHEAD", "WAVES") and f"--{name.lower()}" in words
        assert any(word.startswith(value) for word in words) or switch, name
    for name in VARIABLES - values.keys():
        done = make("-n", *STAMPS, target, f"{name}=1")
        assert done.returncode == 2 and done.stdout == "", name
        [line] = done.stderr.splitlines()
        takes = " ".join(TAKES.get(target, ["nothing"]))
        assert f"*** {name} does nothing here: {target} takes {takes}; see make help.  Stop." in line


def test_variable_that_one_of_several_goals_takes(make):
    done = make("-n", *STAMPS, "-o", "tools", "lint", "sim", "verilog", "LAYER=fc", "CONFIG=half")
    assert commands(done)[-2].split()[2:] == ["sim", "--layer", "'fc'", "--config", "'half'"]
    assert commands(done)[-1].split()[2:] == ["gen.verilog", "--config", "'half'"]
    done = make("-n", "lint", "verilog", "LAYER=fc")
    assert done.returncode == 2 and done.stderr.endswith(
        " LAYER does nothing here: lint takes nothing; verilog takes CONFIG OUT; see make help.  Stop.\n"
    )


def test_goal_that_there_is_not_comes_before_its_variables(make):
    done = make("simulate", "LAYER=fc")
    assert done.returncode == 2 and done.stderr.startswith("make: *** No rule to make target 'simulate'")


def test_variable_of_the_environment_acts(make):
    assert commands(make("-n", *STAMPS, "sim", LAYER="fc"))[-1].split()[3:] == ["--layer", "'fc'"]
    assert commands(make("-n", *STAMPS, "network", LAYER="fc", IMAGES=""))[-1].split()[3:] == []


def test_empty_value_is_the_programs_to_refuse(make):
    done = make("-o", ".venv/base", "verilog", "CONFIG=")
    assert done.returncode == 2 and done.stderr.splitlines()[0].startswith("gen.verilog: configuration must be ")
    assert commands(make("-n", *STAMPS, "sim", "WAVES="))[-1].split()[3:] == []
    assert commands(make("-n", *STAMPS, "configs", "OUT="))[-1].split()[3:] == ["--output", "''"]  # not a file of /


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
