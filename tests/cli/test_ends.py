"""How commands end where a sink or a cluster does what it must not: with the right code and one line, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from esfeed.changes.watcher import Poll
from esfeed.cli.main import cli
from esfeed.errors import EsfeedError
from esfeed.ports import OK, Commit, Outcome, rejected, retry
from esfeed.runtime.factory import App
from esfeed.runtime.runner import Runner
from esfeed.sinks.file.sink import FileSink
from esfeed.store.state import SqlState
from tests.store.test_sql import entry


class Feed:
    """A feed whose watch is polled without a cluster, and what its log holds."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "esfeed.toml"
        self.config.write_text(
            f'state = "sqlite:///{folder}/state.db"\n[clusters.main]\nhosts = ["http://127.0.0.1:9"]\nretries = 1\n'
            f'[watches.w]\nindex = "x"\n[sinks.out]\ntype = "file"\npath = "{folder}/out.jsonl"\n'
        )
        self.store = SqlState(f"sqlite:///{folder}/state.db")
        assert self("poll").exit_code == 0  # so that the sink has its place
        self.store.commits.commit(
            "w", Commit(entries=[entry(doc, watch="w", id=doc) for doc in ("good", "bad", "slow")])
        )

    def __call__(self, *args: str) -> Result:
        done = CliRunner().invoke(cli, ["--config", str(self.config), *args], standalone_mode=False)
        if isinstance(done.exception, EsfeedError):
            pytest.fail(f"not told by the command itself: {done.exception}")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    monkeypatch.setattr(Runner, "_poll", lambda *_: Poll({}, 0))
    made = Feed(tmp_path)
    yield made
    made.store.close()


def raising(*_: Any) -> Any:
    raise TypeError("it was given an int")


@pytest.mark.parametrize("where", ["open", "send", "__init__", "close"])
def test_a_sink_that_raises_what_none_may(feed: Feed, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Others went well: 3. What it raised is named, and nothing is lost."""
    monkeypatch.setattr(FileSink, where, raising)
    if where != "send":
        checked = feed("check")
        assert checked.exit_code == 1
        assert "TypeError (it was given an int)" in checked.output
        assert "Traceback" not in checked.output
    if where in ("open", "send"):
        polled = feed("poll", "--timeout", "1")
        assert polled.exit_code == 3, polled.output
        assert "the sink 'out' raised TypeError (it was given an int)" in polled.output
        monkeypatch.undo()
        monkeypatch.setattr(Runner, "_poll", lambda *_: Poll({}, 0))
        assert feed("poll").exit_code == 0
        assert len((feed.config.parent / "out.jsonl").read_text().splitlines()) == 3


def judged(_: FileSink, events: list[Any]) -> list[Outcome]:
    words = {"bad": rejected("it is bad"), "slow": retry("it is slow"), "good": OK}
    return [words[event.doc_id] for event in events]


def test_events_that_are_dead_now(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll says so with its code; each log event has the error of its own documents."""
    monkeypatch.setattr(FileSink, "send", judged)
    with capture_logs() as logs, App(feed_config(feed), "run") as app:
        delivery = app.runner.deliver("out")
    assert (delivery.dead, delivery.parked) == (1, 1)
    said = {line["event"]: line["error"] for line in logs if line["event"] in ("sink.dead", "sink.parked")}
    assert said == {"sink.dead": "it is bad", "sink.parked": "it is slow"}


def test_a_poll_with_dead_events_fails(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, when they became so; a poll without new ones is a good one."""
    monkeypatch.setattr(FileSink, "send", lambda _, events: [rejected("no") for _ in events])
    polled = feed("poll")
    assert polled.exit_code == 3
    assert "3 events became dead" in polled.output
    assert feed("poll").exit_code == 0


def test_a_poll_that_meets_a_mistake_is_told_and_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback for the user, an error in `status`, and the code of a failure."""
    monkeypatch.setattr(Runner, "_behind", lambda *_: None)
    made = Feed.__new__(Feed)
    made.config = tmp_path / "esfeed.toml"
    made.config.write_text(
        f'state = "sqlite:///{tmp_path}/state.db"\n[clusters.main]\nhosts = ["http://127.0.0.1:9"]\nretries = 1\n'
        f'[watches.w]\nindex = "x"\n[sinks.out]\ntype = "file"\npath = "{tmp_path}/out.jsonl"\n'
    )
    monkeypatch.setattr("esfeed.changes.watcher.Watcher.run_once", raising)
    polled = made("poll")
    assert polled.exit_code == 1
    assert "the poll of 'w' raised TypeError (it was given an int)" in polled.output
    assert "TypeError" in made("status", "--json").output


def feed_config(feed: Feed) -> Any:
    from esfeed.config.load import load

    return load(feed.config)
