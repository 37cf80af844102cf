"""What reads of a cluster give, as values: counters of a moment, the indices behind a name, pages of documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, overload

import msgspec

from esfeed.model.event import Document
from esfeed.native import Hits


class ShardStats(msgspec.Struct, frozen=True):
    """One primary shard: operations since its copy started, which copy that is, and the refreshes of every copy.

    ``node`` holds the primary; ``refreshes`` are by node, its own among them.
    ``max_seq_no`` and ``global_checkpoint`` (which every copy has reached, and no failover takes back) are ``None``
    where the engine has no sequence numbers.

    ``history`` names the history of operations that the numbers belong to: two copies with the same one agree on all
    numbers up to the global checkpoint. ``term`` counts primaries, as far as the engine tells it here. Each is empty
    (0) where it does not.
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
    """Whether these are two histories of operations; one that nobody told may be any."""
    return bool(before and now) and before != now


class StatsSnapshot(msgspec.Struct, frozen=True):
    """What the counters said at one moment. ``shards`` by ``index/number``; ``indices`` their uuids by name.

    ``uuid`` is empty before 6.x. ``docs`` (nested ones too) and ``size_bytes`` serve to choose page sizes only.
    ``blind``: the counters may not be read, so nothing is known.
    """

    shards: dict[str, ShardStats]
    indices: dict[str, str]
    docs: int = 0
    size_bytes: int = 0
    blind: bool = False


BLIND = StatsSnapshot({}, {}, blind=True)
"""What is known where the counters may not be read."""


class Index(msgspec.Struct, frozen=True):
    """A concrete index. ``created`` is epoch milliseconds; ``shards`` the number of its primaries.

    ``refresh`` is the seconds between its scheduled refreshes, negative where there are none. ``alias`` is the one that
    leads to it where a pattern matches aliases rather than the index itself.
    """

    name: str
    uuid: str
    created: int
    shards: int
    refresh: float = 1.0
    alias: str = ""

    @property
    def within(self) -> str:
        """What a key names behind a pattern. An alias stays when another index takes this one's place."""
        return self.alias or self.name


class Resolved(msgspec.Struct, frozen=True):
    """A name and the indices behind it, oldest first. ``pattern``: the name is one, so keys name an index or alias."""

    name: str
    pattern: bool
    indices: tuple[Index, ...]

    @property
    def overlap(self) -> bool:
        """Whether one document may stand in two of the indices: while an alias leads to both."""
        spaces = {one.within if self.pattern else "" for one in self.indices}
        return len(spaces) < len(self.indices)

    def within(self, index: str) -> str | None:
        """What the keys of documents of that index name; ``None`` where the watched name is no pattern."""
        return next((one.within for one in self.indices if one.name == index), index) if self.pattern else None

    def rank(self, uuid: str) -> int:
        """Which of two indices has a document's truth where both hold it: the higher rank. -1 for none of these."""
        for index, one in enumerate(self.indices):
            if one.uuid == uuid:
                return index
        return -1


class Held(NamedTuple):
    """An index of which documents are known, and what their keys name (see ``Resolved.within``)."""

    name: str
    uuid: str
    within: str | None


class Shard(NamedTuple):
    """A shard of a concrete index (``name``), and the node whose copy of it is read."""

    name: str
    number: int
    node: str


class Tail(msgspec.Struct, frozen=True):
    """What a shard shows above a sequence number: the first ``docs``, in order, of ``total``; and how many documents
    the whole shard shows.
    """

    docs: Sequence[Document]
    total: int
    documents: int


BARE_DATE = 'date with "doc_values": false'
"""The kind of a date by which an engine can search, but neither sort nor count."""

TAKEN = -2
"""Stands for the version of a document that is gone because another one, of the same id with another routing, has its
place: one operation that made two changes."""

Span = tuple[int, int]
"""Sequence numbers, or dates in epoch milliseconds, from the first to before the second."""

Ends = tuple[int, int | None]
"""From the first to before the second; ``None``: without end."""

FAR = 1 << 43
"""The end of the dates that every engine can be asked about in milliseconds: 2248-09-26 (2.x reads 13 digits,
``date_nanos`` ends in 2262)."""

ODD: Span = (-1, 0)
"""Stands for all dates before 1970 and from ``FAR`` on, which are one bucket (-1) at every width."""


def bucket(stamp: int, bits: int) -> int:
    """The bucket of a date in epoch milliseconds, of ``bits`` bits."""
    return stamp >> bits if 0 <= stamp < FAR else -1


class Kind(NamedTuple):
    """What documents of one index (``name``) and type have in common; ``within`` as in their keys."""

    type: str
    name: str
    uuid: str
    within: str | None


class Unread(Sequence[Document]):
    """Documents of an answer that are not looked at before somebody asks for one; ``read`` gives all of them.

    ``kinds`` are those of ``hits``, in its order; ``field`` is the one whose dates it knows.
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
    """Bytes of the contents of ``docs``."""
    if isinstance(docs, Unread):
        return docs.hits.octets
    return sum(len(doc.source) for doc in docs if doc.source is not None)


class DocumentPage(msgspec.Struct, frozen=True):
    """Some of the documents of a read; ``total`` is how many the whole read has.

    ``low`` is for a backfill: the head of the log before it was read.
    """

    docs: Sequence[Document]
    total: int
    low: int = 0


class Dates(msgspec.Struct, frozen=True):
    """Documents with ``field`` in [``since``, ``until``), in epoch milliseconds (``None``: without end), and those
    without a date where ``undated``. Without ``since`` only the latter.
    """

    field: str
    since: int | None
    until: int | None = None
    undated: bool = False


class Part(msgspec.Struct, frozen=True):
    """A part of a read, about ``documents`` large: those of ``dates``, and of one ``shard`` with sequence numbers from
    the first of ``numbers`` to before the second.
    """

    documents: int
    dates: Dates
    shard: Shard | None = None
    numbers: Ends | None = None


class Dated(NamedTuple):
    """How many documents stand where: by :func:`bucket`, and without any date."""

    buckets: Mapping[int, int]
    without: int
