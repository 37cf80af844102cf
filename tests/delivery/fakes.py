"""A log, a clock and a sink to play any fault with, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from esfeed.delivery.dispatcher import Dispatcher
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.target import Target
from esfeed.model.event import Event, weight
from esfeed.ports import OK, Doc, LogRow, Outcome, Parked, Settlement, retry, waits
from esfeed.routing.router import Route, Router
from esfeed.testing.events import sample_event

NAME = "target"
START = datetime(2026, 11, 24, 10, tzinfo=UTC)


class FakeClock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def stamp(self) -> str:
        return self.now().isoformat().replace("+00:00", "Z")


@dataclass
class FakeStore:
    """A log and an outbox (``ports.Log``, ``ports.Outbox``) in memory; checks that a cursor never goes back."""

    log: list[LogRow] = field(default_factory=list)
    at: int | None = 0
    rows: dict[int, Parked] = field(default_factory=dict)
    dropped: int = 0
    writes: int = 0
    fails: Exception | None = None

    def add(self, doc: str, sink: str | None = None, watch: str = "w", **event: object) -> int:
        position = len(self.log) + 1
        found = sample_event(position=position, doc_id=doc, watch=watch, **event)  # type: ignore[arg-type]
        self.log.append(LogRow(position, found, sink, (1 if watch == "w" else 2, doc.encode())))
        return position

    def read(self, after: int, limit: int, max_bytes: int = 0) -> Sequence[LogRow]:
        return self.log[after : after + limit]

    def head(self) -> int:
        return len(self.log)

    def first(self) -> int | None:
        return 1 if self.log else None

    def last(self) -> int:
        return len(self.log)

    def count(self, after: int) -> int:
        return len(self.log) - after

    def size_bytes(self) -> int:
        return sum(weight(row.event) for row in self.log)

    def cursor(self, sink: str) -> int | None:
        return self.at

    def settle(self, sink: str, step: Settlement) -> None:
        if self.fails:
            raise self.fails
        self.writes += 1
        self.at = max(self.at or 0, step.position)
        for position in step.taken:
            self.rows.pop(position, None)
        for one in step.parked:
            before = self.rows.get(one.position)
            event = before.event if before else one.event or self.log[one.position - 1].event
            self.rows[one.position] = msgspec.structs.replace(one, event=event)
        for document, position in step.newer.items():
            for place, one in self.rows.items():
                if one.document == document and one.state not in ("retry", "waiting") and place < position:
                    self.rows[place] = msgspec.structs.replace(one, newer=position)
        self.dropped += step.dropped

    def parked(self, sink: str) -> Sequence[Parked]:
        return [msgspec.structs.replace(self.rows[place], event=None) for place in sorted(self.rows)]

    def redriven(self, sink: str) -> Sequence[Parked]:
        return [one for one in self.parked(sink) if one.state in ("redriven", "forced")]

    def parked_events(self, sink: str, positions: Sequence[int], max_bytes: int = 0) -> Sequence[LogRow]:
        found = [self.rows[place] for place in positions if place in self.rows]
        return [LogRow(one.position, one.event, None, one.document) for one in found if one.event]

    # --- for tests

    def mark(self, position: int, state: str) -> None:
        """As the commands do it, from another process."""
        self.rows[position] = msgspec.structs.replace(self.rows[position], state=state)

    def states(self) -> dict[int, tuple[str, int]]:
        return {place: (one.state, one.attempts) for place, one in sorted(self.rows.items())}

    def dead(self) -> list[int]:
        return [place for place, one in sorted(self.rows.items()) if one.state == "dead"]


Word = Callable[[Event], Outcome | Exception | None]


@dataclass
class FakeSink:
    """Answers as ``word`` says of each event, ``ok`` where it says nothing; ``got`` is what its target has, in order.

    It is a good sink: behind an event that was not taken, later ones of the same document wait. ``one_fault``: so does
    the rest of the batch, as where a connection breaks.
    """

    word: Word = lambda event: None
    got: list[Event] = field(default_factory=list)
    sends: list[list[int]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    one_fault: bool = False

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        self.sends.append([event.position for event in events])
        outcomes: list[Outcome] = []
        behind: set[str] = set()
        down = False
        got: list[Event] = []
        for event in events:
            word = None if event.doc_id in behind or down else self.word(event)
            if isinstance(word, Exception):
                raise word
            outcome = waits() if event.doc_id in behind else waits("down") if down else word or OK
            if not outcome.ok:
                behind.add(event.doc_id)
                down = down or (self.one_fault and outcome.kind == "retry")
            else:
                got.append(event)
            outcomes.append(outcome)
        self.got += got
        return outcomes

    @property
    def positions(self) -> list[int]:
        return [event.position for event in self.got]


def once(**words: Outcome | Exception) -> Word:
    """Says each word once, of the event at that position (``p3``)."""
    left = {int(name[1:]): word for name, word in words.items()}
    return lambda event: left.pop(event.position, None)


def bad(*docs: str, reason: str = "500") -> Word:
    """Those documents are never taken."""
    return lambda event: retry(reason) if event.doc_id in docs else None


class Bench:
    """A dispatcher over fakes, and the time it takes."""

    def __init__(
        self, *docs: str, word: Word | None = None, routes: Sequence[Route] = (), sink: FakeSink | None = None,
        batch: int = 10, store: FakeStore | None = None, **options: object,
    ) -> None:  # fmt: skip
        self.clock = FakeClock()
        self.store = store or FakeStore()
        self.sink = sink or FakeSink()
        if word:
            self.sink.word = word
        self.router = Router(routes, [NAME, "other"], ["w", "v"])
        self.options = DeliveryOptions(batch=batch, **options)  # type: ignore[arg-type]
        for doc in docs:
            self.add(doc)
        self.boot()

    def boot(self) -> None:
        """A new process: whatever was in memory is gone."""
        self.steps = Dispatcher(
            NAME,
            Target(NAME, self.sink),
            self.router,
            self.store,
            self.store,
            self.options,
            self.clock,
            lambda: 0.0,  # type: ignore[arg-type]
        )

    def add(self, doc: str, **event: object) -> int:
        return self.store.add(doc, **{"time": self.clock.stamp(), **event})  # type: ignore[arg-type]

    def run(self, seconds: float = 0.0, most: int = 20_000) -> None:
        """Steps until nothing is to be done, or so many seconds of the clock are over."""
        until = self.clock.passed + seconds
        for _ in range(most):
            told = self.steps.run_once()
            wait = told.wait
            if told.idle and wait is None:
                break
            if wait and self.clock.passed + wait > until:
                break
            self.clock.passed += wait or 0.0
        else:
            raise AssertionError(f"no end after {most} steps")
        self.clock.passed = max(self.clock.passed, until)

    def of(self, doc: str) -> list[int]:
        """What the target has of a document, in order."""
        return [event.position for event in self.sink.got if event.doc_id == doc]


def document(doc: str) -> Doc:
    return 1, doc.encode()
