"""Pictures come out whatever the surroundings say of matplotlib's backend, and leave a notebook's settings alone."""

import ast
import os
import subprocess
import sys

import pytest

from cdgate.drawing import drawing, new_figure, save
from cdgate.errors import UserError

DRAWS = """
import os, sys
from pathlib import Path
from cdgate.drawing import drawing, new_figure, save
with drawing({"font.size": 9}):
    figure = new_figure(1, 1)
    figure.add_subplot().plot([1, 2])
    save(figure, Path(sys.argv[1]))
import matplotlib
print(matplotlib.rcParams._get("backend"), os.environ["MPLBACKEND"], "matplotlib.pyplot" in sys.modules, sep=", ")
"""


@pytest.mark.parametrize(
    "backend, left",
    [
        ("module://no_such_package.backend_inline", None),  # of a notebook's kernel, which is another environment
        ("nonsense", None),
        ("module://matplotlib.backends.backend_svg", "module://matplotlib.backends.backend_svg"),
        ("svg", "svg"),
    ],
)
def test_backend_of_the_environment(backend, left, root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DRAWS, str(tmp_path / "x.png")],
        cwd=root,
        env={**os.environ, "MPLBACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    found, variable, pyplot = done.stdout.strip().split(", ")
    assert variable == backend and pyplot == "False"
    assert left is None or found == left


def test_settings_of_the_caller(tmp_path):
    """They have no part in the picture, and are as they were afterwards."""
    import matplotlib

    def picture(name):
        with drawing({"font.size": 9}):
            figure = new_figure(1, 1)
            figure.add_subplot(title="title").plot([1, 2])
            return save(figure, tmp_path / name).read_bytes()

    plain = picture("plain.png")
    with matplotlib.rc_context({"lines.linewidth": 9, "figure.facecolor": "black", "savefig.dpi": 30}):
        assert picture("own.png") == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9 and matplotlib.rcParams["figure.facecolor"] == "black"


def test_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/x\.png cannot be written"):
        save(new_figure(1, 1), tmp_path / "file" / "x.png")


def test_nothing_else_imports_matplotlib_first(root):
    """Elsewhere it is imported in functions, which have made a figure before, and pyplot nowhere."""
    bad = []
    for package in ("cdgate", "hw", "gen", "sim", "sw_model"):
        for path in (root / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names]
                    words = f"{getattr(node, 'module', '') or ''} {' '.join(names)}"
                    if "pyplot" in words or ("matplotlib" in words and node in top):
                        bad.append(f"{path.relative_to(root)}:{node.lineno}: {words}")
    assert not bad, "\n".join(bad)
