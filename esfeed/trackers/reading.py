"""Reading documents and telling which are news, shared by the trackers: windows, full readings, and what is gone.

A read may come from a copy that lags, and without a point in time two requests share no snapshot. So whatever looks
older than what is known, or is not there, is looked up in realtime before anybody believes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence

import msgspec

from esfeed.event import Document, Key, Revision
from esfeed.ports import Batch, Cluster, Known, Sweep
from esfeed.reads import Reading, Resolved, Shard

Found = Generator[Batch, None, int]
"""Yields batches; returns how many documents turned out changed or gone."""

_LOOKUP = 500
_IDS_PAGE = 5000
_LEAST_PAGE = 10
_BARE = 1 << 10


class Reader:
    """Reads behind one name. ``max_page_bytes`` bounds what one answer brings, as far as document sizes tell."""

    def __init__(self, cluster: Cluster, known: Known, max_page_bytes: int) -> None:
        self._cluster = cluster
        self._known = known
        self._max_page_bytes = max_page_bytes

    def page_size(self, now: Reading, most: int = _IDS_PAGE) -> int:
        """How many whole documents to ask for at once, from what they take on the engine's disk (deflated: a third)."""
        average = 3 * now.octets // max(now.docs, 1) + _BARE
        return max(_LEAST_PAGE, min(most, self._max_page_bytes // average))

    def window(self, of: Resolved, field: str, since: int, size: int) -> Found:
        """What is new among documents with ``field`` at or after ``since`` (epoch milliseconds)."""
        found = 0
        for page in self._cluster.window(of, field, since, size):
            met, known, behind, _ = self.sort_out(page.docs, of)
            met += self.look_again(of, behind, known)
            found += len(met)
            if met:
                yield Batch(met, known)
        return found

    def everything(
        self, of: Resolved, now: Reading, source: bool, learn: bool = False, shards: Sequence[Shard] = ()
    ) -> Found:
        """What is new among all documents, then what is gone; shard by shard where ``shards`` are named.

        ``source``: read the content with the ids (many are expected to differ); otherwise it is looked up for those
        that differ; with ``learn`` it is not wanted at all.
        """
        found = read = 0
        size = self.page_size(now) if source else _IDS_PAGE
        with self._known.sweep() as sweep:
            for shard in shards or (None,):
                for page in self._cluster.everything(of, source, size, shard):
                    read += len(page.docs)
                    met, known, behind, truth = self.sort_out(page.docs, of)
                    sweep.see(truth)
                    if not (source or learn):
                        behind, met = behind + met, []
                    met += self.look_again(of, behind, known)
                    found += len(met)
                    total = page.total if shard is None else max(now.docs, read)
                    yield Batch(met, known, total=total, read=read)
            found += yield from self._unmet(of, sweep, shards)
        return found

    def sort_out(
        self, docs: Sequence[Document], of: Resolved, distrust: bool = False
    ) -> tuple[list[Document], Mapping[Key, Revision], list[Document], list[Key]]:
        """(news, what is known of the docs, those that look older than known, keys whose truth the docs hold).

        ``distrust``: equal numbers prove nothing, so all are news, and their content decides.
        """
        best: dict[Key, Document] = {}
        for doc in docs:
            if doc.key not in best or of.rank(doc.uuid) > of.rank(best[doc.key].uuid):
                best[doc.key] = doc
        known = self._known.revisions(best.keys())
        news: list[Document] = []
        behind: list[Document] = []
        truth: list[Key] = []
        for key, doc in best.items():
            revision = known.get(key)
            if revision is not None and of.rank(revision.uuid) > of.rank(doc.uuid):
                continue
            truth.append(key)
            if revision is None or distrust:
                news.append(doc)
            elif not same(doc, revision):
                (behind if older(doc, revision) else news).append(doc)
        return news, known, behind, truth

    def look_again(self, of: Resolved, behind: Sequence[Document], known: Mapping[Key, Revision]) -> list[Document]:
        """Those of ``behind`` that are there and not as known, as they are at this moment, with their content."""
        met: list[Document] = []
        for start in range(0, len(behind), _LOOKUP):
            some = behind[start : start + _LOOKUP]
            found = self._cluster.lookup(of, [(doc.uuid, doc.key) for doc in some], source=True)
            for doc, before in zip(found, some, strict=True):
                if doc is not None and not (doc.key in known and same(doc, known[doc.key])):
                    met.append(msgspec.structs.replace(doc, shard=before.shard))
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
            gone, met = self._confirm(of, some, shards)
            found += len(gone) + len(met)
            if gone or met:
                yield Batch(met, some, gone, losing=losing)
        return found

    def _confirm(
        self, of: Resolved, lost: Mapping[Key, Revision], shards: Sequence[Shard]
    ) -> tuple[list[tuple[Key, Revision]], list[Document]]:
        there: dict[Key, Document] = {}
        for index in of.indices:
            wanted = [(index.uuid, key) for key in lost if key.within in (None, index.name)]
            if wanted:
                # Later indices have the truth, so they overwrite earlier ones.
                there.update((doc.key, doc) for doc in self._cluster.lookup(of, wanted, source=False) if doc)
        missing = [key for key in lost if key not in there]
        # A lookup is ahead of searches. Taken at its word alone, a document would be deleted that the next search still
        # shows, and be created again by that; so both must have lost it.
        shown = self._shown(of, missing, lost, shards)
        gone = [(key, lost[key]) for key in missing if key not in shown]
        placed = [msgspec.structs.replace(doc, shard=lost[key].shard) for key, doc in there.items()]
        changed = [doc for doc in placed if not same(doc, lost[doc.key])]
        return gone, self.look_again(of, changed, lost)

    def _shown(
        self, of: Resolved, missing: Sequence[Key], lost: Mapping[Key, Revision], shards: Sequence[Shard]
    ) -> set[Key]:
        """Those of ``missing`` that searches show, each asked of the copy that is followed (``shards``)."""
        copies: dict[tuple[str, int | None], Shard] = {(shard.name, shard.number): shard for shard in shards}
        by_copy: dict[Shard | None, list[Key]] = {}
        for key in missing:
            shard = copies.get((lost[key].index, lost[key].shard))
            by_copy.setdefault(shard, []).append(key)
        found: set[Key] = set()
        for copy, keys in by_copy.items():
            found.update(self._cluster.shown(of, keys, copy))
        return found


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
