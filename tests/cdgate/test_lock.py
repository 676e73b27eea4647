"""The lock between processes."""

import threading

from cdgate.lock import locked


def test_second_one_is_told_and_waits(tmp_path):
    told, entered = threading.Event(), threading.Event()

    def second():
        with locked(tmp_path / "new" / "lock", told.set):
            entered.set()

    thread = threading.Thread(target=second)
    with locked(tmp_path / "new" / "lock", told.set):
        assert not told.is_set()
        thread.start()
        assert told.wait(60) and not entered.wait(0.2)
    thread.join(60)
    assert entered.is_set()
