"""The wheel: what is built from the tracked files, installed by itself, works from any folder."""

import json
import re
import shutil
import subprocess
import sys
import venv

import pytest

from tests.conftest import ROOT

#: What is to be seen of the lines that README.md shows, after they have run as they stand there.
SEEN = """
import json, pathlib
print(json.dumps({
    "layers": len(engine.compile(net, images).layers()),
    "layer": [layer.bit_exact, layer.speedup.realised, mask.shape, str(mask.dtype)],
    "run": [run.bit_exact, run.logits.shape, run.report["layer"], run.classes],
    "verilog": sorted(path.name for path in pathlib.Path("out").glob("*.v")),
    "own": [path.name for path in cdgate.Engine(cdgate.HwParams(in_par=8, rq_lanes=2)).verilog("own/")],
}))
"""


def lines_of_the_readme():
    """Return the one block of Python in README.md."""
    [block] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    return block


@pytest.fixture(scope="module")
def installed(request, tmp_path_factory):
    """A fresh environment with the wheel and what it depends on; the folder of its programs."""
    root, folder = request.config.rootpath, tmp_path_factory.mktemp("package")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout.decode()
    for name in tracked.split("\0")[:-1]:
        if (root / name).is_file() and not name.startswith(("tests/", "results/", "docs/")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, folder / "source"], check=True)
    venv.create(folder / "environment", with_pip=True)
    [wheel] = folder.glob("*.whl")
    programs = folder / "environment/bin"
    subprocess.run([programs / "python", *pip[1:], "install", wheel], check=True)
    return programs


def call(installed, folder, *command):
    folder.mkdir(exist_ok=True)
    program = installed / command[0]
    return subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_lines_of_the_documentation(installed, tmp_path):
    done = call(installed, tmp_path / "empty", "python", "-c", lines_of_the_readme() + SEEN)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["layers"] == 21 and "conv5_2" in done.stdout and "'realised': " in done.stdout
    exact, realised, shape, kind = found["layer"]
    assert exact is True and realised > 1.5 and (shape, kind) == ([16, 16, 16], "bool")
    assert found["run"][:3] == [True, [4, 10], "network"] and len(found["run"][3]) == 4
    assert found["verilog"] == ["full.v", "full_system.v"]
    assert [name.startswith("own_") for name in found["own"]] == [True, True]
    reports = {path.parent.name for path in (tmp_path / "empty/build/sim").glob("*/report.json")}
    assert reports == {"conv3_2", "network"}


@pytest.mark.slow
def test_command(installed, tmp_path):
    done = call(installed, tmp_path / "empty", "cdgate", "--help")
    assert done.returncode == 0 and "network" in done.stdout and len(done.stdout.splitlines()) > 10
    done = call(installed, tmp_path / "empty", "cdgate", "sim")
    assert done.returncode == 0 and done.stdout.splitlines()[-2:] == ["bit_exact: true", "verdict: pass"], done.stderr
    done = call(installed, tmp_path / "empty", "cdgate", "network", "--images", "1")
    assert done.returncode == 0 and done.stdout.splitlines()[-2:] == ["bit_exact: true", "verdict: pass"], done.stderr
    done = call(installed, tmp_path / "empty", "cdgate", "train", "--steps", "1")
    assert done.returncode == 2 and done.stderr == (
        "cdgate: train needs the Python package lightning: pip install 'cdgate[train,synth]' brings all\n"
    )


@pytest.mark.slow
def test_file_of_the_user_that_hides_a_package(installed, tmp_path):
    (tmp_path / "sim.py").write_text("raise SystemExit('wrong file')\n")
    done = call(installed, tmp_path, "python", "-c", "import cdgate; cdgate.Engine()")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"cdgate.errors.UserError: package sim of cdgate is hidden by {tmp_path}/sim.py: rename that, or run elsewhere"
    )
    done = call(installed, tmp_path, "python", "-m", "cdgate", "sim")
    assert done.returncode == 2 and done.stderr.startswith("cdgate: package sim of cdgate is hidden by ")
