"""Follows an index by a timestamp field and by version diffs: any engine, also those without ``_seq_no``.

A poll is: one request that tells whether anything can be new; a window of ``timestamp >= mark - overlap``; and, where
the operation counters are not explained by what the window showed, a full reading of ids and versions. The window
makes it quick, the counters make it whole: deletes, late, undated and future-dated documents and rewrites that leave
the timestamp alone are all operations.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from esfeed.errors import ConfigError
from esfeed.ports import Batch, Checkpoint, Clock, Cluster, Known
from esfeed.reads import Index, Reading, Resolved
from esfeed.trackers import accounting
from esfeed.trackers.accounting import Account
from esfeed.trackers.following import Following, patience
from esfeed.trackers.reading import Reader

NAME = "updated_at"
_WINDOW = 1000
_IDLE_SHARE = 9
_DATES = ("date", "date_nanos")


class State(msgspec.Struct, frozen=True):
    """What a checkpoint of this tracker holds. ``mark`` is the newest timestamp seen, in epoch milliseconds.

    ``lag`` is the engine's (``Cluster.searches_lag``), kept so that an idle poll need not ask which engine that is.
    ``waited``: the last poll left operations unexplained. ``took``: seconds that the last full reading took.
    """

    indices: tuple[Index, ...]
    pattern: bool
    account: Account = Account()
    dated: bool = False
    mark: int | None = None
    lag: bool = False
    waited: bool = False
    took: float = 0.0


class UpdatedAtTracker:
    """See ``ports.Tracker``. Once ``reconcile`` is set, the next poll reads all ids and versions in any case."""

    def __init__(self, cluster: Cluster, known: Known, following: Following, clock: Clock) -> None:
        self._cluster = cluster
        self._following = following
        self._clock = clock
        self._reader = Reader(cluster, known, following.max_page_bytes)
        self.reconcile = False

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        now = self._cluster.counters(self._following.index)
        state = None
        if since is not None and since.tracker == NAME:
            state = msgspec.json.decode(since.data, type=State)
        if state is None:
            yield from self._first(now, snapshot=since is None)
            return
        if state.account.looked is None or accounting.restarted(state.account.looked, now):
            yield from self._after_a_move(state, now)
        elif self.reconcile or self._verification_is_due(state):
            yield from self._full(state, now, self._of(state), source=False)
        elif accounting.unchanged(state.account, now, state.lag):
            yield from self._rest(state, now)
        else:
            yield from self._look(state, now)

    def check(self) -> str:
        """What is behind the name, in words. Raises what a poll would raise for a name or field that cannot be."""
        of = self._cluster.resolve(self._following.index, self._following.watch)
        now = self._cluster.counters(self._following.index)
        self._dated(State(of.indices, of.pattern), now)
        many = "1 index" if len(of.indices) == 1 else f"{len(of.indices)} indices"
        return f"{many} behind {self._following.index!r}, about {now.docs:,} documents"

    def _verification_is_due(self, state: State) -> bool:
        verify = self._following.verify
        return verify is not None and self._now() - state.account.looked_at >= verify

    def _first(self, now: Reading, snapshot: bool) -> Iterator[Batch]:
        """The first reading, or the first by this tracker. Begun anew after a crash, it passes over what is known."""
        of = self._cluster.resolve(self._following.index, self._following.watch)
        state = self._dated(State(of.indices, of.pattern, lag=self._cluster.searches_lag), now)
        learn = snapshot and self._following.learn
        for batch in self._reader.everything(of, now, source=not learn, learn=learn):
            yield msgspec.structs.replace(batch, snapshot=snapshot)
        account = accounting.looked(state.account, now, 0, self._now(), state.lag)
        yield _keep(state, account=account)

    def _after_a_move(self, state: State, now: Reading) -> Iterator[Batch]:
        """Other indices or other copies: no counter says anything about what was before, so all is read.

        Behind a new index versions say nothing about the old one's either, so there the content is read at once.
        """
        of = self._cluster.resolve(self._following.index, self._following.watch)
        new = {one.uuid for one in of.indices} - {one.uuid for one in state.indices}
        fresh = State(of.indices, of.pattern, mark=state.mark, lag=self._cluster.searches_lag, took=state.took)
        yield from self._full(self._dated(fresh, now), now, of, source=bool(new))

    def _look(self, state: State, now: Reading) -> Iterator[Batch]:
        """A window; and a full reading where that does not explain every operation."""
        of = self._of(state)
        if self._following.refresh:
            self._cluster.refresh(of.name)
        if not state.dated:
            state = self._dated(state, now)
        elif state.mark is None:
            state = msgspec.structs.replace(state, mark=self._cluster.newest(of.name, self._following.timestamp_field))
        found = yield from self._window(state, now, of)
        account = msgspec.structs.replace(state.account, explained=state.account.explained + found)
        after = self._cluster.counters(of.name)
        if accounting.explains(account, after):
            yield _keep(state, account=accounting.settle(account, after), mark=self._newer_mark(state), waited=False)
        elif self._may_read_all(state):
            yield from self._full(msgspec.structs.replace(state, account=account), now, of, source=False)
        else:
            yield _keep(state, account=account, mark=self._newer_mark(state), waited=True)

    def _window(self, state: State, now: Reading, of: Resolved) -> Generator[Batch, None, int]:
        if not state.dated or state.mark is None:
            return 0
        since = state.mark - int(self._following.overlap * 1000)
        size = self._reader.page_size(now, _WINDOW)
        return (yield from self._reader.window(of, self._following.timestamp_field, since, size))

    def _full(self, state: State, now: Reading, of: Resolved, source: bool) -> Iterator[Batch]:
        mark = self._newer_mark(state)
        began = self._clock.monotonic()
        found = yield from self._reader.everything(of, now, source)
        self.reconcile = False
        account = accounting.looked(state.account, now, found, self._now(), state.lag)
        took = self._clock.monotonic() - began
        yield _keep(state, account=account, mark=mark, waited=False, took=took)

    def _rest(self, state: State, now: Reading) -> Iterator[Batch]:
        """Nothing can be new; at most the last look turns out to have been the final one."""
        if accounting.quiet(state.account, now, patience(state.indices), self._now()):
            yield _keep(state, account=accounting.settle(state.account, now), waited=False)

    def _may_read_all(self, state: State) -> bool:
        if self._following.eager:
            return True
        return state.waited and self._now() - state.account.looked_at >= _IDLE_SHARE * state.took

    def _newer_mark(self, state: State) -> int | None:
        if not state.dated:
            return state.mark
        newest = self._cluster.newest(self._following.index, self._following.timestamp_field)
        return state.mark if newest is None else max(newest, state.mark or newest)

    def _dated(self, state: State, now: Reading) -> State:
        """``state`` knowing whether there is a timestamp to go by. Raises ``ConfigError`` for a field that is none."""
        field = self._following.timestamp_field
        if not field:
            return state
        types = self._cluster.field_types(self._following.index)
        if types.get(field) in _DATES:
            newest = self._cluster.newest(self._following.index, field)
            mark = newest if state.mark is None or newest is None else max(newest, state.mark)
            return msgspec.structs.replace(state, dated=True, mark=mark)
        if now.docs:
            raise ConfigError(f"watches.{self._following.watch}.timestamp_field", field, _no_date(field, types))
        return state

    def _of(self, state: State) -> Resolved:
        return Resolved(self._following.index, state.pattern, state.indices)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _keep(state: State, **changes: Any) -> Batch:
    data = msgspec.json.encode(msgspec.structs.replace(state, **changes))
    return Batch(checkpoint=Checkpoint(NAME, data))


def _no_date(field: str, types: Any) -> str:
    dates = sorted(name for name, kind in types.items() if kind in _DATES)
    said = f"it is mapped as {types[field]}, not as a date" if field in types else "no document has such a field"
    near = get_close_matches(field, dates, 1) or dates[:5]
    what = f"name a date field ({', '.join(near)})" if near else "name a date field (this index has none)"
    return f'{said}; {what}, or write timestamp_field = "" to follow by the operation counters alone (reads all ids)'
