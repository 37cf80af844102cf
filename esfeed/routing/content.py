"""Converts the content of an event to values that CEL can hold. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from esfeed.model.event import Event

if TYPE_CHECKING:
    import cel

Fields = frozenset[str] | None
"""Top-level fields of a document; ``None`` means all of them."""

Path = tuple[str, ...]
"""A variable and the names of the fields that lead from it to a value."""

DOCUMENTS = ("before", "after", "doc")
"""The variables that are documents."""

_PATH = re.compile(
    r"(?<![.\w])(before|after|doc)((?:\s*(?:\.\s*[A-Za-z_]\w*\b(?!\s*\()|\[\s*(?:'[^'\\]*'|\"[^\"\\]*\")\s*\]))+)"
)
_FIELD = re.compile(r"([A-Za-z_]\w*)|'([^']*)'|\"([^\"]*)\"")


_TOO_DEEP = "the document is nested too deep for CEL"


class Unreadable(ValueError):
    """The document cannot be converted for CEL."""


def paths_in(text: str) -> Sequence[Path]:
    """The paths of fields that an expression reads: ``after.flavor.id``, ``doc['os-ext:host']``."""
    found: dict[Path, None] = {}
    for variable, rest in _PATH.findall(text):
        found[(variable, *("".join(names) for names in _FIELD.findall(rest)))] = None
    return [*found]


def with_null(values: Mapping[str, Any], paths: Iterable[Path], name: str) -> dict[str, Any]:
    """The values with ``null`` for the field ``name`` where ``paths`` read it and it is not there.

    If no path does, an element of a list lacks it (``after.nets.exists(n, n.v == 4)``): then every map without it gets
    it. Raises ``Unreadable``.
    """
    filled = dict(values)
    if sum(_fill(filled, path, name) for path in paths):
        return filled
    try:
        return {key: _filled(value, name) if key in DOCUMENTS else value for key, value in filled.items()}
    except RecursionError:
        raise Unreadable(_TOO_DEEP) from None


def reads_null(values: Mapping[str, Any], paths: Iterable[Path]) -> bool:
    """Whether a field on one of the ``paths``, or what it belongs to, is ``null`` or not there."""
    for variable, *fields in paths:
        value = values.get(variable)
        for field in fields:
            if not isinstance(value, dict):
                break
            value = value.get(field)
        if value is None and variable in values:
            return True
    return False


def _fill(values: dict[str, Any], path: Path, name: str) -> bool:
    """Adds ``name`` to the map on the path that lacks it as the next field. Copies what it changes below ``values``."""
    holder, key = values, path[0]
    for field in path[1:]:
        value = holder.get(key)
        if not isinstance(value, dict):
            return False
        if field not in value:
            if field == name:
                holder[key] = {**value, name: None}
            return field == name
        holder[key] = dict(value)
        holder, key = holder[key], field
    return False


def _filled(value: Any, name: str) -> Any:
    """``value``, with ``name`` in every map that lacks it."""
    if isinstance(value, list):
        return [_filled(one, name) for one in value]
    if isinstance(value, dict):
        return {name: None} | {field: _filled(one, name) for field, one in value.items()}
    return value


def values_of(event: Event, needs: Mapping[str, Fields]) -> dict[str, Any]:
    """The variables that ``needs`` names, with those fields of the documents. Raises ``Unreadable``."""
    values: dict[str, Any] = {}
    for name, fields in needs.items():
        if name == "before":
            values[name] = _document(event.before, fields)
        elif name == "after":
            values[name] = _document(event.after, fields)
        elif name == "doc":
            values[name] = _document(event.before if event.after is None else event.after, fields)
        elif name == "changed":
            values[name] = None if event.changed is None else list(event.changed)
        else:
            values[name] = event.doc_id if name == "id" else getattr(event, name)
    return values


def context_of(values: Mapping[str, Any]) -> cel.Context:
    """The values as CEL reads them. Raises ``Unreadable``."""
    import cel

    try:
        return cel.Context(dict(values))
    except ValueError:
        pass
    try:
        # Beyond what CEL can hold: an integer beyond doubles, half of a surrogate pair.
        return cel.Context({name: _clean(value) for name, value in values.items()})
    except (ValueError, RecursionError):
        raise Unreadable("the document contains a value that CEL cannot represent") from None


_shallow = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _document(raw: msgspec.Raw | None, fields: Fields) -> Any:
    """The document, or those ``fields`` of it, as values that CEL can hold."""
    if raw is None:
        return None
    if fields is None:
        return _parse(bytes(raw))
    try:
        parts = _shallow.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse(bytes(raw))
    return {name: _parse(bytes(parts[name])) for name in fields if name in parts}


def _parse(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise Unreadable(_TOO_DEEP) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        # Numbers out of range and half surrogates are valid JSON, and engines store them unchanged.
        return _clean(json.loads(raw.decode(errors="replace"), parse_int=_number))
    except (ValueError, RecursionError):
        raise Unreadable("the document is not valid JSON") from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


_HALF = re.compile("[\ud800-\udfff]")


def _clean(value: Any) -> Any:
    """The value without what CEL cannot hold: integers beyond 64 bits become doubles, half surrogates become U+FFFD."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, int) and value.bit_length() > 64:
        return float(str(value)) if value.bit_length() < 10_000 else float("inf") * (1 if value > 0 else -1)
    if isinstance(value, list):
        return [_clean(part) for part in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(part) for name, part in value.items()}
    return value
