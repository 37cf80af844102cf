"""What becomes of documents that a read did not show."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest

from esfeed.model.event import Document, Key, Revision
from esfeed.model.reads import TAKEN, DocumentPage, Index, Resolved, StatsSnapshot
from esfeed.trackers.comparison import Classified
from esfeed.trackers.look import Look
from esfeed.trackers.page_size import PageSizer

KEY = Key("_doc", "a")
KNOWN = Revision("u", "i", 3, 12, b"x" * 16, 0)
OF = Resolved("i", False, (Index("i", "u", 0, 1),))


class Cluster:
    """What a lookup finds, and what a search shows."""

    def __init__(self, found: Document | None, shown: Document | None) -> None:
        self._found = found
        self._shown = shown

    def lookup(self, of: Resolved, wanted: Sequence[tuple[str, Key]], copy: object = None) -> list[Document | None]:
        return [self._found for _ in wanted]

    def shown(self, of: Resolved, keys: Collection[Key], source: bool, shard: object = None) -> Collection[Document]:
        return [self._shown] if self._shown else []


def document(version: int, seq_no: int, source: bytes | None = None, uuid: str = "u") -> Document:
    return Document(KEY, "i", uuid, version, seq_no, source, shard=0)


@pytest.mark.parametrize(
    ("found", "shown", "gone", "inconclusive"),
    [
        (None, None, [KEY], False),
        (None, document(3, 12), [], True),
        (document(3, 12), None, [], True),
        (document(2, 7), None, [], True),
        (document(4, 15), None, [], False),
        (document(1, 3, uuid="of another index"), None, [], False),
    ],
    ids=["gone", "still shown", "there as known", "there, taken back", "there, ahead", "there, in another index"],
)
def test_what_was_not_shown(
    found: Document | None, shown: Document | None, gone: list[Key], inconclusive: bool
) -> None:
    """Deleted is what neither a lookup nor a search has: a lookup alone is ahead of what the next search will show.

    And nothing that only a lookup has is told: the next searches may well show a state before that one.
    """
    cluster: Any = Cluster(found, shown)
    look = Look(cluster, cluster, PageSizer(1 << 20), OF)
    batches = list(look.resolve_missing({KEY: KNOWN}, 1))
    assert [key for batch in batches for key, _ in batch.gone] == gone
    assert [doc for batch in batches for doc in batch.seen] == []
    assert look.inconclusive == inconclusive


@pytest.mark.parametrize(
    ("found", "met", "inconclusive"),
    [
        (document(2, 7), [7], False),
        (document(3, 12), [], True),
        (document(4, 15), [], False),
        (Document(KEY, "i", "u", TAKEN), [], False),
        (None, [], False),
    ],
    ids=["as shown", "as known", "ahead", "another one in its place", "gone"],
)
def test_what_looks_older_than_known(found: Document | None, met: list[int], inconclusive: bool) -> None:
    """What was taken back is told once a lookup has it, too; a search that merely lags behind tells nothing.

    Where a lookup is ahead of both, the search will show that, too, and a refresh be counted.
    """
    shown = document(2, 7, b"{}")
    cluster: Any = Cluster(found, shown)
    look = Look(cluster, cluster, PageSizer(1 << 20), OF)
    what = Classified([], {KEY: KNOWN}, [shown], [KEY], {})
    assert [doc.seq_no for doc in look.resolve_changed(what).seen] == met
    assert look.inconclusive == inconclusive


@pytest.mark.parametrize(
    ("shown", "met", "inconclusive"),
    [
        (document(4, 15, b"{}"), [15], False),
        (document(5, 16, b"{}"), [16], False),
        (document(2, 7, b"{}"), [], True),
        (document(9, 90, b"{}", "of another index"), [], False),
        (None, [], False),
    ],
    ids=["as listed", "later", "earlier", "elsewhere", "gone since"],
)
def test_a_content_is_what_a_search_shows(shown: Document | None, met: list[int], inconclusive: bool) -> None:
    """Where only ids were listed: the same document or a later one, never one before it."""
    cluster: Any = Cluster(None, shown)
    look = Look(cluster, cluster, PageSizer(1 << 20), OF)
    what = Classified([document(4, 15)], {KEY: KNOWN}, [], [KEY], {})
    found = look.resolve_changed(what, content=False).seen
    assert [(doc.seq_no, doc.source, doc.shard) for doc in found] == [(number, b"{}", 0) for number in met]
    assert look.inconclusive == inconclusive


class Pages:
    """A cluster of documents of those sizes, which cuts them into pages as asked; and a memory that knows none."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.docs = [Document(Key("_doc", str(n)), "i", "u", 1, None, b"x" * size) for n, size in enumerate(sizes)]
        self.asked: list[int] = []
        self.sizes: list[int] = []

    def everything(self, of: Resolved, source: bool, size: int, shard: object, field: str) -> Iterator[DocumentPage]:
        self.asked.append(size)
        for start in range(0, len(self.docs), size):
            docs = self.docs[start : start + size]
            self.sizes.append(sum(len(doc.source or b"") for doc in docs))
            yield DocumentPage(docs, len(self.docs))

    def revisions(self, keys: Collection[Key]) -> dict[Key, Revision]:
        return {}

    tombstoned = revisions

    def sweep(self, uuids: Collection[str]) -> Any:
        sweep = mock.MagicMock()
        sweep.__enter__().missing.return_value = 0
        sweep.__enter__().unseen.return_value = []
        return sweep


@pytest.mark.parametrize(
    "sizes",
    [
        [100] * 300,
        [100] * 50 + [30_000] * 20,
        [30_000] * 20 + [100] * 50,
        [90_000] * 3,
        [100] * 20 + [2_000_000] + [100] * 20,
    ],
    ids=["as on disk", "grows", "shrinks", "each nearly a page", "one is larger than a page may be"],
)
def test_a_page_that_is_too_large_is_the_last_of_its_size(sizes: list[int]) -> None:
    """All is read whatever the sizes are; a single document has to come whole."""
    cluster: Any = Pages(sizes)
    look = Look(cluster, cluster, PageSizer(100_000), OF)
    now = StatsSnapshot({}, {}, docs=len(sizes), size_bytes=100 * len(sizes))
    seen = {doc.key for batch in look.everything(now, source=True) for doc in batch.seen}
    assert seen == {doc.key for doc in cluster.docs}
    assert cluster.asked == sorted(set(cluster.asked), reverse=True)
    most = 100_000 if max(sizes) <= 100_000 else max(sizes)
    assert sum(size > most for size in cluster.sizes) <= len(cluster.asked) - 1
    before = len(cluster.sizes)
    assert list(look.everything(now, source=True))
    assert max(cluster.sizes[before:]) <= most


@pytest.mark.parametrize(("found", "counted"), [(None, 1), (Document(KEY, "i", "u", TAKEN), 0)])
def test_what_took_the_place_of_another_was_one_operation(found: Document | None, counted: int) -> None:
    """Two changes are told of it, and one is counted, or an operation that nobody saw would seem explained."""
    cluster: Any = Cluster(found, None)
    reading = Look(cluster, cluster, PageSizer(1 << 20), OF).resolve_missing({KEY: KNOWN}, 1)
    assert [key for key, _ in next(reading).gone] == [KEY]
    with pytest.raises(StopIteration) as over:
        next(reading)
    assert over.value.value == counted
