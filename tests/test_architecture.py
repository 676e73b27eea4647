"""The architecture as the code has it: which part imports which, in what order, how large files and folders are.

``pytest -s tests/test_architecture.py`` prints the graph of imports. Its nodes are the sub-folders of the packages, and
each file at a package's top by itself. An import counts wherever it stands, in a function and for types alone, too; so
does a string that is the name of a module, by which it is loaded or run.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = ("cdgate", "hw", "sw_model", "gen", "sim", "verification")

#: What each package may import of the others; of cdgate, hw may import only some files.
MAY_IMPORT = {
    "cdgate": {"cdgate"},
    "hw": {"hw", "cdgate"},
    "sw_model": {"sw_model", "cdgate"},
    "gen": {"gen", "sw_model", "hw", "cdgate"},
    "sim": {"sim", "gen", "sw_model", "hw", "cdgate"},
    "verification": {"verification", "sim", "gen", "sw_model", "hw", "cdgate"},
}
OF_CDGATE_FOR_HW = {"cdgate/errors", "cdgate/modes", "cdgate/files", "cdgate/lock"}

#: The parts of each package from the ground up: one imports only those before it. Files at a package's top that are
#: not named are its commands, which come last and do not import each other.
ORDER = {
    "hw": (
        "params",
        "configurations",
        "attributes",
        "interface",
        "streams",
        "jobs",
        "datapath",
        "bus",
        "units",
        "core",
        "system",
    ),
    "sw_model": ("data", "integer", "network", "evaluation", "training", "quantisation", "results", "experiment"),
    "gen": ("layer", "network", "host", "cost", "verilog", "fpga", "config"),
    "sim": ("testbench", "run", "plan", "check", "show", "engine"),
    "verification": ("independent", "networks", "scenarios", "mutation", "mapped", "fuzzing"),
}

#: What a program's user sees of cdgate: these may import every package, when they are used.
FACE = ("cdgate/__init__", "cdgate/__main__")

MODULE = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+")

MOST_FILES = 12
MOST_LINES = {**dict.fromkeys(PACKAGES, 350), "tests": 400}


@dataclass(frozen=True)
class Import:
    """An import of a module of this project."""

    place: str  #: File and line.
    source: str  #: The node in which it is.
    target: str  #: The node that it imports.
    late: bool  #: Whether it is in a function, or for types alone.


def python_files(root: Path, *folders: str) -> list[Path]:
    """Return all Python files below folders of a root."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def named(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Return line and text of the strings of a file that are names of modules of this project."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE.fullmatch(node.value):
            if find_module(root, node.value):
                yield node.lineno, node.value


def statements(path: Path) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """Return the imports of a file, each with whether it is in a function, and whether it is for types alone."""

    def walk(node: ast.AST, late: bool, types: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, late, types
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from walk(child, late, True)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, late or function, types)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False, False)


def node_of(root: Path, path: Path) -> str:
    """Return the node of a file: package and folder, or package and file."""
    return "/".join(path.relative_to(root).with_suffix("").parts[:2])


