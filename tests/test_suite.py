"""Which tests run: the fast ones unless the slow ones are asked for, whatever else surrounds them."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "options, slow, fast", [((), False, True), (("-m", "slow"), True, False), (("-m", ""), True, True)]
)
def test_slow_tests_run_only_if_asked_for(options, slow, fast, root):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run([*command, "tests/gen/test_synth.py"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("test_tiny_core_all_the_way" in done.stdout) == slow
    assert ("test_bad_input_is_one_line" in done.stdout) == fast
