"""One feed a state: the lock names its holder, and no way of dying leaves it behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from esfeed.errors import ConfigError, StateError
from esfeed.store.lock import StateLock
from tests.support.clients import eventually

HOLD = """import sys
from esfeed.store.lock import *
with StateLock(Path(sys.argv[1]), "run"):
    print(flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a lock is to be."""
    return tmp_path / "state.db.lock"


def test_the_second_says_who_holds_it(path: Path) -> None:
    """The command, the process and the machine; the first keeps it."""
    with hold(path) as first:
        words = f"`esfeed run`, process {first.pid} on {os.uname().nodename}"
        for _ in range(2):
            with pytest.raises(StateError, match=words) as caught, StateLock(path, "poll"):
                pytest.fail("two hold it")
            assert caught.value.hint
        assert StateLock(path, "status").held_by() == words
        first.communicate("")
    with StateLock(path, "poll"):
        assert str(os.getpid()) in str(StateLock(path, "status").held_by())
    assert StateLock(path, "status").held_by() is None


def test_kill_9_frees_it(path: Path) -> None:
    """The kernel lets go, so that the next start needs nobody's help."""
    with hold(path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert StateLock(path, "status").held_by() is None
    with StateLock(path, "run"):
        pass


def test_it_is_free_after_an_error(path: Path) -> None:
    """Whatever ends the work; and one lock can be taken again and again."""
    lock = StateLock(path, "run")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), lock:
            1 / 0  # noqa: B018 - the error is the point
        assert StateLock(path, "status").held_by() is None


def test_asking_keeps_nobody_from_starting(path: Path) -> None:
    """While ten threads ask all the time who holds it, it is taken thirty times without a failure."""
    path.touch()
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            StateLock(path, "status").held_by()
            enough.wait(0.001)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            with StateLock(path, "run"):
                pass
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def test_only_one_of_many_gets_it(path: Path) -> None:
    """Twenty threads at once: one has it at a time, the others are told."""
    inside, most, got = 0, 0, 0
    guard, gate = threading.Lock(), threading.Barrier(20)

    def take() -> None:
        nonlocal inside, most, got
        gate.wait()
        try:
            with StateLock(path, "run"):
                with guard:
                    inside, got = inside + 1, got + 1
                    most = max(most, inside)
                threading.Event().wait(0.02)
                with guard:
                    inside -= 1
        except StateError:
            return

    threads = [threading.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert got >= 1


def test_a_holder_that_left_no_name(path: Path) -> None:
    """A lock file that is empty or of something else: it is held all the same, by `another process`."""
    with hold(path) as first:
        for text in ("", "not json", "[]", '"x"', json.dumps({"pid": 1})):
            path.write_text(text)
            assert StateLock(path, "status").held_by() == "another process"
            with pytest.raises(StateError, match="another process"), StateLock(path, "poll"):
                pytest.fail("two hold it")
        first.communicate("")


def test_a_place_where_no_lock_can_be(path: Path) -> None:
    """A folder that is not there is a setting's fault; a file in its place the state's."""
    with pytest.raises(ConfigError, match="does not exist"), StateLock(path.parent / "no" / "x.lock", "run"):
        pytest.fail("it was taken")
    path.mkdir()
    with pytest.raises(StateError, match="lock file"), StateLock(path, "run"):
        pytest.fail("it was taken")
    assert StateLock(path.parent / "no" / "x.lock", "status").held_by() is None


def test_it_can_be_read_by_nobody_else(path: Path) -> None:
    """The file is its owner's alone, and is not left open in child processes."""
    with StateLock(path, "run"):
        assert path.stat().st_mode & 0o777 == 0o600
        child = subprocess.Popen(["sleep", "30"])
    try:
        eventually(lambda: StateLock(path, "status").held_by() is None, seconds=2)
    finally:
        child.kill()
        child.wait()
