"""Tells sinks of everything since a time, beside a running feed or without one, and goes on where it was stopped.

What is read goes into the log as ``read`` events for those sinks alone, so that each target still has one writer and
each document one order. The feed may tell of a document while a page with an older state of it is being read; such a
page's event is left out when the page is kept (``Commit.low``), so nothing newer is ever followed by something older.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from esfeed.errors import ConfigError
from esfeed.event import Change, Document, Key, Revision
from esfeed.ports import BackfillMark, Cluster, Commit, Progress, Stop, Store
from esfeed.reads import Page, Resolved
from esfeed.telling import Teller

_PAGE = 1000
_REOPEN_AFTER = 50_000


class Marks(Store, Protocol):
    """A store that also remembers backfills."""

    def backfill(self, name: str) -> BackfillMark | None: ...

    def end_backfill(self, name: str) -> None: ...


class Span(msgspec.Struct, frozen=True):
    """What to tell: documents of ``watch`` whose timestamp is in [``since``, ``until``), in epoch milliseconds."""

    watch: str
    index: str
    field: str
    sinks: tuple[str, ...]
    since: int
    until: int | None

    @property
    def name(self) -> str:
        """The same span asked for again is the same backfill, and goes on."""
        return msgspec.json.encode((self.watch, sorted(self.sinks), self.since, self.until)).decode()


class Mark(msgspec.Struct, frozen=True):
    """How far a backfill has come: to ``stamp`` (epoch milliseconds), of which it has told the documents ``ties``."""

    stamp: int
    ties: Sequence[Key]


class Backfill:
    """One backfill. ``pace`` is called after each page and waits while the sinks lag far behind."""

    def __init__(self, span: Span, cluster: Cluster, tells: Teller, store: Marks, pace: Callable[[], None]) -> None:
        self._span = span
        self._cluster = cluster
        self._tells = tells
        self._store = store
        self._pace = pace
        self._sent = 0
        self._at_mark: Collection[Key] = ()

    def run(self, stop: Stop, progress: Progress) -> tuple[int, bool]:
        """(documents told of, over all runs of this backfill; whether it is done). Raises ``ClusterError``."""
        of = self._cluster.resolve(self._span.index, self._span.watch)
        if not self._span.field:
            raise ConfigError(f"watches.{self._span.watch}.timestamp_field", "", "a backfill needs a date to go by")
        since = self._go_on()
        while True:
            newest, done = self._snapshot(of, since, stop, progress)
            if done:
                self._store.end_backfill(self._span.name)
            if done or stop():
                return self._sent, done
            since = newest

    def _go_on(self) -> int:
        """Where to read on from: where the last run of this backfill was stopped, or the beginning."""
        before = self._store.backfill(self._span.name)
        if before is None:
            return self._span.since
        mark = msgspec.json.decode(before.mark, type=Mark)
        self._sent, self._at_mark = before.sent, set(mark.ties)
        return mark.stamp

    def _snapshot(self, of: Resolved, since: int, stop: Stop, progress: Progress) -> tuple[int, bool]:
        """Reads on from ``since``, from one snapshot; lets go of it after a while, as an old one costs the engine."""
        low = self._store.head()
        read, newest = 0, since
        for page in self._cluster.window(of, self._span.field, since, _PAGE, self._span.until):
            stamp = page.docs[-1].stamp
            newest = newest if stamp is None else stamp
            self._keep(page, low, newest)
            read += len(page.docs)
            progress(self._sent, self._sent - read + page.total)
            self._pace()
            if stop() or (read >= _REOPEN_AFTER and newest > since):
                return newest, False
        return newest, True

    def _keep(self, page: Page, low: int, newest: int) -> None:
        docs = [doc for doc in page.docs if doc.key not in self._at_mark]
        ties = {doc.key for doc in page.docs if doc.stamp == newest}
        self._at_mark = ties | set(self._at_mark) if page.docs[0].stamp == newest else ties
        self._sent += len(docs)
        entries = self._tells.entries([_read(doc) for doc in docs], 0, sinks=self._span.sinks)
        told = msgspec.json.encode(Mark(newest, [*self._at_mark])).decode()
        mark = BackfillMark(self._span.name, told, self._sent)
        self._store.commit(self._span.watch, Commit(entries=entries, backfill=mark, low=low))


def _read(doc: Document) -> Change:
    revision = Revision(doc.uuid, doc.index, doc.version, doc.seq_no, b"")
    return Change("read", doc.key, revision, after=doc.source, parent=doc.parent, snapshot=True)


def rest(store: Store, sinks: Sequence[str]) -> int:
    """How many log rows the slowest of those sinks has before it."""
    head = store.head()
    return max((head - (store.cursor(sink) or 0) for sink in sinks), default=0)
