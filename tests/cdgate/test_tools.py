"""Which Verilator is used where the first one on the path is of no use."""

import os

import pytest

from cdgate import tools

NEW = "echo 'Verilator 5.050 2026-01-01 rev v5.050'"


@pytest.mark.parametrize(
    "program",
    [
        "#!/no/such/interpreter\n",
        "\x7fELF of another machine",
        f"#!/bin/sh\n{NEW}\nexit 1\n",
        "#!/bin/sh\nprintf '\\377\\376'\n",
        f"#!/bin/sh\nsleep 60\n{NEW}\n",
    ],
    ids=["no interpreter", "no program", "fails", "no text", "hangs"],
)
def test_verilator_that_cannot_run_is_passed_over(program, monkeypatch, tmp_path):
    path = tmp_path / "verilator"
    path.write_text(program)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(tools, "_PATIENCE", 1)
    assert tools.verilator_version() != "5.050"
    environment = tools.verilator_env()
    assert environment["PATH"].split(os.pathsep)[0] == f"{environment['VERILATOR_ROOT']}/bin"
