"""Reading documents and telling which are news, shared by the trackers: windows, full readings, and what is gone.

A read may come from a copy that lags, and without a point in time two requests share no snapshot. So whatever looks
older than what is known, or is not there, is looked up in realtime before anybody believes it.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from esfeed.event import Document, Key, Revision
from esfeed.ports import Batch, Cluster, Known, Sweep
from esfeed.reads import TAKEN, Page, Reading, Resolved, Shard
from esfeed.weights import Weights

Found = Generator[Batch, None, int]
"""Yields batches; returns how many documents turned out changed or gone."""

_LOOKUP = 500
_IDS_PAGE = 5000


class Sorted(NamedTuple):
    """What the documents of a page turn out to be, beside what is ``known`` of them.

    ``news`` are not as known; ``behind`` look older than known, and have to be looked up. ``truth`` are the keys whose
    truth the page holds. ``stamps`` are dates of known documents that are not remembered so.
    """

    news: list[Document]
    known: Mapping[Key, Revision]
    behind: list[Document]
    truth: list[Key]
    stamps: Mapping[Key, int | None]


class Reader:
    """Reads behind one name. ``max_page_bytes`` bounds what one answer brings: pages are chosen by the average size of
    a document, on the engine's disk at first and as seen from then on; one that is too large all the same is the last
    of its size.

    ``doubt`` is set where a lookup contradicts a search: one of two copies lags. What was read then is no last word,
    even if nothing more happens; so whoever reads clears it before and looks at it after.
    """

    def __init__(self, cluster: Cluster, known: Known, max_page_bytes: int) -> None:
        self._cluster = cluster
        self._known = known
        self.weights = Weights(max_page_bytes)
        self.doubt = False

    def _pages(self, read: Callable[[int], Iterator[Page]], size: int) -> Iterator[Page]:
        """The pages of ``read(size)``, which begins anew where one was too large: what was read so far is known by
        then, and passed over. Each is read while the one before is worked on.
        """
        while True:
            with contextlib.closing(_Ahead(read(size))) as pages:
                while (page := pages.take()) is not None:
                    heavy = self.weights.weigh(page.docs)
                    if not heavy:
                        pages.begin()
                    yield page
                    if heavy:
                        break
                else:
                    return
            size = self.weights.fitting(max(1, len(page.docs) // 2))

    def window(self, of: Resolved, field: str, since: int, size: int) -> Found:
        """What is new among documents with ``field`` at or after ``since`` (epoch milliseconds)."""
        found = 0
        for page in self._pages(lambda size: self._cluster.window(of, field, since, size), size):
            met, known, behind, _, stamps = self.sort_out(page.docs, of)
            met += self.look_again(of, behind, known)
            found += len(met)
            if met or stamps:
                yield Batch(met, known, stamps=stamps)
        return found

    def everything(
        self,
        of: Resolved,
        now: Reading,
        source: bool,
        learn: bool = False,
        shards: Sequence[Shard] = (),
        field: str = "",
        distrust: bool = False,
    ) -> Found:
        """What is new among all documents, then what is gone; shard by shard where ``shards`` are named.

        ``source``: read the content with the ids (many are expected to differ); otherwise it is looked up for those
        that differ; with ``learn`` it is not wanted at all. ``field``: the date to read with them. ``distrust``: see
        ``sort_out``; it needs ``source``.
        """
        found = read = 0
        size = self.weights.page(now, _IDS_PAGE) if source else _IDS_PAGE
        with self._known.sweep([index.uuid for index in of.indices]) as sweep:
            for shard in shards or (None,):

                def some(size: int, shard: Shard | None = shard) -> Iterator[Page]:
                    return self._cluster.everything(of, source, size, shard, field)

                for page in self._pages(some, size):
                    read += len(page.docs)
                    met, known, behind, truth, stamps = self.sort_out(page.docs, of, distrust)
                    sweep.see(truth)
                    if not (source or learn):
                        behind, met = behind + met, []
                    met += self.look_again(of, behind, {} if distrust else known)
                    found += len(met)
                    total = page.total if shard is None else max(now.docs, read)
                    yield Batch(met, known, total=total, read=read, stamps=stamps)
            found += yield from self._unmet(of, sweep, shards)
        return found

    def sort_out(self, docs: Sequence[Document], of: Resolved, distrust: bool = False) -> Sorted:
        """What these documents turn out to be. ``distrust``: equal numbers prove nothing, so all are news unless they
        look older, and their content decides.
        """
        best: dict[Key, Document] = {}
        for doc in docs:
            other = best.setdefault(doc.key, doc)
            if other is not doc and of.rank(doc.uuid) > of.rank(other.uuid):
                best[doc.key] = doc
        known = self._known.revisions(best.keys())
        news: list[Document] = []
        behind: list[Document] = []
        truth: list[Key] = []
        stamps: dict[Key, int | None] = {}
        for key, doc in best.items():
            revision = known.get(key)
            if revision is not None and doc.uuid != revision.uuid and of.rank(revision.uuid) > of.rank(doc.uuid):
                continue
            truth.append(key)
            if revision is None or (distrust and (doc.shard is not None or not older(doc, revision))):
                news.append(doc)
            elif not same(doc, revision):
                (behind if older(doc, revision) else news).append(doc)
            elif doc.shard is None and (doc.stamp != revision.stamp or revision.shard is not None):
                stamps[key] = doc.stamp
        return Sorted(news, known, behind, truth, stamps)

    def look_again(self, of: Resolved, behind: Sequence[Document], known: Mapping[Key, Revision]) -> list[Document]:
        """Those of ``behind`` that are there and not as known, as they are at this moment, with their content."""
        met: list[Document] = []
        most = self.weights.fitting(_LOOKUP)
        for start in range(0, len(behind), most):
            some = behind[start : start + most]
            found = self._cluster.lookup(of, [(doc.uuid, doc.key) for doc in some], source=True)
            for doc, before in zip(found, some, strict=True):
                if doc is not None and not (doc.key in known and same(doc, known[doc.key])):
                    stamp = before.stamp if doc.version == before.version else None
                    met.append(msgspec.structs.replace(doc, shard=before.shard, stamp=stamp))
        return met

    def _unmet(self, of: Resolved, sweep: Sweep, shards: Sequence[Shard]) -> Found:
        losing = sweep.missing()
        found = 0
        for lost in sweep.unseen(_LOOKUP):
            found += yield from self.missed(of, lost, losing, shards)
        return found

    def missed(self, of: Resolved, lost: Mapping[Key, Revision], losing: int, shards: Sequence[Shard] = ()) -> Found:
        """What became of the known documents ``lost``, which a read did not show: gone, changed, or there after all.

        ``losing`` is how many the whole poll misses; ``shards`` the copies that are followed.
        """
        found = 0
        for some in _pieces(lost, _LOOKUP):
            gone, met, taken = self._confirm(of, some, shards)
            # What took the place of another is counted itself: both were one operation.
            found += len(gone) + len(met) - len(taken)
            if gone or met:
                yield Batch(met, some, gone, losing=losing)
        return found

    def _confirm(
        self, of: Resolved, lost: Mapping[Key, Revision], shards: Sequence[Shard]
    ) -> tuple[list[tuple[Key, Revision]], list[Document], set[Key]]:
        """(gone, changed, those of the gone whose place another document has)."""
        there: dict[Key, Document] = {}
        taken: set[Key] = set()
        for copy, keys in _by_copy(lost, lost, shards).items():
            for index in of.indices:
                wanted = [(index.uuid, key) for key in keys if key.within in (None, index.within)]
                if wanted:
                    found = self._cluster.lookup(of, wanted, source=False, copy=copy)
                    # Later indices have the truth, so they overwrite earlier ones.
                    there.update((doc.key, doc) for doc in found if doc and doc.version != TAKEN)
                    taken.update(doc.key for doc in found if doc and doc.version == TAKEN)
        missing = [key for key in lost if key not in there]
        # A lookup is ahead of searches. Taken at its word alone, a document would be deleted that the next search still
        # shows, and be created again by that; so both must have lost it.
        shown: set[Key] = set()
        for copy, keys in _by_copy(missing, lost, shards).items():
            shown.update(self._cluster.shown(of, keys, copy))
        gone = [(key, lost[key]) for key in missing if key not in shown]
        placed = [msgspec.structs.replace(doc, shard=lost[key].shard) for key, doc in there.items()]
        changed = [doc for doc in placed if not same(doc, lost[doc.key])]
        self.doubt = self.doubt or len(gone) + len(changed) < len(lost)
        return gone, self.look_again(of, changed, lost), taken.intersection(key for key, _ in gone)


def _by_copy(
    keys: Iterable[Key], lost: Mapping[Key, Revision], shards: Sequence[Shard]
) -> Mapping[Shard | None, list[Key]]:
    """``keys`` by the copy that is followed (of ``shards``), ``None`` where none is."""
    copies: dict[tuple[str, int | None], Shard] = {(shard.name, shard.number): shard for shard in shards}
    by_copy: dict[Shard | None, list[Key]] = {}
    for key in keys:
        by_copy.setdefault(copies.get((lost[key].index, lost[key].shard)), []).append(key)
    return by_copy


class _Ahead:
    """Reads the first page, and from then on one at a time when told to, in a thread of its own."""

    def __init__(self, pages: Iterator[Page]) -> None:
        self._pages = _generator(pages)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._run = contextvars.copy_context().run  # a trace goes on in the other thread
        self.begin()

    def begin(self) -> None:
        """Begins to read the next page."""
        self._coming = self._pool.submit(self._run, self._next)

    def _next(self) -> Page | None:
        return next(self._pages, None)

    def take(self) -> Page | None:
        """The page that was begun, once it is there; ``None`` at the end. Raises what the reading raised."""
        return self._coming.result()

    def close(self) -> None:
        """Lets go of the reading, when it does nothing any more."""
        self._pool.shutdown()
        self._pages.close()


def _generator(pages: Iterator[Page]) -> Generator[Page, None, None]:
    yield from pages


def _pieces(lost: Mapping[Key, Revision], size: int) -> Iterator[Mapping[Key, Revision]]:
    rest = iter(lost.items())
    while piece := dict(itertools.islice(rest, size)):
        yield piece


def same(doc: Document, revision: Revision) -> bool:
    """Whether ``doc`` is at the revision that is known, as far as its numbers tell."""
    if doc.uuid != revision.uuid or doc.version != revision.version:
        return False
    if doc.shard is not None and (doc.shard != revision.shard or doc.seq_no != revision.seq_no):
        return False
    return doc.seq_no is None or revision.seq_no is None or doc.seq_no == revision.seq_no


def older(doc: Document, revision: Revision) -> bool:
    """Whether ``doc`` looks like an earlier state than the known one (or its version was set back)."""
    if doc.uuid != revision.uuid:
        return False
    if doc.seq_no is not None and revision.seq_no is not None:
        return doc.seq_no < revision.seq_no
    return doc.version < revision.version
