"""Reading documents and telling which are news, shared by the trackers: windows, full readings, and what is gone.

What is told is what a search showed, and nothing else: searches of one copy never go back, so no state is told twice,
nor after a later one. A lookup in realtime is ahead of them: what it says is not told, it can only speak against what a
search says. So what looks older than known is believed when a lookup has the same, and what is not shown is gone when
no lookup has it either. docs/exactness.rst has the reasons.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from esfeed.model.event import Document, Key, Revision
from esfeed.model.reads import TAKEN, DocumentPage, Resolved, Shard, StatsSnapshot
from esfeed.ports import Batch, Cluster, Known, Sweep
from esfeed.trackers.page_size import PageSizer

Found = Generator[Batch, None, int]
"""Yields batches; returns how many documents turned out changed or gone."""

_LOOKUP = 500
_IDS_PAGE = 5000


class Classified(NamedTuple):
    """What the documents of a page turn out to be, beside what is ``known`` of them.

    ``news`` are not as known; ``behind`` look older than known, or no newer than what was told deleted. ``truth`` are
    the keys whose truth the page holds. ``stamps`` are dates of known documents that are not remembered so.
    """

    news: list[Document]
    known: Mapping[Key, Revision]
    behind: list[Document]
    truth: list[Key]
    stamps: Mapping[Key, int | None]


class Comparator:
    """Reads behind one name. ``max_page_bytes`` bounds what one answer brings: pages are chosen by the average size of
    a document, on the engine's disk at first and as seen from then on; one that is too large all the same is the last
    of its size.

    ``doubt`` is set where a lookup contradicts a search, and not by being ahead of it: one of two copies lags. What was
    read then is no last word, even if nothing more happens; so whoever reads clears it before and looks at it after.
    ``went_back`` is set where a document was found as it had been before, which the same copy never shows.
    """

    def __init__(self, cluster: Cluster, known: Known, max_page_bytes: int) -> None:
        self._cluster = cluster
        self._known = known
        self.weights = PageSizer(max_page_bytes)
        self.doubt = False
        self.went_back = False

    def _pages(self, read: Callable[[int], Iterator[DocumentPage]], size: int) -> Iterator[DocumentPage]:
        """The pages of ``read(size)``, which begins anew where one was too large: what was read so far is known by
        then, and passed over. Each is read while the one before is worked on.
        """
        while True:
            with contextlib.closing(_Prefetcher(read(size))) as pages:
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
            what = self.classify(page.docs, of)
            met = self.met(of, what)
            found += len(met)
            if met or what.stamps:
                yield Batch(met, what.known, stamps=what.stamps)
        return found

    def everything(
        self,
        of: Resolved,
        now: StatsSnapshot,
        source: bool,
        learn: bool = False,
        shards: Sequence[Shard] = (),
        field: str = "",
        distrust: bool = False,
    ) -> Found:
        """What is new among all documents, then what is gone; shard by shard where ``shards`` are named.

        ``source``: read the content with the ids (many are expected to differ); otherwise it is read for those that
        differ; with ``learn`` it is not wanted at all. ``field``: the date to read with them. ``distrust``: see
        ``classify``; it needs ``source``.
        """
        found = read = 0
        size = self.weights.page(now, _IDS_PAGE) if source else _IDS_PAGE
        with self._known.sweep([index.uuid for index in of.indices]) as sweep:
            for shard in shards or (None,):

                def some(size: int, shard: Shard | None = shard) -> Iterator[DocumentPage]:
                    return self._cluster.everything(of, source, size, shard, field)

                for page in self._pages(some, size):
                    read += len(page.docs)
                    what = self.classify(page.docs, of, distrust)
                    sweep.see(what.truth)
                    met = self.met(of, what, shards, content=source or learn)
                    found += len(met)
                    total = max(page.total if shard is None else now.docs, read)
                    yield Batch(met, what.known, total=total, read=read, stamps=what.stamps)
            found += yield from self._unmet(of, sweep, shards)
        return found

    def classify(self, docs: Sequence[Document], of: Resolved, distrust: bool = False) -> Classified:
        """What these documents turn out to be. ``distrust``: equal numbers prove nothing, so all are news unless they
        look older, and their content decides.
        """
        best: dict[Key, Document] = {}
        for doc in docs:
            other = best.setdefault(doc.key, doc)
            if other is not doc and of.rank(doc.uuid) > of.rank(other.uuid):
                best[doc.key] = doc
        known = self._known.revisions(best.keys())
        buried = self._known.buried([key for key in best if key not in known])
        news: list[Document] = []
        behind: list[Document] = []
        truth: list[Key] = []
        stamps: dict[Key, int | None] = {}
        for key, doc in best.items():
            revision = known.get(key)
            if revision is not None and doc.uuid != revision.uuid and of.rank(revision.uuid) > of.rank(doc.uuid):
                continue
            truth.append(key)
            last = buried.get(key)
            if (revision is not None and older(doc, revision)) or (last is not None and not _newer(doc, last)):
                behind.append(doc)
            elif revision is None or distrust or not same(doc, revision):
                news.append(doc)
            elif doc.shard is None and (doc.stamp != revision.stamp or revision.shard is not None):
                stamps[key] = doc.stamp
        return Classified(news, known, behind, truth, stamps)

    def met(self, of: Resolved, what: Classified, shards: Sequence[Shard] = (), content: bool = True) -> list[Document]:
        """The documents of a page that are not as known. Without ``content`` the page has none, and it is read now.

        ``shards`` are the copies that are followed.
        """
        vouched = self._vouched(of, what, shards)
        self.went_back = self.went_back or bool(vouched)
        met = what.news + vouched
        return met if content else self._contents(of, met, shards)

    def _vouched(self, of: Resolved, what: Classified, shards: Sequence[Shard]) -> list[Document]:
        """Those behind that are so in realtime, too: what was known was taken back, or got a smaller version."""
        docs = {doc.key: doc for doc in what.behind}
        vouched: list[Document] = []
        for copy, keys in _by_copy(docs, docs, shards).items():
            for some in _pieces(keys, _LOOKUP):
                found = self._cluster.lookup(of, [(docs[key].uuid, key) for key in some], copy)
                for key, now in zip(some, found, strict=True):
                    if now is None or now.version == TAKEN:
                        continue  # gone, and searches will show that, too
                    if same(now, docs[key]):
                        vouched.append(docs[key])
                    elif key in what.known and not _newer(now, what.known[key]):
                        self.doubt = True
        return vouched

    def _contents(self, of: Resolved, docs: Sequence[Document], shards: Sequence[Shard]) -> list[Document]:
        """The same with content, as searches show them by now.

        One that is not shown any more is left out: what became of it was counted after the counters were read, so there
        is another look.
        """
        before = {doc.key: doc for doc in docs}
        found: dict[Key, Document] = {}
        most = self.weights.fitting(_LOOKUP)
        for copy, keys in _by_copy(before, before, shards).items():
            for some in _pieces(keys, most):
                shown = self._cluster.shown(of, some, True, copy)
                found.update((doc.key, doc) for doc in shown if doc.uuid == before[doc.key].uuid)
        back = {key for key, doc in found.items() if older(doc, before[key])}
        self.doubt = self.doubt or bool(back)
        return [_placed(found[key], doc) for key, doc in before.items() if key in found and key not in back]

    def _unmet(self, of: Resolved, sweep: Sweep, shards: Sequence[Shard]) -> Found:
        losing = sweep.missing()
        found = 0
        for lost in sweep.unseen(_LOOKUP):
            found += yield from self.missed(of, lost, losing, shards)
        return found

    def missed(self, of: Resolved, lost: Mapping[Key, Revision], losing: int, shards: Sequence[Shard] = ()) -> Found:
        """What became of the known documents ``lost``, which a read did not show: gone, or there after all.

        ``losing`` is how many the whole poll misses; ``shards`` the copies that are followed.
        """
        found = 0
        for some in _pieces([*lost], _LOOKUP):
            gone, taken = self._gone(of, {key: lost[key] for key in some}, shards)
            # What took the place of another is counted itself: both were one operation.
            found += len(gone) - len(taken)
            if gone:
                yield Batch(gone=gone, losing=losing)
        return found

    def _gone(
        self, of: Resolved, lost: Mapping[Key, Revision], shards: Sequence[Shard]
    ) -> tuple[list[tuple[Key, Revision]], set[Key]]:
        """(gone, those of the gone whose place another document has)."""
        there: dict[Key, Document] = {}
        taken: set[Key] = set()
        for copy, keys in _by_copy(lost, lost, shards).items():
            for index in of.indices:
                wanted = [(index.uuid, key) for key in keys if key.within in (None, index.within)]
                if wanted:
                    found = self._cluster.lookup(of, wanted, copy)
                    # Later indices have the truth, so they overwrite earlier ones.
                    there.update((doc.key, doc) for doc in found if doc and doc.version != TAKEN)
                    taken.update(doc.key for doc in found if doc and doc.version == TAKEN)
        missing = [key for key in lost if key not in there]
        # Taken at a lookup's word alone, a document would be deleted that the next search still shows, and be created
        # again by that; so both must have lost it.
        shown: set[Key] = set()
        for copy, keys in _by_copy(missing, lost, shards).items():
            shown.update(doc.key for doc in self._cluster.shown(of, keys, False, copy))
        gone = [(key, lost[key]) for key in missing if key not in shown]
        # What is ahead of what is known is an operation like any that no refresh has shown yet.
        ahead = [key for key, doc in there.items() if _newer(doc, lost[key])]
        self.doubt = self.doubt or len(gone) + len(ahead) < len(lost)
        return gone, taken.intersection(key for key, _ in gone)


def _by_copy(
    keys: Iterable[Key], places: Mapping[Key, Document | Revision], shards: Sequence[Shard]
) -> Mapping[Shard | None, list[Key]]:
    """``keys`` by the copy that is followed (of ``shards``), ``None`` where none is."""
    copies: dict[tuple[str, int | None], Shard] = {(shard.name, shard.number): shard for shard in shards}
    by_copy: dict[Shard | None, list[Key]] = {}
    for key in keys:
        by_copy.setdefault(copies.get((places[key].index, places[key].shard)), []).append(key)
    return by_copy


class _Prefetcher:
    """Reads one page after the other; each but the first, and what follows the last, in a thread of its own when told
    to begin.
    """

    def __init__(self, pages: Iterator[DocumentPage]) -> None:
        self._pages = _generator(pages)
        self._pool: ThreadPoolExecutor | None = None
        self._run = contextvars.copy_context().run  # a trace goes on in the other thread
        self._coming: Future[DocumentPage | None] | None = None
        self._left = 0
        self._read = 0

    def begin(self) -> None:
        """Begins to read the next page, if any more is to be expected: a small reading needs no other thread."""
        if self._left > 0:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="read")
            self._coming = self._pool.submit(self._run, self._next)

    def _next(self) -> DocumentPage | None:
        return next(self._pages, None)

    def take(self) -> DocumentPage | None:
        """The next page, once it is there; ``None`` at the end. Raises what the reading raised."""
        coming, self._coming = self._coming, None
        page = self._next() if coming is None else coming.result()
        if page is not None:
            self._read += len(page.docs)
            self._left = page.total - self._read
        return page

    def close(self) -> None:
        """Lets go of the reading, when it does nothing any more."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pages.close()


