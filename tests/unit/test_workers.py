"""Threads that take turns: a lane's own, no more than it may have, none of which can keep anybody waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from esfeed.runtime.workers import Workers
from tests.support.clients import eventually


class Hung:
    """Jobs that hang until they are let go; counts how many run at a time."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.free.wait(60)
        with self._lock:
            self.running -= 1


@pytest.fixture
def hung() -> Iterator[Hung]:
    made = Hung()
    yield made
    made.free.set()


def test_a_lane_that_hangs_holds_up_no_other(hung: Hung) -> None:
    """It has its own threads, no more than it may have; the rest of its jobs run once it is free."""
    workers, done = Workers(), []
    workers.submit("dead", [hung] * 50, 3)
    eventually(lambda: hung.running == 3)
    workers.submit("well", [lambda: done.append(1)] * 50, 3)
    eventually(lambda: len(done) == 50)
    assert hung.running == 3
    hung.free.set()
    workers.submit("dead", [lambda: done.append(2)], 3)
    eventually(lambda: done[-1] == 2)
    assert hung.most == 3


def test_jobs_run_in_the_order_they_came_but_for_those_put_before() -> None:
    """One after the other, where one runs at a time."""
    workers, done, first = Workers(), list[int](), threading.Event()
    workers.submit("lane", [lambda: first.wait(60) and None], 1)
    workers.submit("lane", [lambda n=n: done.append(n) for n in (3, 4)], 1)  # type: ignore[misc]
    workers.submit("lane", [lambda n=n: done.append(n) for n in (1, 2)], 1, before=True)  # type: ignore[misc]
    first.set()
    eventually(lambda: len(done) == 4)
    assert done == [1, 2, 3, 4]


def test_stop_waits_for_what_runs_but_not_for_what_hangs(hung: Hung) -> None:
    """What waits never runs; who hangs is left, as the process ends without it."""
    workers, done = Workers(), list[int]()
    workers.submit("lane", [hung, lambda: done.append(1)], 1)
    eventually(lambda: hung.running)
    workers.stop()
    left = iter([0.01, 0.01])
    assert not workers.wait(lambda: next(left, 0.0))
    hung.free.set()
    assert workers.wait(lambda: 60.0)
    workers.submit("lane", [lambda: done.append(2)], 1)
    workers.submit("new", [lambda: done.append(3)], 1)
    assert not done


def test_where_no_thread_can_be_had_it_is_said_and_later_ones_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the jobs that could not begin runs later on: their next turn comes."""
    workers, done = Workers(), list[int]()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            workers.submit("lane", [lambda: done.append(1)], 2)
    workers.submit("lane", [lambda: done.append(2)], 2)
    eventually(lambda: done)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        workers.submit("lane", [lambda: done.append(3)] * 2, 2)  # there is one thread, which does all
    eventually(lambda: len(done) == 3)
    assert done == [2, 3, 3]


def test_a_job_that_fails_takes_no_thread_with_it() -> None:
    """The next one runs in it."""
    workers, done = Workers(), list[int]()
    workers.submit("lane", [lambda: 1 // 0 and None, lambda: done.append(1)], 1)
    eventually(lambda: done)
