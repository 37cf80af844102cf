"""What becomes of documents that a read did not show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from esfeed.event import Document, Key, Revision
from esfeed.reads import Index, Resolved
from esfeed.trackers.reading import Reader

KEY = Key("_doc", "a")
KNOWN = Revision("u", "i", 3, 12, b"x" * 16, 0)
OF = Resolved("i", False, (Index("i", "u", 0, 1),))


class Cluster:
    """What a lookup finds, and what a search shows."""

    def __init__(self, found: Document | None, shown: bool) -> None:
        self._found = found
        self._shown = shown

    def lookup(self, of: Resolved, wanted: Sequence[tuple[str, Key]], source: bool) -> list[Document | None]:
        return [self._found for _ in wanted]

    def shown(self, of: Resolved, keys: Collection[Key], shard: object = None) -> Collection[Key]:
        return set(keys) if self._shown else set()


def document(version: int, seq_no: int) -> Document:
    return Document(KEY, "i", "u", version, seq_no, b"{}")


@pytest.mark.parametrize(
    ("found", "shown", "gone", "met"),
    [
        (None, False, [KEY], []),
        (None, True, [], []),
        (document(3, 12), False, [], []),
        (document(4, 15), False, [], [15]),
    ],
    ids=["gone", "gone, but searches still show it", "there as known", "there, changed"],
)
def test_what_was_not_shown(found: Document | None, shown: bool, gone: list[Key], met: list[int]) -> None:
    """Deleted is what neither a lookup nor a search has: a lookup alone is ahead of what the next search will show."""
    cluster: Any = Cluster(found, shown)
    batches = list(Reader(cluster, cluster, 1 << 20).missed(OF, {KEY: KNOWN}, 1))
    assert [key for batch in batches for key, _ in batch.gone] == gone
    assert [doc.seq_no for batch in batches for doc in batch.seen] == met
    assert all(doc.shard == KNOWN.shard for batch in batches for doc in batch.seen)
