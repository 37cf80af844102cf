"""The real ``esfeed run``, killed (-9) again and again while it delivers; and what must hold of its targets afterwards.

A writer changes documents of an engine in memory all the while. What was to be delivered is what the feed's own log
holds, and what must come out of it in the end is what the writer wrote last.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from esfeed.demo.lookalike import lookalike
from esfeed.envelopes import envelope
from esfeed.model.event import Event
from esfeed.store.state import SqlState
from tests.support.feed import Feed
from tests.support.targets import Target, Told

DOCUMENTS = 300
_INDEX = "kills"
_TOGETHER = 20
_BATCH = 10
_STARTS_WITHIN = 30.0
_WITHIN = 120.0
_MORE = 4


class Row(NamedTuple):
    """What came of one target. ``busy``: kills at which it had not had all of the log; ``repeats``: events too many."""

    sink: str
    events: int
    kills: int
    busy: int
    repeats: int
    lost: int
    faults: Sequence[str]


class Writer(threading.Thread):
    """Writes changes, a tenth of them deletes, as many as are ``allowed``, until ``ended``; ``states`` is what is
    there.
    """

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(name="writer", daemon=True)
        self._url, self._rng = url, random.Random(f"{seed}/writer")
        self.written = 0
        self.allowed = 0
        self.ended = False
        self.states: dict[str, int | None] = {}
        self.error = ""

    def run(self) -> None:
        try:
            while self.written < self.allowed or not self.ended:
                if self.written < self.allowed:
                    self._bulk(min(_TOGETHER, self.allowed - self.written))
                time.sleep(0.03)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _bulk(self, count: int) -> None:
        lines = []
        for name in self._rng.sample(range(DOCUMENTS), count):
            self.written += 1
            doc = f"d{name}"
            if self.states.get(doc) is not None and self._rng.random() < 0.1:
                self.states[doc] = None
                lines.append({"delete": {"_index": _INDEX, "_id": doc}})
            else:
                self.states[doc] = self.written
                lines.append({"index": {"_index": _INDEX, "_id": doc}})
                lines.append({"n": self.written, "updated_at": int(time.time() * 1000)})
        call(f"{self._url}/_bulk", "".join(json.dumps(line) + "\n" for line in lines))


def call(url: str, body: str, method: str = "POST") -> None:
    """One request to the engine; raises where it is refused."""
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        assert not json.load(answer).get("errors")


class State:
    """What the feed has on its disk, read beside it while it runs or is dead."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, query: str, *values: object) -> int:
        """The number that a query gives; 0 where there is none, or no state yet."""
        try:
            connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)
        except sqlite3.OperationalError:
            return 0
        try:
            return int((connection.execute(query, values).fetchone() or [0])[0] or 0)
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()

    def head(self) -> int:
        return self.ask("SELECT max(position) FROM log")

    def cursor(self, sink: str) -> int:
        return self.ask("SELECT position FROM cursor WHERE sink = ?", sink)

    def parked(self) -> int:
        return self.ask("SELECT count(*) FROM parked")


