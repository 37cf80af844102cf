"""Follows an index by a timestamp field and by versions, on any engine, also without ``_seq_no``.

A poll is: one request that shows whether anything can be new; a window of ``timestamp >= mark - overlap``; and a full
reading of ids and versions if the window does not explain the operation counters. The window makes it fast, the
counters make it complete: deletes, late, undated and future-dated documents, and rewrites that leave the timestamp
unchanged, are all operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from esfeed.errors import ConfigError, Forbidden, NameGone, many
from esfeed.model.reads import BLIND, Index, Resolved, StatsSnapshot
from esfeed.ports import COUNTERS_AGE, Batch, Checkpoint, Clock, Cluster, Known
from esfeed.text.decoders import read
from esfeed.trackers import accounting
from esfeed.trackers.accounting import Account
from esfeed.trackers.behind import Behind
from esfeed.trackers.descent import Descent
from esfeed.trackers.look import Found, Look
from esfeed.trackers.options import TrackerOptions, patience
from esfeed.trackers.page_size import PageSizer

NAME = "updated_at"
_WINDOW = 1000
_IDLE_SHARE = 9
_DATES = ("date", "date_nanos")


class State(msgspec.Struct, frozen=True):
    """What a checkpoint of this tracker contains. ``mark`` is the newest timestamp seen, in epoch milliseconds.

    ``lag`` is ``Cluster.searches_lag``, stored so that an idle poll need not ask for the engine. ``waited``: the last
    poll left operations unexplained. ``took``: duration of the last full reading in seconds. ``moved``: other copies or
    indices appeared, and not everything is settled since, so equal versions prove nothing yet.
    """

    indices: tuple[Index, ...]
    pattern: bool
    account: Account = Account()
    dated: bool = False
    mark: int | None = None
    lag: bool = False
    waited: bool = False
    took: float = 0.0
    moved: bool = False
    cluster: str = ""


class UpdatedAtTracker:
    """See ``ports.Tracker``. If ``reconcile`` is set, the next poll reads all ids and versions in any case."""

    def __init__(self, cluster: Cluster, known: Known, options: TrackerOptions, clock: Clock) -> None:
        self._cluster = cluster
        self._options = options
        self._clock = clock
        self._known = known
        self._page_sizer = PageSizer(options.max_page_bytes)
        self.behind = Behind(cluster, known, options)
        self._descent = Descent(cluster, known, options.timestamp_field)
        self.reconcile = False

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        asked = self._now() - COUNTERS_AGE  # before the reading: the process can be suspended in between
        now = self._counters(since)
        state = None
        if since is not None and since.tracker == NAME:
            state = read(since.data, State)
        if state is None:
            yield from self._first(now, since)
            return
        if (
            state.account.looked is None
            or accounting.restarted(state.account.looked, now)
            or self._led_away(state, now)
        ):
            yield from self._after_a_move(state, now, since)
        elif self.reconcile or self._verification_is_due(state):
            yield from self._full(state, now, self._new_look(self._of(state)))
        elif accounting.unchanged(state.account, now, state.lag):
            yield from self._rest(state, now, asked)
        else:
            yield from self._look(state, now)

    def check(self, since: Checkpoint | None) -> str:
        """A text: what is behind the name. Raises what a poll would raise for an unusable name or field."""
        now = self._counters(since)
        of, _ = self.behind.resolve(since, now)
        self._dated(State(of.indices, of.pattern), now)
        indices = many(len(of.indices), "index", "indices")
        if now.blind:
            return f"{indices} behind {of.name!r}, without counters because these credentials may not read them"
        return f"{indices} behind {of.name!r}, about {many(now.docs, 'document')}"

    def _counters(self, since: Checkpoint | None = None) -> StatsSnapshot:
        """Without the privilege to read the counters, every poll has to look, and nothing counts as explained."""
        try:
            return self._cluster.counters(self._options.index)
        except NameGone as error:
            self.behind.explain(since, error)
            raise
        except Forbidden:
            return BLIND

    def _led_away(self, state: State, now: StatsSnapshot) -> bool:
        """Whether the name leads to other indices than before. Only needed without counters, which show this."""
        if not now.blind:
            return False
        return self._cluster.resolve(self._options.index, self._options.watch).indices != state.indices

    def _verification_is_due(self, state: State) -> bool:
        verify = self._options.verify
        return verify is not None and self._now() - state.account.looked_at >= verify

    def _first(self, now: StatsSnapshot, since: Checkpoint | None) -> Iterator[Batch]:
        """The first reading, or the first of this tracker. After a crash it begins again and skips known documents."""
        snapshot = since is None
        of, uuid = self.behind.resolve(since, now)
        state = self._dated(State(of.indices, of.pattern, lag=self._cluster.searches_lag, cluster=uuid), now)
        learn = snapshot and self._options.learn
        field = self._options.timestamp_field if state.dated else ""
        look = self._new_look(of)
        for batch in look.everything(now, source=not learn, learn=learn, field=field):
            yield msgspec.structs.replace(batch, snapshot=snapshot)
        yield _keep(state, account=self._after(look, state, now, 0))

    def _new_look(self, of: Resolved) -> Look:
        return Look(self._cluster, self._known, self._page_sizer, of)

    def _after(self, look: Look, state: State, now: StatsSnapshot, found: int) -> Account:
        """The account after a look at all documents that began at ``now`` and found ``found`` changes."""
        if look.inconclusive:
            return accounting.doubted(state.account, now, found, self._now())
        return accounting.looked(state.account, now, found, self._now(), state.lag)

    def _after_a_move(self, state: State, now: StatsSnapshot, since: Checkpoint | None) -> Iterator[Batch]:
        """Reads everything, because there are other indices or copies, and counters prove nothing about the old ones.

        Neither do versions: a new index has its own. And if another copy became the primary, another operation with the
        same version can follow what only the old primary had. So the content decides.
        """
        of, uuid = self.behind.resolve(since, now)
        lag = self._cluster.searches_lag
        fresh = State(of.indices, of.pattern, mark=state.mark, lag=lag, took=state.took, moved=True, cluster=uuid)
        yield from self._full(self._dated(fresh, now), now, self._new_look(of))

    def _look(self, state: State, now: StatsSnapshot) -> Iterator[Batch]:
        """Reads a window, then counts by date, then everything, for as long as operations are unexplained."""
        of = self._of(state)
        if not state.cluster:  # written by an earlier esfeed
            state = msgspec.structs.replace(state, cluster=self._cluster.uuid())
        if self._options.refresh:
            self._cluster.refresh(of.name)
        if not state.dated:
            state = self._dated(state, now)
        elif state.mark is None:
            state = msgspec.structs.replace(state, mark=self._cluster.newest(of.name, self._options.timestamp_field))
        account = state.account
        look = self._new_look(of)
        for part in (self._window(state, now, look), self._by_counts(state, look)):
            found = yield from part
            account = msgspec.structs.replace(account, explained=account.explained + found)
            after = self._counters()
            if accounting.explains(account, after):
                account = accounting.settle(account, after)
                yield _keep(state, account=account, mark=self._newer_mark(state), waited=False)
                return
        if self._may_read_all(state):
            yield from self._full(msgspec.structs.replace(state, account=account), now, look)
        else:
            yield _keep(state, account=account, mark=self._newer_mark(state), waited=True)

    def _window(self, state: State, now: StatsSnapshot, look: Look) -> Found:
        if not state.dated or state.mark is None:
            return 0
        since = state.mark - int(self._options.overlap * 1000)
        size = self._page_sizer.initial(now, _WINDOW)
        return (yield from look.window(self._options.timestamp_field, since, size))

    def _by_counts(self, state: State, look: Look) -> Found:
        """Does nothing if an id can be in two indices: the counts have both documents, but only one is known."""
        if not state.dated or look.of.overlap:
            return 0
        return (yield from self._descent.run(look))

    def _full(self, state: State, now: StatsSnapshot, look: Look) -> Iterator[Batch]:
        """Reads every id and version, and every content if versions prove nothing yet."""
        distrust = state.moved and state.account.settled is None
        mark = self._newer_mark(state)
        began = self._clock.monotonic()
        field = self._options.timestamp_field if state.dated else ""
        found = yield from look.everything(now, distrust, field=field, distrust=distrust)
        self.reconcile = False
        account = self._after(look, state, now, found)
        took = self._clock.monotonic() - began
        yield _keep(state, account=account, mark=mark, waited=False, took=took)

    def _rest(self, state: State, now: StatsSnapshot, asked: float) -> Iterator[Batch]:
        """Nothing can be new. If a due refresh would have come by now, the last look was final."""
        if accounting.quiet(state.account, now, patience(state.indices), asked):
            yield _keep(state, account=accounting.settle(state.account, now), waited=False)

    def _may_read_all(self, state: State) -> bool:
        if self._options.eager:
            return True
        return state.waited and self._now() - state.account.looked_at >= _IDLE_SHARE * state.took

    def _newer_mark(self, state: State) -> int | None:
        if not state.dated:
            return state.mark
        newest = self._cluster.newest(self._options.index, self._options.timestamp_field)
        return state.mark if newest is None else max(newest, state.mark or newest)

    def _dated(self, state: State, now: StatsSnapshot) -> State:
        """``state`` with whether there is a timestamp to follow. Raises ``ConfigError`` if the field is not a date."""
        field = self._options.timestamp_field
        if not field:
            return state
        types = self._cluster.field_types(self._options.index)
        if types.get(field) in _DATES:
            newest = self._cluster.newest(self._options.index, field)
            mark = newest if state.mark is None or newest is None else max(newest, state.mark)
            return msgspec.structs.replace(state, dated=True, mark=mark)
        if now.docs and not self._options.assumed:
            raise ConfigError(f"watches.{self._options.watch}.timestamp_field", field, _no_date(field, types))
        return state

    def _of(self, state: State) -> Resolved:
        return Resolved(self._options.index, state.pattern, state.indices)

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
    return f'{said}; {what}, or set timestamp_field = "" to use only the operation counters (reads all ids)'


def behind(checkpoint: Checkpoint) -> int | None:
    """How many operations a checkpoint of this tracker leaves unexplained; ``None`` before the first full look."""
    account = read(checkpoint.data, State).account
    if account.looked is None or account.settled is None:
        return None
    counted = sum(accounting.operations(account.looked).values()) - sum(account.settled.values())
    return max(0, counted - account.explained)
