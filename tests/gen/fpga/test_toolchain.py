"""Programs that map, place and route: those that fail, and those that do not end."""

import pytest
from rich.console import Console

from cdgate.errors import RunError
from gen.fpga import toolchain


def test_tool_that_fails_is_named_with_its_log(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(RunError, match=rf"^title failed, its log is {log}; the last line: "):
        toolchain.call("no_such_module:main", [], log, "title", Console(quiet=True))
    assert "no_such_module" in log.read_text()


@pytest.mark.parametrize("work", ["while True: print('on and on', flush=True)", "import time; time.sleep(60)"])
def test_program_that_does_not_end_is_stopped(monkeypatch, tmp_path, work):
    log = tmp_path / "log"
    (tmp_path / "endless.py").write_text(f"def main():\n    {work}\n")
    monkeypatch.setattr(toolchain, "LIMIT", 0.5)
    with pytest.raises(
        toolchain.EndlessError, match=rf"^title did not end within 0.5 s, its log is {log}; aim at a slower"
    ):
        toolchain.call("endless:main", [], log, "title", Console(quiet=True))
