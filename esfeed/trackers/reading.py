"""Reading documents and telling which are news, shared by the trackers: windows, full readings, and what is gone.

A read may come from a copy that lags, and without a point in time two requests share no snapshot. So whatever looks
older than what is known, or is not there, is looked up in realtime before anybody believes it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from esfeed.event import Document, Key, Revision
from esfeed.ports import Batch, Cluster, Known, Sweep
from esfeed.reads import Page, Reading, Resolved

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
            met, known, behind, _ = self._sort_out(page, of)
            met += self._look_again(of, behind, known)
            found += len(met)
            if met:
                yield Batch(met, known)
        return found

    def everything(self, of: Resolved, now: Reading, source: bool, learn: bool = False) -> Found:
        """What is new among all documents, then what is gone.

        ``source``: read the content with the ids (many are expected to differ); otherwise it is looked up for those
        that differ; with ``learn`` it is not wanted at all.
        """
        found = read = 0
        size = self.page_size(now) if source else _IDS_PAGE
        with self._known.sweep() as sweep:
            for page in self._cluster.everything(of, source, size):
                read += len(page.docs)
                met, known, behind, truth = self._sort_out(page, of)
                sweep.see(truth)
                if not (source or learn):
                    behind += [(doc.uuid, doc.key) for doc in met]
                    met = []
                met += self._look_again(of, behind, known)
                found += len(met)
                yield Batch(met, known, total=page.total, read=read)
            found += yield from self._unmet(of, sweep)
        return found

    def _sort_out(
        self, page: Page, of: Resolved
    ) -> tuple[list[Document], Mapping[Key, Revision], list[tuple[str, Key]], list[Key]]:
        """(news, what is known of the page, what looks older than known, keys whose truth the page holds)."""
        best: dict[Key, Document] = {}
        for doc in page.docs:
            if doc.key not in best or of.rank(doc.uuid) > of.rank(best[doc.key].uuid):
                best[doc.key] = doc
        known = self._known.revisions(best.keys())
        news: list[Document] = []
        behind: list[tuple[str, Key]] = []
        truth: list[Key] = []
        for key, doc in best.items():
            revision = known.get(key)
            if revision is not None and of.rank(revision.uuid) > of.rank(doc.uuid):
                continue
            truth.append(key)
            if revision is None or not same(doc, revision):
                if revision is not None and older(doc, revision):
                    behind.append((doc.uuid, key))
                else:
                    news.append(doc)
        return news, known, behind, truth

    def _look_again(
        self, of: Resolved, wanted: Sequence[tuple[str, Key]], known: Mapping[Key, Revision]
    ) -> list[Document]:
        """Those of ``wanted`` (index uuid, key) that are there and not as known, with their content."""
        met: list[Document] = []
        for start in range(0, len(wanted), _LOOKUP):
            for doc in self._cluster.lookup(of, wanted[start : start + _LOOKUP], source=True):
                if doc is not None and not (doc.key in known and same(doc, known[doc.key])):
                    met.append(doc)
        return met

    def _unmet(self, of: Resolved, sweep: Sweep) -> Found:
        found = 0
        losing = sweep.missing()
        for lost in sweep.unseen(_LOOKUP):
            gone, met = self._confirm(of, lost)
            found += len(gone) + len(met)
            if gone or met:
                yield Batch(met, lost, gone, losing=losing)
        return found

    def _confirm(self, of: Resolved, lost: Mapping[Key, Revision]) -> tuple[list[tuple[Key, Revision]], list[Document]]:
        """Which of ``lost`` are really gone, and which are there after all but changed."""
        there: dict[Key, Document] = {}
        for index in of.indices:
            wanted = [(index.uuid, key) for key in lost if key.within in (None, index.name)]
            if wanted:
                # Later indices have the truth, so they overwrite earlier ones.
                there.update((doc.key, doc) for doc in self._cluster.lookup(of, wanted, source=False) if doc)
        gone = [(key, revision) for key, revision in lost.items() if key not in there]
        changed = [(doc.uuid, key) for key, doc in there.items() if not same(doc, lost[key])]
        return gone, self._look_again(of, changed, lost)


def same(doc: Document, revision: Revision) -> bool:
    """Whether ``doc`` is at the revision that is known, as far as its numbers tell."""
    if doc.uuid != revision.uuid or doc.version != revision.version:
        return False
    return doc.seq_no is None or revision.seq_no is None or doc.seq_no == revision.seq_no


def older(doc: Document, revision: Revision) -> bool:
    """Whether ``doc`` looks like an earlier state than the known one (or its version was set back)."""
    if doc.uuid != revision.uuid:
        return False
    if doc.seq_no is not None and revision.seq_no is not None:
        return doc.seq_no < revision.seq_no
    return doc.version < revision.version
