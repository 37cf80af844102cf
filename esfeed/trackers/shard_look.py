"""A look at one shard by sequence number: finds what is above its watermark, and what is gone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from esfeed.model.event import Key, Revision
from esfeed.model.reads import Resolved, Shard, Span, StatsSnapshot, Tail
from esfeed.ports import Batch, Cluster, Known
from esfeed.trackers import watermarks
from esfeed.trackers.look import Look
from esfeed.trackers.page_size import PageSizer
from esfeed.trackers.watermarks import LADDER

TAIL = 1000
"""The limit of documents with content on a page."""

NO_NUMBER = 1 << 62
"""Above all sequence numbers, and within the range that engines and the store accept."""

_IDS_TAIL = 5000
_KEYS = 500


class ShardLook:
    """A look at a ``shard``. ``tail`` is its first page: the documents above its watermark.

    ``undone``: the number above which a failover may have taken back known operations; ``None`` without a failover.
    """

    def __init__(
        self,
        cluster: Cluster,
        known: Known,
        page_sizer: PageSizer,
        of: Resolved,
        shard: Shard,
        tail: Tail,
        undone: int | None,
    ) -> None:
        self.look = Look(cluster, known, page_sizer, of, [shard])
        self.shard = shard
        self.tail = tail
        self._cluster = cluster
        self._known = known
        self._page_sizer = page_sizer
        self.uuid = uuid_of(of, shard)
        self._undone = undone

    def first_page(self) -> Batch:
        """What is new in the first page."""
        self._page_sizer.observe(self.tail.docs)
        return self.look.resolve_changed(self.look.classify(self.tail.docs, self._undone is not None))

    def finished(self, found: Batch, size: int) -> bool:
        """Whether the first page, with a limit of ``size`` documents, shows everything that is new.

        It does if it holds everything above the watermark, and as many documents are known as the shard shows once
        ``found``, the batch of the page, is committed.
        """
        known = self._known.in_shard(self.uuid, self.shard.number) + _coming(found, self.uuid, self.shard.number)
        return len(self.tail.docs) < size and self._undone is None and known == self.tail.documents

    def further(self, now: StatsSnapshot, size: int) -> Iterator[Batch]:
        """What is above the first page, which is committed by now, and what a failover took back.

        What is gone, if ``differs`` after that, is found by ``descend``.
        """
        met = {doc.key for doc in self.tail.docs}
        yield from self._pages(now, size, met)
        if self._undone is not None:
            yield from self._taken_back(self._undone, met)

    @property
    def differs(self) -> bool:
        """Whether another number of documents is known than the shard showed with its first page."""
        return self._known.in_shard(self.uuid, self.shard.number) != self.tail.documents

    def _pages(self, now: StatsSnapshot, size: int, met: set[Key]) -> Iterator[Batch]:
        """What is above the first page, page by page. Adds the keys to ``met``.

        If most documents of a page are known, the next request reads only ids.
        """
        docs, distrust = self.tail.docs, self._undone is not None
        changed = len(docs)
        while len(docs) >= size:
            source = distrust or 2 * changed > len(docs)
            size = self._page_sizer.initial(now, TAIL) if source else _IDS_TAIL
            highest = docs[-1].seq_no or 0
            docs = self._cluster.tails(self.look.of, {self.shard: highest}, size, source)[self.shard].docs
            self._page_sizer.observe(docs)
            what = self.look.classify(docs, distrust)
            changed = len(what.changed)
            met.update(what.met)
            if (batch := self.look.resolve_changed(what, content=source)).seen:
                yield batch

    def _taken_back(self, above: int, met: Collection[Key]) -> Iterator[Batch]:
        """Finds what a failover took back: updates, which leave a document at an older number, and deletes.

        Compares every known document above the watermark by content: those of the pages (``met``) before, the others
        here. Counts are not enough: they are equal if a document became visible after its page was read and has the
        number of a lost operation. After this, esfeed knows at least what the shard shows.
        """
        for known in self._known.above(self.uuid, self.shard.number, above, _KEYS):
            others = {key: revision for key, revision in known.items() if key not in met}
            if not others:
                continue
            docs = self._cluster.shown(self.look.of, [*others], True, self.shard)
            if (batch := self.look.resolve_changed(self.look.classify(docs, distrust=True))).seen:
                yield batch
            missing = {key: others[key] for key in others.keys() - {doc.key for doc in docs}}
            yield from self.look.resolve_missing(missing, len(missing))
        for keys in self._known.tombstones(self.uuid, self.shard.number, _KEYS):
            docs = self._cluster.shown(self.look.of, keys, False, self.shard)
            if (batch := self.look.resolve_changed(self.look.classify(docs), content=False)).seen:
                yield batch

    def unknown(self, numbers: Sequence[int]) -> Iterator[Batch]:
        """Documents that became visible between two requests, which the next look would also find.

        Or documents that the searches of another copy than before still show.
        """
        if not numbers:
            return
        what = self.look.classify(self._cluster.numbered(self.look.of, self.shard, numbers))
        what = what._replace(changed=[], stale=what.stale + what.changed)
        if (batch := self.look.resolve_changed(what)).seen:
            yield batch


def uuid_of(of: Resolved, shard: Shard) -> str:
    """The uuid of the index of a shard."""
    return next(one.uuid for one in of.indices if one.name == shard.name)


def descend(cluster: Cluster, known: Known, page_sizer: PageSizer, looks: Sequence[ShardLook]) -> Iterator[Batch]:
    """Counts ranges of numbers of some shards that differ, wide ones first, down to the numbers that exist on one side
    only, and finds what is gone. Each step is one request for all of them.
    """
    # Not only up to the shard's largest number: after a failover, a known one can be above it.
    spans: dict[ShardLook, Sequence[Span]] = {look: [(0, NO_NUMBER)] for look in looks}
    shown: Mapping[Shard, Mapping[int, int]] = {}
    for bits in LADDER:
        if not spans:
            return
        shown = cluster.histograms(looks[0].look.of, {look.shard: some for look, some in spans.items()}, bits)
        differing = {
            look: watermarks.differing(
                known.histogram(look.uuid, look.shard.number, some, bits), shown[look.shard], bits
            )
            for look, some in spans.items()
        }
        spans = {look: some for look, some in differing.items() if some}
    for look, some in spans.items():
        yield from look.unknown([low for low, _ in some if low in shown[look.shard]])
    lost: dict[Key, Revision] = {}
    for look, some in spans.items():
        lost.update(known.at(look.uuid, look.shard.number, [low for low, _ in some]))
    together = Look(cluster, known, page_sizer, looks[0].look.of, [look.shard for look in spans])
    yield from together.resolve_missing(lost, len(lost))
    for look in spans:
        look.look.inconclusive = look.look.inconclusive or together.inconclusive


def _coming(batch: Batch, uuid: str, shard: int) -> int:
    """How many documents the batch adds to the known ones of a shard."""
    locations = [(one.uuid, one.shard) if (one := batch.known.get(doc.key)) else None for doc in batch.seen]
    return sum(location != (uuid, shard) for location in locations)
