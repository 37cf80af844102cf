"""Texts with places for an event's own words, such as ``"changes-{project_id}"``: queues, topics, keys, subjects."""

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
    """A template has no text for an event; ``reason`` names the place, and no value of the document."""


class Template:
    """A text whose places, in braces, are filled from an event; ``{{`` and ``}}`` stand for braces.

    A place is ``op``, ``type``, ``id``, ``watch``, ``index``, ``routing``, ``route`` or ``owner`` (the project that has
    the resource; where the profile knows of none, the document's field of that name), else a field of the document (of
    ``after``, in a delete of ``before``), with dots into objects: ``{project_id}``, ``{flavor.name}``. A field that is
    named like one of the former is ``{doc.id}``. Immutable, for any thread.
    """

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` for a brace without its other, or a place without a name."""
        self.text = text
        self._parts = _parse(text)

    @property
    def fixed(self) -> bool:
        """Whether it is the same for every event."""
        return all(isinstance(part, str) for part in self._parts)

    @property
    def fields(self) -> tuple[str, ...]:
        """The paths of the fields of the document that it is filled from."""
        paths = [part for part in self._parts if not isinstance(part, str) and not _is_of_event(part)]
        return tuple(".".join(_in_document(path)) for path in paths)

    @property
    def of_event(self) -> frozenset[str]:
        """What it is filled with from the event itself."""
        return frozenset(part[0] for part in self._parts if not isinstance(part, str) and _is_of_event(part))

    def render(self, event: Event) -> str:
        """The text for ``event``. Raises :class:`TemplateFailed` where a place has nothing to be filled with.

        Nothing is: a field that is not there, ``null``, an empty text, an object or a list.
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
        if isinstance(value, Decimal) and len(text := str(value)) < _MOST_DIGITS:
            return text
        placeholder = "{" + ".".join(path) + "}"
        why = "is not there" if value is None else "is empty" if value == "" else "is no text or number"
        raise TemplateFailed(
            f"{self.text!r} has no text for this event: {placeholder} {why}", "name a field that all have"
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
            raise ValueError(f'"{match[0]}" at character {match.start() + 1} is alone; write it twice if it is meant')
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


_MOST_DIGITS = 4300  # Python neither reads nor writes more
_shallow = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _document(event: Event) -> dict[str, Any]:
    """The document's fields, those at the top still raw where that is possible."""
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
    return int(digits) if len(digits) < _MOST_DIGITS else ...


def _find(document: Any, path: tuple[str, ...]) -> Any:
    """The value at ``path``; a field whose name itself has dots wins over the way into objects."""
    for length in range(len(path), 0, -1):
        if isinstance(document, dict) and (name := ".".join(path[:length])) in document:
            found = document[name]
            if isinstance(found, msgspec.Raw):
                try:
                    found = parse(found)
                except Unreadable:
                    return ...  # there is something, but nothing to write
            return found if length == len(path) else _find(found, path[length:])
    return None


def _template(value: object) -> Template:
    if isinstance(value, Template):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("write a text")
    return Template(value)


Templated = Annotated[Template, PlainValidator(_template)]
"""A setting that is a template: written as text, held compiled."""
