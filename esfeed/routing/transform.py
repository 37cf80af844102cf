"""Transforms an event for a route: removes, hides or renames fields, and makes its subject and its route.

Everything that a sink can see is made from the transformed documents: ``before``, ``after``, ``changed``, the subject,
the route, and ``origin.updated_at``. So a removed or hidden value is nowhere in an event, in any format.

Documents are parsed only as deep as a pattern needs, and the rest keeps the bytes of the engine, so numbers keep every
digit. A name that occurs twice in an object occurs once afterwards, with the last value; otherwise it could evade a
pattern.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from esfeed.errors import EsfeedError
from esfeed.model.event import Event
from esfeed.routing.patterns import Pattern, Patterns
from esfeed.routing.template import Template, TemplateFailed
from esfeed.text.jsontext import Unreadable, json_equal, parse, text_of

Action = Literal["remove", "mask", "hash"]

_MAX_PATHS = 10_000
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode

_Fields = dict[str, msgspec.Raw]


class TransformFailed(EsfeedError):
    """A route cannot transform an event, so its sink must not receive it. The error contains no value."""


class Redaction(NamedTuple):
    """What happens to the fields that one of ``patterns`` matches. ``key`` is for ``hash``, ``mask`` for ``mask``."""

    patterns: tuple[Pattern, ...]
    action: Action
    key: bytes = b""
    mask: str = "***"

    def __repr__(self) -> str:
        return f"Redaction({self.patterns!r}, {self.action!r})"

    def of(self, value: msgspec.Raw) -> msgspec.Raw:
        """The replacement of a value."""
        if self.action == "mask":
            return msgspec.Raw(_encode(self.mask))
        try:
            text = text_of(parse(value)).encode()
        except (Unreadable, RecursionError):
            text = bytes(value)
        return msgspec.Raw(_encode(hmac.new(self.key, text, hashlib.sha256).hexdigest()))


class _Verdict(NamedTuple):
    """What happens to a field: removed, ``hidden`` or kept. ``inside``: look into an object or list, too."""

    kept: bool
    inside: bool
    hidden: Redaction | None = None


_GONE = _Verdict(kept=False, inside=False)
_KEPT = _Verdict(kept=True, inside=False)
_OBJECT, _LIST = b"{["


class Transform:
    """The transformation of one route. Thread-safe; callers see it as immutable.

    ``fields``: what to keep and remove. ``redact``: the first rule that matches a field applies. ``rename``: from a
    path to the new name of the field, in the same object; it replaces another field of that name. All paths are those
    of the original documents; ``subject`` and ``route`` are filled from the transformed ones.
    """

    def __init__(
        self,
        fields: Patterns | None = None,
        redact: Sequence[Redaction] = (),
        rename: Mapping[str, str] | None = None,
        subject: Template | None = None,
        route: Template | None = None,
    ) -> None:
        self._fields = fields or Patterns(())
        self._redact = tuple(redact)
        self._rename = dict(rename or {})
        self._subject = subject
        self._route = route
        self._whole = not (self._fields.keep or self._fields.drop or self._redact or self._rename)
        self._verdicts: dict[str, _Verdict] = {}

    def why_not(self, path: str) -> str:
        """Why a field (by its new name) has no visible value; empty if it can have one."""
        was: list[str] = []
        for name in path.split("."):
            around = ".".join(was)
            old = next((old for old, new in self._rename.items() if new == name and _around(old) == around), None)
            here = ".".join([*was, name])
            if old is None and here in self._rename:
                return f"is renamed to {self._rename[here]}"
            was.append(name if old is None else old.rpartition(".")[2])
        verdict = self._verdict(".".join(was))
        return "" if verdict.kept or verdict.inside else "is removed by fields or redact"

    def apply(self, event: Event, timestamp_field: str = "") -> Event | None:
        """The event as the sink may see it; ``None`` if nothing visible changed.

        ``timestamp_field`` is the field from which ``origin.updated_at`` was read. Raises :class:`TransformFailed` for
        a document that cannot be parsed, or a template that has no text for it.
        """
        if not self._whole:
            before, after = self._document(event.before), self._document(event.after)
            changed = self._changed(event, before, after)
            if changed == () and event.op == "updated":
                return None
            origin = event.origin
            if timestamp_field and not self._shows(timestamp_field):
                origin = msgspec.structs.replace(origin, updated_at=None)
            event = msgspec.structs.replace(
                event, before=_raw(before), after=_raw(after), changed=changed, origin=origin
            )
        if self._route is not None:
            event = msgspec.structs.replace(event, route=_text("route", self._route, event))
        if self._subject is not None:
            event = msgspec.structs.replace(event, about=_text("subject", self._subject, event))
        return event

    def _shows(self, path: str) -> bool:
        verdict = self._verdict(path)
        return verdict.kept and verdict.hidden is None

    def _verdict(self, path: str) -> _Verdict:
        found = self._verdicts.get(path)
        if found is None:
            if len(self._verdicts) >= _MAX_PATHS:  # documents choose the names of their fields, without limit
                self._verdicts.clear()
            found = self._verdicts[path] = self._judge(path)
        return found

    def _judge(self, path: str) -> _Verdict:
        keep, drop = self._fields.keep, self._fields.drop
        if any(pattern.covers(path) for pattern in drop):
            return _GONE
        rule = next((rule for rule in self._redact if any(pattern.covers(path) for pattern in rule.patterns)), None)
        if rule is not None and rule.action == "remove":
            return _GONE
        kept = not keep or any(pattern.covers(path) for pattern in keep)
        if rule is not None and kept:
            return _Verdict(kept, inside=False, hidden=rule)
        deeper = [*drop, *(pattern for rule in self._redact for pattern in rule.patterns), *(() if kept else keep)]
        inside = any(pattern.below(path) for pattern in deeper)
        inside = inside or any(old.startswith(path + ".") for old in self._rename)
        return _KEPT if kept and not inside and rule is None else _Verdict(kept, inside, rule)

    # --- documents

    def _document(self, raw: msgspec.Raw | None) -> _Fields | None:
        if raw is None:
            return None
        try:
            return self._taken_apart(raw)
        except RecursionError:
            pass
        except (msgspec.MsgspecError, UnicodeDecodeError):
            try:
                return self._taken_apart(msgspec.Raw(_repaired(bytes(raw))))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass
        raise TransformFailed("the document cannot be transformed", "it is nested too deep, or is not a JSON object")

    def _taken_apart(self, raw: msgspec.Raw, around: str = "") -> _Fields:
        shaped: _Fields = {}
        moved: _Fields = {}
        prefix = f"{around}." if around else ""
        for name, value in _object.decode(raw).items():
            path = prefix + name
            verdict = self._verdicts.get(path) or self._verdict(path)
            new = value if verdict is _KEPT else self._value(value, path, verdict)
            if new is None:
                continue
            if path in self._rename:
                moved[self._rename[path]] = new
            else:
                shaped[name] = new
        return shaped | moved if moved else shaped

    def _value(self, value: msgspec.Raw, path: str, verdict: _Verdict) -> msgspec.Raw | None:
        """The transformed value; ``None`` if it is removed."""
        if verdict.hidden is not None and verdict.kept:
            return verdict.hidden.of(value)
        kind = memoryview(value)[0] if verdict.inside else 0
        if kind == _OBJECT:
            inner = self._taken_apart(value, path)
            return msgspec.Raw(_encode(inner)) if inner or verdict.kept else None
        if kind == _LIST:
            parts = [part for one in _list.decode(value) if (part := self._value(one, path, verdict)) is not None]
            return msgspec.Raw(_encode(parts)) if parts or verdict.kept else None
        return value if verdict.kept else None

    def _changed(self, event: Event, before: _Fields | None, after: _Fields | None) -> tuple[str, ...] | None:
        if before is None or after is None:
            return event.changed and tuple(dict.fromkeys(map(self._top, filter(self._seen, event.changed))))
        names = before.keys() | after.keys() if event.changed is None else {*map(self._top, event.changed)}
        return tuple(sorted(name for name in names if not _same(before.get(name), after.get(name))))

    def _top(self, name: str) -> str:
        return self._rename.get(name, name)

    def _seen(self, name: str) -> bool:
        verdict = self._verdict(name)
        return verdict.kept or verdict.inside


def _around(path: str) -> str:
    return path.rpartition(".")[0]


def _same(one: msgspec.Raw | None, other: msgspec.Raw | None) -> bool:
    if one is None or other is None:
        return one is other
    if bytes(one) == bytes(other):
        return True
    try:
        return json_equal(parse(one), parse(other))
    except (Unreadable, RecursionError):
        return False


def _raw(fields: _Fields | None) -> msgspec.Raw | None:
    return None if fields is None else msgspec.Raw(_encode(fields))


def _text(key: str, template: Template, event: Event) -> str:
    try:
        return template.render(event)
    except TemplateFailed as error:
        raise TransformFailed(f"{key} = {error.message}", error.hint) from error


def _repaired(raw: bytes) -> bytes:
    """The text with U+FFFD for what no Unicode text can contain: half of a surrogate pair, broken UTF-8."""
    text = raw.decode("utf-8", "replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)
