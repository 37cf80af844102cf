"""``esfeed dead`` and ``esfeed redrive``, alone and beside a running feed; and what ``status`` says of sinks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.ports import Commit
from esfeed.store.state import SqlState
from tests.store.test_sql import entry
from tests.support.clients import esfeed, eventually
from tests.support.hook import Hook
from tests.support.warm import Started

DOWN = "http://127.0.0.1:1"


class Feed:
    """A state, a cluster that is down, and a sink ``hook``; what is to be sent is written into the log by the test."""

    def __init__(self, folder: Path, hook: Hook, sink: str = "", more: str = "") -> None:
        self.folder, self.config = folder, folder / "esfeed.toml"
        self.config.write_text(
            f'state = "sqlite:///{folder}/state.db"\n{more}\n'
            f'[clusters.main]\nhosts = ["{DOWN}"]\nretries = 1\n[watches.w]\nindex = "x"\ninterval = "10s"\n'
            f'[sinks.hook]\ntype = "webhook"\nurl = "{hook.url}"\nallow_private = true\ntimeout = "5s"\n{sink}\n'
        )
        self.store = SqlState(f"sqlite:///{folder}/state.db")
        self.process: Started | None = None
        self("poll")  # so that the sink has its place

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        return esfeed(*args, config=self.config)

    def log(self, *docs: str) -> None:
        self.store.commits.commit(
            "w", Commit(entries=[entry(doc, watch="w", id=f"{doc}-{self.store.log.head()}") for doc in docs])
        )

    def start(self) -> None:
        with (self.folder / "log.jsonl").open("ab") as log:
            self.process = Started("--config", str(self.config), "run", cwd=self.folder, stdout=log, stderr=log)
        eventually(lambda: "feed.started" in (self.folder / "log.jsonl").read_text())

    def status(self, sink: str = "hook") -> dict[str, Any]:
        done = self("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["sinks"][sink]  # type: ignore[no-any-return]

    def dead(self, *args: str) -> list[dict[str, Any]]:
        done = self("dead", "--json", *args)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def says(self, code: int, *words: str, args: tuple[str, ...]) -> None:
        done = self(*args)
        assert "Traceback" not in done.stderr
        assert done.returncode == code, done.stderr
        for word in words:
            assert word in done.stderr

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.store.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A target that says no to documents whose id begins with ``no``, and fails those with ``bad``."""

    def word(event: dict[str, Any]) -> int | tuple[int, dict[str, str], str] | None:
        doc = event["data"]["id"]
        return (422, {}, "we do not like it") if doc.startswith("no") else 500 if doc.startswith("bad") else None

    with Hook(word) as made:
        yield made


@pytest.fixture
def feed(tmp_path: Path, hook: Hook) -> Iterator[Feed]:
    made = Feed(tmp_path, hook, "attempts = 2")
    yield made
    made.end()


def test_dead_events_are_listed_and_shown(feed: Feed, hook: Hook) -> None:
    """With the target's own words; readable and as JSON; one of them whole."""
    feed.log("a", "no-1", "bad-2", "b")
    assert feed("poll").returncode == 1  # the cluster is down; what is logged is delivered all the same
    assert hook.ids() == ["a", "b"]
    first, second = feed.dead()
    assert (first["sink"], first["position"], first["document"], first["op"]) == (
        "hook", 2, "OS::Nova::Server/no-1", "updated",
    )  # fmt: skip
    assert (first["attempts"], first["state"], first["error"]) == (
        1, "dead", "422 Unprocessable Entity: we do not like it",
    )  # fmt: skip
    assert (second["position"], second["attempts"]) == (3, 2)
    assert "500" in second["error"]
    assert first["at"].endswith("Z")
    shown = feed("dead").stdout
    assert "we do not like it" in shown
    assert "OS::Nova::Server/bad-2" in shown
    one = json.loads(feed("dead", "hook", "2", "--json").stdout)
    assert one["event"]["data"]["after"]["name"] == "web-1"
    assert one["error"] == first["error"]
    whole = feed("dead", "hook", "2").stdout
    assert "we do not like it" in whole
    assert '"after"' in whole
    assert feed.dead("--sink", "hook") == feed.dead()
    told = feed.status()
    assert (told["state"], told["dead"], told["parked"], told["backlog"]) == ("ok", 2, 0, 0)
    assert "esfeed dead" in feed("status").stdout


def test_redriving_alone(feed: Feed, hook: Hook) -> None:
    """Without a running feed the command sends itself: one, those of a sink, all; what fails again is named."""
    feed.log("no-1", "no-2", "bad-3", "no-4", "fine")
    feed("poll")
    assert [one["position"] for one in feed.dead()] == [1, 2, 3, 4]
    hook.word = lambda event: 422 if event["data"]["id"] == "no-4" else None
    feed.says(0, "1 of 1 sent", args=("redrive", "hook", "2"))
    assert hook.ids() == ["fine", "no-2"]
    feed.says(3, "2 of 3 sent", "position 4: dead again: 422", args=("redrive", "--sink", "hook"))
    assert sorted(hook.ids()) == ["bad-3", "fine", "no-1", "no-2"]
    hook.word = lambda event: None
    feed.says(0, "1 of 1 sent", args=("redrive", "--all"))
    assert feed.dead() == []
    feed.says(0, "0 of 0 sent", args=("redrive", "--all"))
    assert feed("dead").stderr.strip() == "no dead events"
    assert len({event["id"] for event in hook.got}) == 5


