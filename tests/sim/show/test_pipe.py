"""Tests of the pipe through which waves come, with a program that writes everything, nothing, or late."""

import random
import threading
import time

import pytest

from sim.show import pipe
from sim.show.pipe import copied


class Late(threading.Thread):
    """A thread whose work begins later than what the one that started it does next."""

    def run(self):
        time.sleep(0.2)
        super().run()


@pytest.mark.parametrize("thread", [threading.Thread, Late])
@pytest.mark.parametrize("length", [0, 1, 1 << 20])
def test_copies_what_is_written(tmp_path, monkeypatch, thread, length):
    monkeypatch.setattr(pipe.threading, "Thread", thread)
    content = random.Random(length).randbytes(length)
    with copied(tmp_path / "pipe", tmp_path / "file"):
        (tmp_path / "pipe").write_bytes(content)
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("thread", [threading.Thread, Late])
def test_ends_if_nothing_writes(tmp_path, monkeypatch, thread):
    monkeypatch.setattr(pipe.threading, "Thread", thread)
    with copied(tmp_path / "pipe", tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b""
    with pytest.raises(KeyError), copied(tmp_path / "other", tmp_path / "file"):
        raise KeyError


@pytest.mark.parametrize("target, error", [("/dev/full", "No space left"), ("folder/file", "No such file")])
def test_target_that_cannot_be_written(tmp_path, target, error):
    with pytest.raises(OSError, match=error), copied(tmp_path / "pipe", tmp_path / target):
        (tmp_path / "pipe").write_bytes(bytes(1 << 20))
