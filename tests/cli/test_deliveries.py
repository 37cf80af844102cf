"""Delivery beside polls and after them, as ``poll`` and ``reconcile`` do it: a real state, files, and no cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.cli.deliveries import deliver, delivering
from esfeed.config.load import build
from esfeed.delivery.dispatcher import Delivery
from esfeed.errors import StateError
from esfeed.ports import Commit
from esfeed.runtime.factory import App
from tests.store.test_sql import entry
from tests.support.clients import eventually


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Two sinks, of which ``bad`` cannot be written; both wait for what comes."""
    (tmp_path / "bad.jsonl").mkdir()
    settings: dict[str, Any] = {
        "state": f"sqlite:///{tmp_path}/state.db",
        "clusters": {"main": {"hosts": ["http://127.0.0.1:1"]}},
        "watches": {"w": {"index": "x"}},
        "sinks": {name: {"type": "file", "path": f"{tmp_path}/{name}.jsonl"} for name in ("good", "bad")},
    }
    with App(build(settings), "poll") as made:
        made.hold()
        assert made.dispatchers.keys() == {"good", "bad"}
        yield made


def commit(app: App, *names: str) -> None:
    app.store.commits.commit("w", Commit(entries=[entry(name, watch="w") for name in names]))


def lines(tmp_path: Path) -> int:
    path = tmp_path / "good.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def timed(work: Callable[[], None]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def test_what_is_logged_is_sent_before_the_block_is_over(app: App, tmp_path: Path) -> None:
    """So a first poll of millions need not be read again from the log."""
    with delivering(app, ["good"], 30.0) as stuck:
        for count in (1, 2, 3):
            commit(app, f"d{count}")
            assert eventually(lambda count=count: lines(tmp_path) == count)  # type: ignore[misc]
        assert stuck == []
    assert stuck == []
    assert app.backlog("good") == 0


def test_what_was_logged_at_last_is_sent_after_it(app: App, tmp_path: Path) -> None:
    """And nothing is waited for where nothing is left: a poll from cron takes as long as the poll."""
    with delivering(app, ["good"], 30.0) as stuck:
        commit(app, *(f"d{n}" for n in range(500)))
    assert (lines(tmp_path), stuck) == (500, [])

    def idle() -> None:
        for _ in range(10):
            with delivering(app, ["good"], 30.0):
                time.sleep(0.02)

    assert timed(idle) < 2.0, "each waited for something"


def test_a_sink_that_cannot_be_written_is_named_once_and_holds_nobody(
    app: App, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """While polls go on it says nothing: the last try tells."""
    with delivering(app, ["good", "bad"], 1.0) as stuck:
        commit(app, "a")
        assert eventually(lambda: lines(tmp_path) == 1)
        time.sleep(0.2)
        assert capfd.readouterr().err == ""
    said = capfd.readouterr().err
    assert stuck == ["bad"]
    assert said.count("sink bad") == 1
    assert "1 log entries wait for the next run" in said
    assert "good" not in said


def test_what_failed_while_polls_went_on_is_tried_once_more(app: App, tmp_path: Path) -> None:
    """A state that could not be written for a moment."""
    real, faults = app.runner.deliver, [StateError("the disk is full", "free some space")]

    def failing(name: str) -> Delivery:
        if faults:
            raise faults.pop()
        return real(name)

    app.runner.deliver = failing  # type: ignore[method-assign]
    commit(app, "a")
    with delivering(app, ["good"], 30.0) as stuck:
        assert eventually(lambda: not faults)
    assert (lines(tmp_path), stuck) == (1, [])


def test_a_block_that_fails_ends_it_without_a_word(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    """The error is the block's; what is logged waits."""
    commit(app, "a")
    with pytest.raises(KeyError), delivering(app, ["bad"], 30.0):
        raise KeyError("x")
    assert capfd.readouterr().err == ""
    assert app.backlog("bad") == 1


def test_a_sink_that_does_not_answer(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    """It is left behind when the time is over."""
    app.runner.deliver = lambda name: time.sleep(8) or Delivery(idle=True, wait=None)  # type: ignore[method-assign]
    stuck: list[str] = []
    assert timed(lambda: stuck.extend(deliver(app, ["good"], 0.2))) < 5
    assert stuck == ["good"]
    assert "sink good: the sink did not answer within 0.2 s" in capfd.readouterr().err.replace("\n", " ")