def test_redriving_beside_a_running_feed(feed: Feed, hook: Hook) -> None:
    """The running one sends; the command waits for it and says how it went."""
    feed.start()
    feed.log("no-1", "no-2", "fine")
    eventually(lambda: feed.status()["dead"] == 2)
    hook.word = lambda event: 422 if event["data"]["id"] == "no-2" else None
    feed.says(0, "1 of 1 sent", args=("redrive", "hook", "1"))
    feed.says(1, "0 of 1 sent", "dead again", args=("redrive", "--all"))
    hook.word = lambda event: None
    feed.says(0, "1 of 1 sent", args=("redrive", "--all"))
    assert hook.ids() == ["fine", "no-1", "no-2"]


def test_an_older_state_is_not_sent_after_a_newer(feed: Feed, hook: Hook) -> None:
    """It says which newer one was delivered, and what can be done; forced, it is sent."""
    feed.log("no-1", "fine")
    feed("poll")
    hook.word = lambda event: None
    feed.log("no-1")
    feed("poll")
    assert [one["newer"] for one in feed.dead()] == [3]
    assert "newer one delivered" in feed("dead").stdout
    feed.says(1, "position 3", "--force", "--discard", args=("redrive", "hook", "1"))
    feed.says(1, "position 3", args=("redrive", "--all"))
    assert hook.ids() == ["fine", "no-1"]
    feed.says(0, "1 of 1 sent", args=("redrive", "hook", "1", "--force"))
    assert [event["data"]["position"] for event in hook.got] == [2, 3, 1]


def test_discarding(feed: Feed) -> None:
    """What nobody wants any more; it counts as dropped."""
    feed.log("no-1", "no-2", "no-3")
    feed("poll")
    feed.says(0, "1 dead events discarded", args=("dead", "--discard", "hook", "2"))
    assert [one["position"] for one in feed.dead()] == [1, 3]
    feed.says(2, "--discard", args=("dead", "--discard"))
    feed.says(0, "2 dead events discarded", args=("dead", "--discard", "--sink", "hook"))
    assert (feed.status()["dead"], feed.status()["dropped"]) == (0, 3)


def test_parked_events(feed: Feed, hook: Hook) -> None:
    """Those that are still tried are shown on request, and counted; they can be neither redriven nor discarded."""
    feed.config.write_text(feed.config.read_text().replace("attempts = 2", "attempts = 20"))
    feed.log("bad-1", "fine", "bad-1")
    feed.says(1, "2 parked events", args=("poll", "--timeout", "2"))
    assert feed.dead() == []
    assert [(one["position"], one["state"]) for one in feed.dead("--parked")] == [(1, "retry"), (3, "waiting")]
    told = feed.status()
    assert (told["state"], told["parked"], told["dead"], told["backlog"]) == ("parked", 2, 0, 0)
    assert "500" in told["error"]
    feed.says(2, "still retries it", args=("redrive", "hook", "1"))
    feed.says(2, "still retries it", args=("dead", "--discard", "hook", "1"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("dead", "hok"), ("SINK = 'hok'", 'did you mean "hook"?')),
        (("dead", "hook", "7"), ("POSITION = 7", "esfeed dead --sink hook")),
        (("dead", "hook", "--sink", "other"), ("--sink",)),
        (("redrive",), ("--all",)),
        (("redrive", "--all", "--sink", "hook"), ("--all",)),
        (("redrive", "hok", "1"), ("hok", 'did you mean "hook"?')),
        (("redrive", "hook", "7"), ("POSITION = 7",)),
        (("redrive", "hook", "seven"), ("POSITION",)),
    ],
    ids=lambda value: " ".join(value) if value[0] in ("dead", "redrive") else "",
)
def test_wrong_arguments(feed: Feed, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    """What is wrong is named, with what there is."""
    feed.says(2, *words, args=args)


def test_status_of_a_sink_that_is_down(feed: Feed, hook: Hook) -> None:
    """It starts, says why nothing goes and when it is tried next, in both forms; nothing is parked."""
    hook.word = lambda event: (503, {"retry-after": "600"}, "")
    feed.log("a", "b", "c")
    feed.start()
    eventually(lambda: feed.status()["state"] == "failing")
    told = feed.status()
    assert 400 < told["next_try_in_seconds"] <= 600
    assert (told["backlog"], told["parked"], told["dead"]) == (3, 0, 0)
    assert "503" in told["error"]
    shown = feed("status").stdout
    assert "failing" in shown
    assert re.search(r"in [45]\d\d s|in 600 s", shown), shown
