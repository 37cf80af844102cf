"""Finds what changed: known revisions and seen documents in, changes out. No I/O.

The content decides. A rewrite of the same content produces no event, whatever its version, so a re-sync of unchanged
resources produces none. Bytes are compared first, and JSON values only if the bytes differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from esfeed.model.event import Change, Document, Key, Op, Revision, content_digest
from esfeed.text.jsontext import Unreadable, json_equal, parse, quick, slow, text_of

__all__ = [
    "Diff",
    "Unreadable",
    "changed_fields",
    "digest",
    "gone",
    "holds",
    "in_doubt",
    "json_equal",
    "parse",
    "revised",
    "seen",
]

_DIGEST = 16
_MEANING, _OF_DOUBLES, _OF_DOUBLES_ONCE = b"x", b"n", b"m"
"""The first byte of the digest of a value: the current one, and two of older states, which took numbers as doubles."""
_EXACT = msgspec.json.Encoder(order="sorted", decimal_format="number")
_SORTED = msgspec.json.Encoder(order="sorted")


class Diff(msgspec.Struct, frozen=True):
    """The result of a batch: the changes to report, and the revisions and contents to store in any case."""

    changes: Sequence[Change]
    revisions: Mapping[Key, Revision]
    documents: Mapping[Key, bytes]


def digest(source: bytes | None, kept: bool) -> bytes:
    """A digest of the content in 16 bytes (17 if ``kept`` is false); empty for a content that was not read.

    If the content itself is stored, the digest is of its bytes, because every difference can be examined. Otherwise it
    is of the value, with sorted keys, so that a new order of keys does not look like a change.
    """
    if source is None:
        return b""
    if kept:
        return content_digest(source)
    try:
        # Only what the quick parser reads: it rejects the numbers that the quick encoder would write as null.
        text = _EXACT.encode(quick(source))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        text = _slowly(source)
    return _MEANING + content_digest(text)


def _slowly(source: bytes) -> bytes:
    try:
        return text_of(slow(source)).encode()
    except (Unreadable, RecursionError):
        return source


def _is_digest_of_old(digest: bytes, source: bytes) -> bool:
    """Whether an earlier esfeed, which took numbers as the nearest doubles, made that digest of ``source``."""
    if digest.startswith(_OF_DOUBLES):
        try:
            return digest == _OF_DOUBLES + content_digest(_SORTED.encode(msgspec.json.decode(source)))
        except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError):
            pass
    try:
        text = json.dumps(json.loads(source), sort_keys=True).encode()
    except (ValueError, RecursionError):
        text = source
    return digest[:1] in (_OF_DOUBLES, _OF_DOUBLES_ONCE) and digest[1:] == content_digest(text)


def revised(docs: Sequence[Document], *, keep: bool) -> Sequence[Revision]:
    """The new revisions of ``docs``. ``keep``: their contents are stored from now on."""
    return [
        Revision(doc.uuid, doc.index, doc.version, doc.seq_no, digest(doc.source, keep), doc.shard, doc.stamp)
        for doc in docs
    ]


def in_doubt(docs: Sequence[Document], revisions: Sequence[Revision], known: Mapping[Key, Revision]) -> Sequence[Key]:
    """The keys of the known ``docs`` that may have changed, because the digest does not prove that they are
    the same.
    """
    return [
        doc.key
        for doc, now in zip(docs, revisions, strict=True)
        if (was := known.get(doc.key)) is not None and not _same_digest(was, now)
    ]


def seen(
    docs: Sequence[Document],
    revisions: Sequence[Revision],
    known: Mapping[Key, Revision],
    bodies: Mapping[Key, bytes],
    *,
    keep: bool,
    snapshot: bool,
) -> Diff:
    """What changed in the ``docs`` of a read, with their new ``revisions`` and the ``known`` ones.

    ``bodies``: the stored contents of the documents in doubt. ``keep``: contents are stored from now on. ``snapshot``:
    this is the first reading of a watch, so an unknown document was not created just now.
    """
    changes: list[Change] = []
    documents: dict[Key, bytes] = {}
    for doc, revision in zip(docs, revisions, strict=True):
        key, source = doc.key, doc.source
        was = known.get(key)
        if was is not None and _same_digest(was, revision) and len(was.digest) == _DIGEST:
            continue  # its stored content is the same, to the byte
        if keep and source is not None:
            documents[key] = source
        before = bodies.get(key)
        if was is not None and _same_content(was, revision, before, source):
            continue
        op: Op = "updated" if was is not None else "read" if snapshot else "created"
        changed = None if before is None else changed_fields(before, source)
        changes.append(Change(op, key, revision, before, source, changed, doc.parent, snapshot))
    # If nothing is trusted, everything is read, and most of it is unchanged. That need not be written.
    pairs = zip(docs, revisions, strict=True)
    return Diff(changes, {doc.key: now for doc, now in pairs if known.get(doc.key) != now}, documents)


def gone(lost: Sequence[tuple[Key, Revision]], bodies: Mapping[Key, bytes]) -> Sequence[Change]:
    """The deletes of documents that the cluster no longer has, with their last stored content."""
    return [Change("deleted", key, revision, before=bodies.get(key)) for key, revision in lost]


def _same_digest(was: Revision, now: Revision) -> bool:
    return bool(was.digest) and was.digest == now.digest


def _same_content(was: Revision, now: Revision, before: bytes | None, after: bytes | None) -> bool:
    if _same_digest(was, now):
        return True
    if len(was.digest) > _DIGEST and after is not None:
        # Contents are stored from now on, but this one was not yet, or its digest is of an old form.
        return was.digest == digest(after, kept=False) or _is_digest_of_old(was.digest, after)
    if before is None or after is None:
        return False
    try:
        return before == after or json_equal(parse(before), parse(after))
    except (Unreadable, RecursionError):
        return False


def holds(doc: Document, was: Revision) -> bool:
    """Whether ``doc`` is at that revision and has its content, if the content was ever read."""
    if (doc.uuid, doc.version, doc.seq_no) != (was.uuid, was.version, was.seq_no):
        return False
    (now,) = revised([doc], keep=len(was.digest) == _DIGEST)
    return not was.digest or _same_content(was, now, None, doc.source)


def changed_fields(before: bytes | None, after: bytes | None) -> tuple[str, ...] | None:
    """The top-level fields that differ, sorted; ``None`` if a content is unknown, unreadable, or not an object."""
    if before is None or after is None:
        return None
    try:
        one, other = parse(before), parse(after)
        if not isinstance(one, dict) or not isinstance(other, dict):
            return None
        return tuple(
            sorted(
                name
                for name in one.keys() | other.keys()
                if name not in one or name not in other or not json_equal(one[name], other[name])
            )
        )
    except (Unreadable, RecursionError):
        return None
