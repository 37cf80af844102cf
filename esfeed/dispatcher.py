"""One step of one sink, from the log to its target: the second of the house's two loops (the other: watcher).

A sink is a cursor on the log. ``run_once`` reads what lies behind it, lets the router choose, sends, and settles:
what the sink took, and what it never will, is behind the cursor; the rest is sent again, with the same ids.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from esfeed.errors import ConfigError, Retryable
from esfeed.ports import LogRow, Outcome, Parked, Sink, Store, retry
from esfeed.routing import RouteFailed, Router

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0


class Delivery(msgspec.Struct, frozen=True):
    """What a step came to. ``wait``: seconds until the next one makes sense, 0 to go on at once.

    ``idle``: nothing lies behind the cursor. ``error``: why something was not taken, empty where all was.
    """

    sent: int = 0
    skipped: int = 0
    parked: int = 0
    wait: float = 0.0
    idle: bool = False
    error: str = ""


class Dispatcher:
    """Delivers to one sink. One thread at a time."""

    def __init__(self, name: str, sink: Sink, router: Router, store: Store, batch: int) -> None:
        self.name = name
        self._sink = sink
        self._router = router
        self._store = store
        self._batch = batch
        self._open = False
        self._failures = 0
        self._taken: set[int] = set()

    def start(self) -> None:
        """Gives a sink that was never seen its place: the end of the log as it is now. Call before the first poll."""
        if self._store.cursor(self.name) is None:
            self._store.settle(self.name, self._store.head())

    def close(self) -> None:
        """Lets go of the target; the next ``run_once`` opens it again."""
        self._sink.close()
        self._open = False

    def run_once(self) -> Delivery:
        """One batch; a target's trouble is in the result. Raises ``StateError``, ``ConfigError``, ``ReaderGone``."""
        rows = self._store.read_log(self._store.cursor(self.name) or 0, self._batch)
        if not rows:
            return Delivery(idle=True)
        wanted, parked = self._choose(rows)
        try:
            self._be_open()
            outcomes = self._send(wanted)
        except Retryable as error:
            self.close()
            outcomes = [retry(str(error), error.wait)] * len(wanted)
        return self._settle(rows, dict(zip((row.position for row in wanted), outcomes, strict=True)), parked)

    def _be_open(self) -> None:
        if self._open:
            return
        try:
            self._sink.open()
        except ConfigError as error:
            raise ConfigError(f"sinks.{self.name}.{error.key}", error.value, error.hint) from error
        self._open = True

    def _choose(self, rows: Sequence[LogRow]) -> tuple[list[LogRow], list[Parked]]:
        wanted: list[LogRow] = []
        parked: list[Parked] = []
        for row in rows:
            if row.position in self._taken or row.sink not in (None, self.name):
                continue
            try:
                shaped = self._router.shape(self.name, row.event)
                if shaped is not None:
                    wanted.append(msgspec.structs.replace(row, event=shaped))
            except RouteFailed as error:
                parked.append(Parked(self.name, row.position, 1, str(error)))
        return wanted, parked

    def _send(self, wanted: Sequence[LogRow]) -> Sequence[Outcome]:
        if not wanted:
            return []
        outcomes = self._sink.send([row.event for row in wanted])
        if len(outcomes) != len(wanted):
            raise ConfigError(
                f"sinks.{self.name}.type",
                None,
                f"it answered {len(outcomes)} of {len(wanted)} events, its own fault",
            )
        return outcomes

    def _settle(self, rows: Sequence[LogRow], outcomes: dict[int, Outcome], parked: list[Parked]) -> Delivery:
        """Moves the cursor up to the first event that was not taken; what was taken beyond it is not sent again."""
        waiting = [outcome for outcome in outcomes.values() if outcome.kind == "retry"]
        parked += [
            Parked(self.name, position, 1, outcome.reason)
            for position, outcome in outcomes.items()
            if outcome.kind == "rejected"
        ]
        sent = sum(outcome.ok for outcome in outcomes.values())
        stuck = next((position for position, outcome in outcomes.items() if outcome.kind == "retry"), None)
        settled = rows[-1].position if stuck is None else stuck - 1
        self._store.settle(self.name, settled, parked)
        done = {row.position for row in rows} - {p for p, outcome in outcomes.items() if outcome.kind == "retry"}
        self._taken = {position for position in self._taken | done if position > settled}
        self._failures = self._failures + 1 if waiting and not sent else 0
        return Delivery(
            sent,
            len(rows) - len(outcomes),
            len(parked),
            self._pause(waiting),
            error=next((outcome.reason for outcome in waiting), parked[0].error if parked else ""),
        )

    def _pause(self, waiting: Sequence[Outcome]) -> float:
        """As long as the target asked for; else longer with every step that got nothing through, with jitter."""
        if not waiting:
            return 0.0
        asked = max((outcome.wait for outcome in waiting if outcome.wait), default=None)
        if asked is not None:
            return min(asked, 3600.0)
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures, 10))
        return longest * (0.5 + random.random() / 2)