def _generator(pages: Iterator[DocumentPage]) -> Generator[DocumentPage, None, None]:
    yield from pages


def _pieces(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _placed(doc: Document, before: Document) -> Document:
    """``doc``, where it was a moment ago; its date is not known where it is another version."""
    return msgspec.structs.replace(
        doc, shard=before.shard, stamp=before.stamp if doc.version == before.version else None
    )


def same(doc: Document, other: Document | Revision) -> bool:
    """Whether ``doc`` is at the revision that is known (or seen), as far as its numbers tell."""
    if doc.uuid != other.uuid or doc.version != other.version:
        return False
    if doc.shard is not None and (doc.shard != other.shard or doc.seq_no != other.seq_no):
        return False
    return doc.seq_no is None or other.seq_no is None or doc.seq_no == other.seq_no


def older(doc: Document, other: Document | Revision) -> bool:
    """Whether ``doc`` looks like an earlier state than the known (or seen) one, or its version was set back."""
    if doc.uuid != other.uuid:
        return False
    if doc.seq_no is not None and other.seq_no is not None:
        return doc.seq_no < other.seq_no
    return doc.version < other.version


def _newer(doc: Document, other: Document | Revision) -> bool:
    """Whether ``doc`` looks like a later state, or like one in another index."""
    return not (same(doc, other) or older(doc, other))
