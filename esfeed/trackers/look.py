"""Reads documents and finds what changed, for all trackers: windows, full readings, and missing documents.

A tracker reports only what a search showed. Searches of one copy never go back, so no state is reported twice, or after
a later one. A realtime lookup is ahead of searches. Its answer is not reported; it can only contradict a search. A
document that looks older than known is believed if a lookup has the same state. A document that no search shows is gone
if no lookup has it either. docs/exactness.rst gives the reasons.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

import msgspec

from esfeed.model.event import Document, Key, Revision
from esfeed.model.reads import TAKEN, DocumentPage, Resolved, Shard, StatsSnapshot
from esfeed.model.sequences import chunks
from esfeed.ports import Batch, Cluster, Known, Sweep
from esfeed.trackers import comparison
from esfeed.trackers.comparison import Classified, newer, older, same
from esfeed.trackers.page_size import PageSizer
from esfeed.trackers.prefetch import Prefetcher

Found = Generator[Batch, None, int]
"""Yields batches; returns how many documents changed or are gone."""

_LOOKUP = 500
_IDS_PAGE = 5000


class Look:
    """One look at the documents ``of`` a name, compared with their known revisions.

    ``shards`` are the copies to read, if a tracker follows single shards. ``page_sizer`` limits the size of a response.

    ``inconclusive`` becomes true if a lookup contradicts a search without being ahead of it: one of two copies lags.
    Another look is due then, even if nothing else happens.
    """

    def __init__(
        self, cluster: Cluster, known: Known, page_sizer: PageSizer, of: Resolved, shards: Sequence[Shard] = ()
    ) -> None:
        self._cluster = cluster
        self._known = known
        self._page_sizer = page_sizer
        self.of = of
        self._shards = shards
        self.inconclusive = False

    def window(self, field: str, since: int, size: int) -> Found:
        """Finds what changed among the documents with ``field`` at or after ``since`` (epoch milliseconds)."""
        found = 0
        for page in self._pages(lambda size: self._cluster.window(self.of, field, since, size), size):
            batch = self.resolve_changed(self.classify(page.docs))
            found += len(batch.seen)
            if batch.seen or batch.stamps:
                yield batch
        return found

    def everything(
        self, now: StatsSnapshot, source: bool, learn: bool = False, field: str = "", distrust: bool = False
    ) -> Found:
        """Finds what changed among all documents, then what is gone; shard by shard if shards are named.

        ``source``: read the content with the ids, because many are expected to differ. Otherwise it is read for those
        that differ, or not at all with ``learn``. ``field``: the date to read with them. ``distrust``: see
        ``classify``; it needs ``source``.
        """
        found = read = 0
        size = self._page_sizer.initial(now, _IDS_PAGE) if source else _IDS_PAGE
        with self._known.sweep([index.uuid for index in self.of.indices]) as sweep:
            for shard in self._shards or (None,):

                def some(size: int, shard: Shard | None = shard) -> Iterator[DocumentPage]:
                    return self._cluster.everything(self.of, source, size, shard, field)

                for page in self._pages(some, size):
                    read += len(page.docs)
                    what = self.classify(page.docs, distrust)
                    sweep.see(what.met)
                    batch = self.resolve_changed(what, content=source or learn)
                    found += len(batch.seen)
                    total = max(page.total if shard is None else now.docs, read)
                    yield msgspec.structs.replace(batch, total=total, read=read)
            found += yield from self._unmet(sweep)
        return found

    def _pages(self, read: Callable[[int], Iterator[DocumentPage]], size: int) -> Iterator[DocumentPage]:
        """The pages of ``read(size)``. The next page is read while the caller works on this one.

        After a page that was too large, the reading begins again with a smaller size. The documents read so far are
        known by then, so they are skipped.
        """
        while True:
            with contextlib.closing(Prefetcher(read(size))) as pages:
                while (page := pages.take()) is not None:
                    too_large = self._page_sizer.observe(page.docs)
                    if not too_large:
                        pages.begin()
                    yield page
                    if too_large:
                        break
                else:
                    return
            size = self._page_sizer.limit(max(1, len(page.docs) // 2))

    def classify(self, docs: Sequence[Document], distrust: bool = False) -> Classified:
        """Sorts the documents of a page by whether they are at their known revision; see ``comparison.classify``."""
        best = comparison.newest(docs, self.of)
        known = self._known.revisions(best.keys())
        tombstones = self._known.tombstoned([key for key in best if key not in known])
        return comparison.classify(best, self.of, known, tombstones, distrust)

    def resolve_changed(self, what: Classified, content: bool = True) -> Batch:
        """The batch of the changed documents. If ``content`` is false, the page has no content, and it is read now."""
        vouched = self._vouched(what)
        changed = what.changed + vouched
        seen = changed if content else self._contents(changed)
        return Batch(seen, what.known, stamps=what.stamps, went_back=bool(vouched))

    def _vouched(self, what: Classified) -> list[Document]:
        """Stale documents that a lookup confirms: a newer state was taken back, or the version was set back."""
        docs = {doc.key: doc for doc in what.stale}
        vouched: list[Document] = []
        for copy, keys in self._by_copy(docs, docs).items():
            for some in chunks(keys, _LOOKUP):
                found = self._cluster.lookup(self.of, [(docs[key].uuid, key) for key in some], copy)
                for key, now in zip(some, found, strict=True):
                    if now is None or now.version == TAKEN:
                        continue  # it is gone; searches will show that, too
                    if same(now, docs[key]):
                        vouched.append(docs[key])
                    elif key in what.known and not newer(now, what.known[key]):
                        self.inconclusive = True
        return vouched

    def _contents(self, docs: Sequence[Document]) -> list[Document]:
        """The same documents with content, as searches show them now.

        A document that no search shows any more is left out. Its operation was counted after the reading of the
        counters, so another look follows.
        """
        before = {doc.key: doc for doc in docs}
        found: dict[Key, Document] = {}
        limit = self._page_sizer.limit(_LOOKUP)
        for copy, keys in self._by_copy(before, before).items():
            for some in chunks(keys, limit):
                shown = self._cluster.shown(self.of, some, True, copy)
                found.update((doc.key, doc) for doc in shown if doc.uuid == before[doc.key].uuid)
        back = {key for key, doc in found.items() if older(doc, before[key])}
        self.inconclusive = self.inconclusive or bool(back)
        return [_placed(found[key], doc) for key, doc in before.items() if key in found and key not in back]

    def _unmet(self, sweep: Sweep) -> Found:
        losing = sweep.missing()
        found = 0
        for lost in sweep.unseen(_LOOKUP):
            found += yield from self.resolve_missing(lost, losing)
        return found

    def resolve_missing(self, lost: Mapping[Key, Revision], losing: int) -> Found:
        """Finds out which of the known documents ``lost``, which a reading did not show, are gone.

        ``losing`` is how many documents the whole poll misses.
        """
        found = 0
        for some in chunks([*lost], _LOOKUP):
            gone, taken = self._gone({key: lost[key] for key in some})
            # A document that replaced another is counted itself: both were one operation.
            found += len(gone) - len(taken)
            if gone:
                yield Batch(gone=gone, losing=losing)
        return found

    def _gone(self, lost: Mapping[Key, Revision]) -> tuple[list[tuple[Key, Revision]], set[Key]]:
        """(gone documents, the keys of those that another document replaced)."""
        there: dict[Key, Document] = {}
        taken: set[Key] = set()
        for copy, keys in _by_node(self._by_copy(lost, lost)):
            wanted = [(one.uuid, key) for one in self.of.indices for key in keys if key.within in (None, one.within)]
            for some in chunks(wanted, _LOOKUP):
                found = self._cluster.lookup(self.of, some, copy)
                # A later index overrides an earlier one.
                there.update((doc.key, doc) for doc in found if doc and doc.version != TAKEN)
                taken.update(doc.key for doc in found if doc and doc.version == TAKEN)
        missing = [key for key in lost if key not in there]
        # Both a lookup and a search must miss the document. By the lookup alone, esfeed would report a delete, and a
        # create when the next search still shows the document.
        shown = {doc.key for doc in self._shown(missing, lost)}
        gone = [(key, lost[key]) for key in missing if key not in shown]
        # A document that is ahead of the known revision is an operation that no refresh has shown yet.
        ahead = [key for key, doc in there.items() if newer(doc, lost[key])]
        self.inconclusive = self.inconclusive or len(gone) + len(ahead) < len(lost)
        return gone, taken.intersection(key for key, _ in gone)

    def _shown(self, keys: Sequence[Key], positions: Mapping[Key, Revision]) -> Iterator[Document]:
        """The documents of ``keys`` that searches show, without content."""
        by_shard: dict[Shard, list[Key]] = {}
        for copy, some in self._by_copy(keys, positions).items():
            if copy is None:
                yield from self._cluster.shown(self.of, some, False)
            else:
                by_shard[copy] = some
        if by_shard:
            yield from self._cluster.shown_by_shard(self.of, by_shard)

    def _by_copy(
        self, keys: Iterable[Key], positions: Mapping[Key, Document | Revision]
    ) -> Mapping[Shard | None, list[Key]]:
        """Groups ``keys`` by the copy to read; ``None`` if no single shards are followed."""
        copies: dict[tuple[str, int | None], Shard] = {(shard.name, shard.number): shard for shard in self._shards}
        by_copy: dict[Shard | None, list[Key]] = {}
        for key in keys:
            by_copy.setdefault(copies.get((positions[key].index, positions[key].shard)), []).append(key)
        return by_copy


def _by_node(by_copy: Mapping[Shard | None, Sequence[Key]]) -> Sequence[tuple[Shard | None, Sequence[Key]]]:
    """(a copy, the keys of all copies on its node): a lookup asks a node, not a shard."""
    nodes: dict[str | None, tuple[Shard | None, list[Key]]] = {}
    for copy, keys in by_copy.items():
        nodes.setdefault(copy.node if copy else None, (copy, []))[1].extend(keys)
    return [*nodes.values()]


def _placed(doc: Document, before: Document) -> Document:
    """``doc`` with the shard of ``before``. Its date is unknown if its version is another one."""
    return msgspec.structs.replace(
        doc, shard=before.shard, stamp=before.stamp if doc.version == before.version else None
    )