def find_module(root: Path, dotted: str) -> Path | None:
    """Return the file of a module of this project."""
    base = root.joinpath(*dotted.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def imports(root: Path) -> list[Import]:
    """Return all imports of the packages from each other and within them, but for those within one node.

    Raises
    ------
    LookupError
        If one is of a module that is not there, is relative, or is of the tests.
    """
    found = []
    for path in python_files(root, *PACKAGES):
        source = node_of(root, path)
        for line, name in named(root, path):
            found.append(
                Import(f"{path.relative_to(root)}:{line}", source, node_of(root, find_module(root, name)), True)
            )
        for statement, late, types in statements(path):
            place = f"{path.relative_to(root)}:{statement.lineno}"
            if isinstance(statement, ast.ImportFrom):
                if statement.level:
                    raise LookupError(f"{place}: imports must be absolute")
                module = statement.module or ""
                names = [f"{module}.{alias.name}" for alias in statement.names]
            else:
                module, names = "", [alias.name for alias in statement.names]
            for name in names:
                top = name.split(".")[0]
                if top == "tests":
                    raise LookupError(f"{place}: code must not import tests")
                if top not in PACKAGES:
                    continue
                target = find_module(root, name) or (find_module(root, module) if module else None)
                if target is None:
                    raise LookupError(f"{place}: there is no {name}")
                found.append(Import(place, source, node_of(root, target), late or types))
    return [one for one in found if one.source != one.target]


def circles(arrows: list[Import]) -> list[str]:
    """Return a description of one circle through each node that is on one, without repetitions."""
    graph: dict[str, dict[str, str]] = {}
    for one in arrows:
        graph.setdefault(one.source, {}).setdefault(one.target, one.place)
    found: dict[frozenset[str], str] = {}
    for start in graph:
        paths, seen = [[start]], {start}
        while paths:
            path = paths.pop(0)
            for target in graph.get(path[-1], {}):
                if target == start:
                    steps = [f"{graph[a][b]} {a} -> {b}" for a, b in zip(path, [*path[1:], start], strict=True)]
                    found.setdefault(frozenset(path), "circle: " + ", ".join(steps))
                elif target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return list(found.values())


def face(arrows: list[Import]) -> set[str]:
    """Return the nodes of cdgate's face: its two files, and what of cdgate they import when they are used."""
    return {*FACE, *(one.target for one in arrows if one.source in FACE and one.late and "cdgate/" in one.target)}


def wrong_arrows(root: Path, arrows: list[Import]) -> list[str]:
    """Return the imports that go up: to a package or to a part of the own one that does not come before."""
    bad, front = [], face(arrows)
    for package, names in ORDER.items():
        folders = {path.parent.name for path in (root / package).glob("*/*.py")}
        bad += [f"{package}/{name}: its place in the order is not told" for name in sorted(folders - set(names))]
    for one in arrows:
        (package, part), (other, goal) = one.source.split("/"), one.target.split("/")
        text = f"{one.place}: {one.source} imports {one.target}"
        if one.source in front:
            if other != "cdgate" and not one.late:
                bad.append(f"{text}, which it may in a function only")
        elif other not in MAY_IMPORT[package]:
            bad.append(f"{text}; {package} may import {', '.join(sorted(MAY_IMPORT[package]))}")
        elif package == "hw" and other == "cdgate" and one.target not in OF_CDGATE_FOR_HW:
            bad.append(f"{text}; hw may import of it {', '.join(sorted(OF_CDGATE_FOR_HW))}")
        elif package == other and package in ORDER:
            rank = {name: n for n, name in enumerate(ORDER[package])}
            if rank.get(goal, len(rank)) >= rank.get(part, len(rank)):
                bad.append(f"{text}; the order is {', '.join(ORDER[package])}, commands")
    return bad


def foreign_at_the_top(root: Path) -> list[str]:
    """Return imports of cdgate that every start of a program would wait for, and that need packages."""
    allowed = {*sys.stdlib_module_names, "cdgate"}
    bad = []
    for path in python_files(root, "cdgate"):
        for statement, late, types in statements(path):
            names = [alias.name for alias in statement.names]
            modules = names if isinstance(statement, ast.Import) else [statement.module or ""]
            wrong = [name for name in modules if name.split(".")[0] not in allowed]
            if wrong and not late and not types:
                bad.append(f"{path.relative_to(root)}:{statement.lineno}: {wrong[0]} must be imported in a function")
    return bad


def too_large(root: Path) -> list[str]:
    """Return folders with too many Python files, and files with too many lines."""
    bad = []
    for top, most in MOST_LINES.items():
        counts: dict[Path, int] = {}
        for path in python_files(root, top):
            counts[path.parent] = counts.get(path.parent, 0) + 1
            lines = path.read_text(encoding="utf-8").count("\n")
            if lines > most:
                bad.append(f"{path.relative_to(root)}: {lines} lines, at most {most} are allowed")
        bad += [
            f"{folder.relative_to(root)}: {count} Python files, at most {MOST_FILES} are allowed"
            for folder, count in counts.items()
            if count > MOST_FILES
        ]
    return bad


def without_docstring(root: Path) -> list[str]:
    """Return the modules of the packages that do not say what they are for; empty ones need not."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in python_files(root, *PACKAGES)}
    return [str(path.relative_to(root)) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)]


def drawn(arrows: list[Import]) -> str:
    """Return the graph as text: packages from the ground up, and in them each part with what it imports."""
    targets: dict[str, set[str]] = {}
    for one in arrows:
        targets.setdefault(one.source, set()).add(one.target)
        targets.setdefault(one.target, set())
    lines = []
    for package in PACKAGES:
        parts = [node for node in targets if node.startswith(f"{package}/")]
        rank = {f"{package}/{name}": n for n, name in enumerate(ORDER.get(package, ()))}
        lines.append(package)
        for node in sorted(parts, key=lambda node: (rank.get(node, len(rank)), node)):
            own = sorted(goal.split("/")[1] for goal in targets[node] if goal.startswith(f"{package}/"))
            others = sorted(goal for goal in targets[node] if not goal.startswith(f"{package}/"))
            lines.append(f"  {node.split('/')[1]:14} {' '.join(own) or '-'}")
            lines += [f"  {'':14} {' '.join(others)}"] if others else []
    return "\n".join(lines)


def test_imports_go_down(root):
    arrows = imports(root)
    print(f"\n{drawn(arrows)}")
    bad = wrong_arrows(root, arrows) + circles(arrows)
    assert not bad, "\n".join(bad)


def test_cdgate_needs_no_package(root):
    bad = foreign_at_the_top(root)
    assert not bad, "\n".join(bad)


def test_pins_are_read_before_anything_is_installed(root):
    done = subprocess.run([sys.executable, "-S", "-m", "gen.requirements", "base"], cwd=root, capture_output=True)
    assert done.returncode == 0 and b"amaranth" in done.stdout, done.stderr.decode()


def test_sizes(root):
    bad = too_large(root)
    assert not bad, "\n".join(bad)


def test_every_module_says_what_it_is_for(root):
    bad = without_docstring(root)
    assert not bad, "\n".join(bad)


def planted(root, files):
    """Write files with these contents, and the packages that are not among them."""
    for name in (*(f"{package}/__init__.py" for package in PACKAGES), *files):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(name, ""))
    return root


def findings(root):
    arrows = imports(root)
    return wrong_arrows(root, arrows) + circles(arrows)


GOOD = {
    "cdgate/errors.py": "",
    "cdgate/__init__.py": "def simulate():\n    from sim import network\n    return load('cdgate.face')\n",
    "cdgate/face/run.py": "def run():\n    import gen.config\n",
    "cdgate/face/__init__.py": "",
    "hw/params.py": "from cdgate.errors import UserError\n",
    "hw/bus/reader.py": "import hw.params\n",
    "sw_model/train.py": "from cdgate import errors\n",
    "gen/config.py": "from hw.bus.reader import Reader\n",
    "sim/network.py": "from gen import config\nimport sw_model.train\nimport numpy\n",
}


def test_planted_order(tmp_path):
    assert findings(planted(tmp_path, GOOD)) == []
    assert "config         -\n                 hw/bus" in drawn(imports(tmp_path))


@pytest.mark.parametrize(
    "name, text, found",
    [
        (
            "hw/params.py",
            "import gen.config\n",
            "hw/params.py:1: hw/params imports gen/config; hw may import cdgate, hw",
        ),
        (
            "hw/params.py",
            "def f():\n    from cdgate import cli\n",
            "hw/params.py:2: hw/params imports cdgate/cli; hw may",
        ),
        (
            "hw/params.py",
            "from hw.bus import reader\n",
            "hw/params.py:1: hw/params imports hw/bus; the order is params,",
        ),
        (
            "sw_model/train.py",
            "from hw import params\n",
            "sw_model/train.py:1: sw_model/train imports hw/params; sw_model",
        ),
        (
            "gen/config.py",
            "if TYPE_CHECKING:\n    import sim.network\n",
            "gen/config.py:2: gen/config imports sim/network",
        ),
        ("sim/run/core.py", "import sim.network\n", "sim/run/core.py:1: sim/run imports sim/network; the order is"),
        ("sim/run/core.py", "NAME = 'sim.network'\n", "sim/run/core.py:1: sim/run imports sim/network; the order is"),
        ("sim/other.py", "import sim.network\n", "sim/other.py:1: sim/other imports sim/network; the order is"),
        ("sim/new/part.py", "", "sim/new: its place in the order is not told"),
        (
            "cdgate/__init__.py",
            "import sim.network\n",
            "cdgate/__init__.py:1: cdgate/__init__ imports sim/network, which",
        ),
        (
            "cdgate/errors.py",
            "def f():\n    import gen.config\n",
            "cdgate/errors.py:2: cdgate/errors imports gen/config;",
        ),
    ],
)
def test_planted_arrow_up(name, text, found, tmp_path):
    planted(tmp_path, {**GOOD, "cdgate/cli.py": "", name: text})
    assert any(line.startswith(found) for line in findings(tmp_path)), findings(tmp_path)


def test_planted_circle(tmp_path):
    planted(tmp_path, {"cdgate/a.py": "import cdgate.b\n", "cdgate/b.py": "def f():\n    from cdgate.a import x\n"})
    assert findings(tmp_path) == ["circle: cdgate/a.py:1 cdgate/a -> cdgate/b, cdgate/b.py:2 cdgate/b -> cdgate/a"]


@pytest.mark.parametrize(
    "text, found",
    [
        ("from . import params\n", "imports must be absolute"),
        ("import tests.hw\n", "code must not import tests"),
        ("import hw.nothing\n", "there is no hw.nothing"),
    ],
)
def test_planted_import_that_cannot_be_drawn(text, found, tmp_path):
    with pytest.raises(LookupError, match=f"^hw/core.py:1: {found}$"):
        imports(planted(tmp_path, {"hw/core.py": text}))


def test_planted_package_at_the_top_of_cdgate(tmp_path):
    text = "import os\nfrom rich import box\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import numpy\n"
    planted(tmp_path, {"cdgate/cli.py": text})
    assert foreign_at_the_top(tmp_path) == ["cdgate/cli.py:2: rich must be imported in a function"]


def test_planted_sizes(tmp_path):
    planted(tmp_path, {f"tests/hw/test_{n}.py": "" for n in range(13)} | {"hw/core.py": "x = 1\n" * 351})
    assert sorted(too_large(tmp_path)) == [
        "hw/core.py: 351 lines, at most 350 are allowed",
        "tests/hw: 13 Python files, at most 12 are allowed",
    ]


def test_planted_module_without_a_docstring(tmp_path):
    planted(tmp_path, {"hw/core.py": "x = 1\n", "hw/params.py": '"""Widths."""\n'})
    assert without_docstring(tmp_path) == ["hw/core.py"]
