"""Texts that are filled from an event, such as ``"changes-{project_id}"``, for queues, topics, keys and subjects."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from pydantic import PlainValidator

from esfeed.errors import EsfeedError
from esfeed.model.event import Event
from esfeed.text.jsontext import Unreadable, exact_number, parse

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_OF_EVENT = ("op", "type", "id", "watch", "index", "routing", "route", "owner")


class TemplateFailed(EsfeedError):
    """A template has no text for an event. The message names the placeholder, and no value of the document."""


class Template:
    """A text with placeholders in braces, which are filled from an event. ``{{`` and ``}}`` stand for braces.

    A placeholder is ``op``, ``type``, ``id``, ``watch``, ``index``, ``routing``, ``route`` or ``owner`` (the project
    that owns the resource; without owners, the field with that name), or the path of a field of the document (of
    ``after``; in a delete, of ``before``): ``{project_id}``, ``{flavor.name}``. ``{doc.id}`` is a field whose name is
    one of the former. Immutable and thread-safe.
    """

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` for an unpaired brace, or a placeholder without a name."""
        self.text = text
        self._parts = _parse(text)

    @property
    def fixed(self) -> bool:
        """Whether it is the same for every event."""
        return all(isinstance(part, str) for part in self._parts)

    @property
    def fields(self) -> tuple[str, ...]:
        """The paths of the document's fields that it contains."""
        paths = [part for part in self._parts if not isinstance(part, str) and not _is_of_event(part)]
        return tuple(".".join(_in_document(path)) for path in paths)

    @property
    def of_event(self) -> frozenset[str]:
        """The placeholders that are filled from the event itself."""
        return frozenset(part[0] for part in self._parts if not isinstance(part, str) and _is_of_event(part))

    def render(self, event: Event) -> str:
        """The text for ``event``. Raises :class:`TemplateFailed` if a placeholder has no value.

        A missing field, ``null``, an empty text, an object or a list is no value.
        """
        document: Any = None
        done = []
        for part in self._parts:
            if isinstance(part, str):
                done.append(part)
                continue
            if _is_of_event(part) and (part[0] != "owner" or event.owners):
                value = _of_event(event, part[0])
            else:
                document = _document(event) if document is None else document
                value = _find(document, _in_document(part))
            done.append(self._text(part, value))
        return "".join(done)

    def _text(self, path: tuple[str, ...], value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float | str) and value != "":
            return str(value)
        if isinstance(value, Decimal) and len(text := str(value)) < _MAX_DIGITS:
            return text
        placeholder = "{" + ".".join(path) + "}"
        why = "is missing" if value is None else "is empty" if value == "" else "is not a string or number"
        raise TemplateFailed(
            f"{self.text!r} has no value for this event: {placeholder} {why}", "use a field that every event has"
        )

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def _parse(text: str) -> tuple[str | tuple[str, ...], ...]:
    parts: list[str | tuple[str, ...]] = []
    end = 0
    for match in _PLACE.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            parts.append(match[0][0])
        elif match[1] is None:
            raise ValueError(f'"{match[0]}" at character {match.start() + 1} is alone; double it for a literal brace')
        else:
            path = tuple(match[1].split("."))
            if not all(path) or match[1] != match[1].strip():
                raise ValueError(f"{match[0]} names no field; write one such as {{project_id}}")
            parts.append(path)
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def _is_of_event(path: tuple[str, ...]) -> bool:
    return len(path) == 1 and path[0] in _OF_EVENT


def _in_document(path: tuple[str, ...]) -> tuple[str, ...]:
    return path[1:] if path[0] == "doc" and len(path) > 1 else path


def _of_event(event: Event, name: str) -> str | None:
    if name in ("index", "routing"):
        return getattr(event.origin, name)  # type: ignore[no-any-return]  # both are texts or None
    return event.doc_id if name == "id" else getattr(event, name)


_MAX_DIGITS = 4300  # Python's limit for reading and writing integers
_shallow = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _document(event: Event) -> dict[str, Any]:
    """The fields of the document. Those at the top are not parsed yet, if possible."""
    raw = event.before if event.after is None else event.after
    if raw is None:
        return {}
    try:
        return _shallow.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        found = json.loads(bytes(raw).decode(errors="replace"), parse_int=_whole, parse_float=exact_number)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(digits: str) -> Any:
    return int(digits) if len(digits) < _MAX_DIGITS else ...


def _find(document: Any, path: tuple[str, ...]) -> Any:
    """The value at ``path``. A field whose own name contains the dots takes precedence over nested objects."""
    for length in range(len(path), 0, -1):
        if isinstance(document, dict) and (name := ".".join(path[:length])) in document:
            found = document[name]
            if isinstance(found, msgspec.Raw):
                try:
                    found = parse(found)
                except Unreadable:
                    return ...  # there is a value, but it cannot be written
            return found if length == len(path) else _find(found, path[length:])
    return None


def _template(value: object) -> Template:
    if isinstance(value, Template):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("write a string")
    return Template(value)


Templated = Annotated[Template, PlainValidator(_template)]
"""A setting that is a template, in compiled form."""
