"""Makes events of changes: what consumers receive, with a time and an id. No I/O except the clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from esfeed.changes.lines import LineTemplate
from esfeed.envelopes.cloudevents import cloudevent
from esfeed.model.event import Change, Document, Event, Origin, Revision, content_digest, event_id, one_line
from esfeed.model.times import rfc3339
from esfeed.ports import Clock, Entry, Profile
from esfeed.text.jsontext import Unreadable, parse


class EventFactory:
    """Makes the events of one watch. ``watch`` and ``cluster`` are names.

    ``field`` is the path of the date in a document, with dots; empty for none.
    """

    def __init__(self, watch: str, cluster: str, field: str, profile: Profile, clock: Clock) -> None:
        self._watch = watch
        self._cluster = cluster
        self._date = date_of(field)
        self._profile = profile
        self._owners = getattr(profile, "owners", lambda change: None)
        self._clock = clock
        plain = getattr(profile, "transparent", False)
        self._lines = LineTemplate(watch, cluster, field, self._line) if plain else None

    def entries(
        self,
        changes: Iterable[Change],
        head: int,
        copies: Mapping[tuple[str, int], str] | None = None,
        first: int = 0,
    ) -> list[Entry]:
        """One log row for each of ``changes``, for all sinks, all with the same time.

        ``head`` is the last position of the log before them; ``copies``: see ``ports.Batch``. ``first``: the position
        of the first one, if positions are assigned before the rows are in the log.
        """
        now = self._now()
        found: list[Entry] = []
        for position, change in enumerate(changes, first) if first else zip(itertools.repeat(0), changes):
            shard = change.revision.shard
            copy = copies.get((change.revision.index, shard), "") if copies and shard is not None else ""
            found.append(Entry(change.key, self._event(change, head, copy, now, position)))
        return found

    def reads(self, docs: Sequence[Document], first: int) -> list[Entry]:
        """The log rows for documents that a backfill read, from position ``first`` on."""
        return self.entries(map(_read, docs), 0, first=first)

    def lines(self, docs: Sequence[Document], first: int) -> Sequence[bytes] | None:
        """Like ``reads``, but as lines of CloudEvents, without intermediate objects.

        ``None`` if the profile has to read each document.
        """
        return None if self._lines is None else self._lines.of(docs, first, self._now())

    def _line(self, doc: Document, position: int, now: str) -> bytes:
        return cloudevent(self._event(_read(doc), 0, "", now, position)) + b"\n"

    def _now(self) -> str:
        return rfc3339(self._clock.now())

    def _event(self, change: Change, head: int, copy: str, now: str, position: int) -> Event:
        doc_id, view = self._profile.describe(change)
        body = change.after if change.after is not None else change.before
        revision = change.revision
        origin = Origin(
            self._cluster,
            revision.index,
            revision.version,
            revision.seq_no,
            None if body is None else self._date(body),
            change.key.routing,
            change.parent,
            change.snapshot,
        )
        return Event(
            event_id(self._watch, change.key, change.op, revision, head, copy),
            self._watch,
            now,
            change.op,
            change.key.type,
            doc_id,
            change.changed,
            _raw(change.before),
            _raw(change.after),
            origin,
            view,
            position,
            owners=self._owners(change),
        )


def _read(doc: Document) -> Change:
    revision = Revision(doc.uuid, doc.index, doc.version, doc.seq_no, content_digest(doc.source))
    return Change("read", doc.key, revision, after=doc.source, parent=doc.parent, snapshot=True)


def _raw(source: bytes | None) -> msgspec.Raw | None:
    return None if source is None else msgspec.Raw(one_line(source))


@cache
def date_of(field: str) -> Callable[[bytes], str | None]:
    """A function that reads the date in a document, as text; it accepts any value there, also a number.

    It parses only that ``field`` and skips the rest of a document, if the quick parser can.
    """
    if not field:
        return lambda source: None
    parts = field.split(".")
    decode = msgspec.json.Decoder(_path(parts)).decode
    # To an engine, a name with dots is the same field. The path does not contain it.
    dotted = [f"{one}.{two}".encode() for one, two in itertools.pairwise(parts)]

    def date(source: bytes) -> str | None:
        try:
            value: Any = decode(source)
            for _ in parts:
                value = getattr(value, "value", None)
            if value is None and any(name in source for name in dotted):
                value = _slowly(source, parts)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            value = _slowly(source, parts)
        return value if isinstance(value, str) else None if value is None else str(value)

    return date


def _path(parts: Sequence[str]) -> Any:
    """A type that decodes only the value at the end of a path."""
    kind: Any = Any
    for part in reversed(parts):
        kind = msgspec.defstruct("At", [("value", kind, None)], rename={"value": part}, gc=False) | None
    return kind


def _slowly(source: bytes, parts: Sequence[str]) -> Any:
    try:
        return _found(parse(source), parts)
    except (Unreadable, RecursionError):
        return None


def _found(value: Any, parts: Sequence[str]) -> Any:
    """The value at the end of a path, whose names can be joined by dots in the document; ``None`` if there is none."""
    if not parts:
        return value
    if not isinstance(value, dict):
        return None
    ways = ((".".join(parts[:length]), parts[length:]) for length in range(1, len(parts) + 1))
    inside = (_found(value[name], rest) for name, rest in ways if name in value)
    return next((one for one in inside if one is not None), None)