class Kills:
    """One run: ``events`` changes spread over ``kills`` lives of the feed, and one life more that ends by itself.

    A quick target is seldom busy when the feed is killed: as long as one never was, there are more lives, aimed at it.
    """

    def __init__(self, folder: Path, targets: Sequence[Target], *, kills: int, events: int, seed: int) -> None:
        self._folder = folder
        self._targets = targets
        self._kills, self._events, self._seed = kills, events, seed
        self._rng = random.Random(f"{seed}/kills")
        self._state = State(folder / "state.db")
        self._lives = 0
        self._busy = dict.fromkeys([target.name for target in targets], 0)

    def run(self) -> Sequence[Row]:
        """A row for each target. Raises ``AssertionError`` where the feed ends by itself, or comes to no end."""
        with ExitStack() as stack:
            url = stack.enter_context(lookalike())
            for target in self._targets:
                stack.enter_context(target.open())
            call(f"{url}/{_INDEX}", json.dumps({"mappings": {"properties": {"updated_at": {"type": "date"}}}}), "PUT")
            feed = Feed(self._folder, url, _INDEX, mass_delete_limit="100%")
            feed.config.write_text(feed.config.read_text().partition("[sinks.")[0] + self._sinks())
            writer = Writer(url, self._seed)
            writer.start()
            try:
                for aim in self._aims():
                    self._lives += 1
                    writer.allowed = self._events * self._lives // self._kills
                    self._life(feed, aim)
                    assert not writer.error, writer.error
            finally:
                writer.ended = True
                feed.clean_up()
            writer.join()
            for target in self._targets:
                target.heal()
            self._finish(feed)
            return self._rows(writer.states)

    def _sinks(self) -> str:
        sections = []
        for target in self._targets:
            keys = {**target.settings, "batch": _BATCH}
            lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            sections.append(f"[sinks.{target.name}]\n{lines}")
        return "".join(sections)

    def _aims(self) -> Iterator[str]:
        """The sink that each life is aimed at."""
        for _ in range(self._kills):
            yield self._rng.choice(self._targets).name
        for _ in range(_MORE * self._kills):
            idle = [sink for sink, busy in self._busy.items() if not busy]
            if not idle:
                return
            yield idle[0]

    def _life(self, feed: Feed, aim: str) -> None:
        """Starts the feed and kills it: one in eight times while it starts, else around some batch of its first ten."""
        before = self._state.cursor(aim)
        feed.start()
        assert feed.process is not None
        if self._rng.random() < 0.125:
            time.sleep(self._rng.uniform(0.2, 1.2))
        else:
            self._until_settled(aim, before, self._rng.randrange(1, 10))
            time.sleep(self._rng.random() ** 2 * 0.02)
        assert feed.process.poll() is None, f"it ended by itself: {feed.log.read_text()[-2000:]}"
        feed.kill()
        head = self._state.head()
        for target in self._targets:
            self._busy[target.name] += self._state.cursor(target.name) < head

    def _until_settled(self, sink: str, at: int, times: int) -> None:
        """Waits until the cursor has moved so many times, or is at the head of the log after it moved."""
        until, moved = time.monotonic() + _STARTS_WITHIN, 0
        while moved < times and time.monotonic() < until:
            now = self._state.cursor(sink)
            moved += now != at
            at = now
            if moved and now == self._state.head():
                return
            time.sleep(0.0005)

    def _finish(self, feed: Feed) -> None:
        """Polls until nothing new is found and all is delivered."""
        until, before = time.monotonic() + _WITHIN, self._state.head()
        while True:
            done = feed("poll")
            head = self._state.head()
            left = {each.name: head - self._state.cursor(each.name) for each in self._targets}
            if done.returncode == 0 and head == before and not any(left.values()) and not self._state.parked():
                return
            assert time.monotonic() < until, f"not delivered: {left}, parked {self._state.parked()}: {done.stderr}"
            before = head

    def _rows(self, states: Mapping[str, int | None]) -> Sequence[Row]:
        store = SqlState(f"sqlite:///{self._folder}/state.db")
        try:
            log: list[Event] = []
            while rows := store.log.read(log[-1].position if log else 0, 1000):
                log += [row.event for row in rows]
        finally:
            store.close()
        made = []
        for target in self._targets:
            got = target.events()
            lost, faults = wrong(log, got, states, target.merged)
            repeats = len(got) - len({event["id"] for event in got})
            busy = self._busy[target.name]
            made.append(Row(target.name, len(log), self._lives, busy, repeats, lost, faults))
        return made


def wrong(
    log: Sequence[Event], got: Sequence[Told], states: Mapping[str, int | None], merged: bool
) -> tuple[int, Sequence[str]]:
    """How many events of the log are lost, and what else is wrong with what a target ``got``.

    An event that comes again must be the same event; the first times of a document's events must be in the order of the
    log; and the last of them must tell what was written last. Of ``merged`` events only these last three are asked, as
    one stands for several of the log.
    """
    faults: list[str] = []
    encode = envelope("cloudevents").encode
    known = {event.id: json.loads(encode(event)) for event in log}
    first: dict[str, Told] = {}
    for event in got:
        if first.setdefault(event["id"], event) != event:
            faults.append(f"{event['id']} came again as another event")
        if not merged and known.get(event["id"]) != event:
            faults.append(f"{event['id']} is not what the log holds")
    came: dict[str, list[Told]] = defaultdict(list)
    for event in first.values():
        came[event["data"]["id"]].append(event)
    for doc, events in came.items():
        positions = [event["data"]["position"] for event in events]
        if positions != sorted(positions):
            faults.append(f"{doc} came out of order: {positions}")
    for doc, last in states.items():
        told = came[doc][-1]["data"].get("after") if came[doc] else None
        if (told and told["n"]) != last:
            faults.append(f"{doc} is {last}, but the last event tells {told}")
    lost = 0 if merged else len(known.keys() - first.keys())
    return lost, faults


def table(rows: Sequence[Row]) -> str:
    """The rows as reStructuredText."""
    lines: list[Sequence[Any]] = [Row._fields[:-1], *(row[:-1] for row in rows)]
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = " ".join("=" * width for width in widths)
    told = [" ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([rule, told[0], rule, *told[1:], rule])
