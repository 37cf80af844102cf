"""Compares documents that a search showed with their known revisions. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esfeed.model.event import Document, Key, Revision
from esfeed.model.reads import Resolved


class Classified(NamedTuple):
    """The documents of a page, compared with the ``known`` revisions.

    ``changed``: not at the known revision. ``stale``: older than known, or not newer than a reported delete. ``met``:
    the keys whose newest document is in the page. ``stamps``: new dates of documents that are otherwise unchanged.
    """

    changed: list[Document]
    known: Mapping[Key, Revision]
    stale: list[Document]
    met: list[Key]
    stamps: Mapping[Key, int | None]


def newest(docs: Sequence[Document], of: Resolved) -> Mapping[Key, Document]:
    """One document for each key. If the name leads to several indices, the one of the newest index."""
    best: dict[Key, Document] = {}
    for doc in docs:
        other = best.setdefault(doc.key, doc)
        if other is not doc and of.rank(doc.uuid) > of.rank(other.uuid):
            best[doc.key] = doc
    return best


def classify(
    docs: Mapping[Key, Document],
    of: Resolved,
    known: Mapping[Key, Revision],
    tombstones: Mapping[Key, Revision],
    distrust: bool = False,
) -> Classified:
    """Sorts documents by whether they are at their known revision.

    ``tombstones``: the last revisions of documents whose delete was reported and can be taken back. ``distrust``: equal
    numbers prove nothing, so every document that does not look older is ``changed``, and its content decides.
    """
    changed: list[Document] = []
    stale: list[Document] = []
    met: list[Key] = []
    stamps: dict[Key, int | None] = {}
    for key, doc in docs.items():
        revision = known.get(key)
        if revision is not None and doc.uuid != revision.uuid and of.rank(revision.uuid) > of.rank(doc.uuid):
            continue
        met.append(key)
        last = tombstones.get(key)
        if (revision is not None and older(doc, revision)) or (last is not None and not newer(doc, last)):
            stale.append(doc)
        elif revision is None or distrust or not same(doc, revision):
            changed.append(doc)
        elif doc.shard is None and (doc.stamp != revision.stamp or revision.shard is not None):
            stamps[key] = doc.stamp
    return Classified(changed, known, stale, met, stamps)


def same(doc: Document, other: Document | Revision) -> bool:
    """Whether ``doc`` has the index, version and sequence number of ``other``, as far as both are known."""
    if doc.uuid != other.uuid or doc.version != other.version:
        return False
    if doc.shard is not None and (doc.shard != other.shard or doc.seq_no != other.seq_no):
        return False
    return doc.seq_no is None or other.seq_no is None or doc.seq_no == other.seq_no


def older(doc: Document, other: Document | Revision) -> bool:
    """Whether ``doc`` looks like an earlier state than ``other``, or its version was set back."""
    if doc.uuid != other.uuid:
        return False
    if doc.seq_no is not None and other.seq_no is not None:
        return doc.seq_no < other.seq_no
    return doc.version < other.version


def newer(doc: Document, other: Document | Revision) -> bool:
    """Whether ``doc`` looks like a later state than ``other``, or is in another index."""
    return not (same(doc, other) or older(doc, other))
