"""The results of reads of a cluster, as values: counters, the indices behind a name, pages of documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, overload

import msgspec

from esfeed.model.event import Document
from esfeed.native import Hits


class ShardStats(msgspec.Struct, frozen=True):
    """One primary shard: its operations since its copy started, which copy that is, and the refreshes of every copy.

    ``node`` has the primary; ``refreshes`` are by node, including this one. ``max_seq_no`` and ``global_checkpoint``
    (which every copy has reached, and no failover takes back) are ``None`` if the engine has no sequence numbers.

    ``history`` names the history of operations that the numbers belong to: two copies with the same history agree on
    all numbers up to the global checkpoint. ``term`` counts primaries. Each is empty (0) if the engine does not return
    it.
    """

    ops: int
    identity: str
    refreshes: tuple[tuple[str, int], ...]
    node: str = ""
    max_seq_no: int | None = None
    global_checkpoint: int | None = None
    history: str = ""
    term: int = 0


def another(before: str, now: str) -> bool:
    """Whether these are two different histories of operations. An unknown (empty) one can be any."""
    return bool(before and now) and before != now


class StatsSnapshot(msgspec.Struct, frozen=True):
    """The counters at one moment. ``shards`` by ``index/number``; ``indices`` has their uuids by name.

    ``uuid`` is empty before 6.x. ``docs`` (including nested ones) and ``size_bytes`` are only used to choose page
    sizes. ``blind``: the counters may not be read, so nothing is known.
    """

    shards: dict[str, ShardStats]
    indices: dict[str, str]
    docs: int = 0
    size_bytes: int = 0
    blind: bool = False


BLIND = StatsSnapshot({}, {}, blind=True)
"""The snapshot if the counters may not be read."""


class Index(msgspec.Struct, frozen=True):
    """A concrete index. ``created`` is epoch milliseconds; ``shards`` the number of its primaries.

    ``refresh`` is the number of seconds between scheduled refreshes, negative if there are none. ``alias`` is the alias
    that leads to it, if a pattern matches that instead of the index itself.
    """

    name: str
    uuid: str
    created: int
    shards: int
    refresh: float = 1.0
    alias: str = ""

    @property
    def within(self) -> str:
        """What keys contain behind a pattern. An alias stays the same when another index replaces this one."""
        return self.alias or self.name


class Resolved(msgspec.Struct, frozen=True):
    """A name and the indices behind it, oldest first. ``pattern``: the name is a pattern, so keys contain an index or
    alias.
    """

    name: str
    pattern: bool
    indices: tuple[Index, ...]

    @property
    def overlap(self) -> bool:
        """Whether one document can be in two of the indices, because an alias leads to both."""
        spaces = {one.within if self.pattern else "" for one in self.indices}
        return len(spaces) < len(self.indices)

    def within(self, index: str) -> str | None:
        """What the keys of documents of that index contain; ``None`` if the watched name is not a pattern."""
        return next((one.within for one in self.indices if one.name == index), index) if self.pattern else None

    def rank(self, uuid: str) -> int:
        """The rank of an index: if two have a document, the one with the higher rank is right. -1 for an
        unknown index.
        """
        for index, one in enumerate(self.indices):
            if one.uuid == uuid:
                return index
        return -1


class Held(NamedTuple):
    """An index with known documents, and what their keys contain (see ``Resolved.within``)."""

    name: str
    uuid: str
    within: str | None


class Shard(NamedTuple):
    """A shard of a concrete index (``name``), and the node whose copy of it is read."""

    name: str
    number: int
    node: str


class Tail(msgspec.Struct, frozen=True):
    """What a shard shows above a sequence number: the first ``docs`` of ``total``, in order. ``documents`` is the
    number of documents in the whole shard.
    """

    docs: Sequence[Document]
    total: int
    documents: int


BARE_DATE = 'date with "doc_values": false'
"""The type of a date that an engine can search, but neither sort nor count by."""

TAKEN = -2
"""The version of a document that is gone because another one, with the same id and another routing, replaced it. One
operation made both changes.
"""

Span = tuple[int, int]
"""Sequence numbers, or dates in epoch milliseconds, from the first (inclusive) to the second (exclusive)."""

Ends = tuple[int, int | None]
"""From the first (inclusive) to the second (exclusive); ``None``: no end."""

FAR = 1 << 43
"""The end of the dates that every engine accepts in milliseconds: 2248-09-26 (2.x reads 13 digits, ``date_nanos`` ends
in 2262).
"""

ODD: Span = (-1, 0)
"""Stands for all dates before 1970 and from ``FAR`` on, which are in one bucket (-1) at every width."""


def bucket(stamp: int, bits: int) -> int:
    """The bucket, ``bits`` bits wide, of a date in epoch milliseconds."""
    return stamp >> bits if 0 <= stamp < FAR else -1


class Kind(NamedTuple):
    """What all documents of one index (``name``) and type have in common; ``within`` as in their keys."""

    type: str
    name: str
    uuid: str
    within: str | None


class Unread(Sequence[Document]):
    """Documents of a response that stay undecoded until one is needed; ``read`` decodes all of them.

    ``kinds`` are those of ``hits``, in the same order; ``field`` is the field whose dates ``hits`` has.
    """

    def __init__(self, hits: Hits, kinds: Sequence[Kind], field: str, read: Callable[[], Sequence[Document]]) -> None:
        self.hits = hits
        self.kinds = kinds
        self.field = field
        self._read = read

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Document: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...

    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        return self._docs[index]

    def __iter__(self) -> Iterator[Document]:
        return iter(self._docs)

    @cached_property
    def _docs(self) -> Sequence[Document]:
        return self._read()


def size_bytes(docs: Sequence[Document]) -> int:
    """The size of the contents of ``docs`` in bytes."""
    if isinstance(docs, Unread):
        return docs.hits.octets
    return sum(len(doc.source) for doc in docs if doc.source is not None)


class DocumentPage(msgspec.Struct, frozen=True):
    """Some of the documents of a read; ``total`` is the number of documents of the whole read.

    ``low`` is for a backfill: the head of the log before the page was read.
    """

    docs: Sequence[Document]
    total: int
    low: int = 0


class Dates(msgspec.Struct, frozen=True):
    """Documents with ``field`` in [``since``, ``until``), in epoch milliseconds (``None``: no end). If ``undated``,
    also those without a date; without ``since``, only those.
    """

    field: str
    since: int | None
    until: int | None = None
    undated: bool = False


class Part(msgspec.Struct, frozen=True):
    """A part of a read, with about ``documents`` documents: those of ``dates``, and, with a ``shard``, those of its
    sequence numbers from the first of ``numbers`` to before the second.
    """

    documents: int
    dates: Dates
    shard: Shard | None = None
    numbers: Ends | None = None


class Dated(NamedTuple):
    """The number of documents by :func:`bucket`, and without any date."""

    buckets: Mapping[int, int]
    without: int
