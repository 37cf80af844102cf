"""The fields of an index and their types, from its mapping. No I/O except one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from esfeed.cluster.client import Client
from esfeed.cluster.lots import each, encoded
from esfeed.cluster.responses import Mappings, decode
from esfeed.model.reads import BARE_DATE

_COMPUTED = ("runtime", "derived")
_DEEPEST = 100
WITHIN = " within the nested "
"""Part of the type of a field in a nested object. Such a field does not describe the document itself."""


def mapped(client: Client, name: str) -> Mapping[str, Mapping[str, str]]:
    """The fields (dotted) of each index behind ``name`` and their types; see ``ports.Cluster.mapped``."""
    known = client.dialect
    found: dict[str, Mapping[str, str]] = {}
    for raw in each(name, lambda some: client.request("GET", f"/{encoded(some)}/_mapping")):
        for index, one in decode(raw, dict[str, Mappings]).items():
            found[index] = _fields(one.mappings, known.typed, known.date_values)
    return found


def kind_of(how: Mapping[str, Any], date_values: bool) -> str:
    """The type of a field from its mapping. ``date_values``: a date without ``doc_values`` cannot be sorted or counted
    by.
    """
    kind = str(how.get("type", "object"))
    bare = date_values and how.get("doc_values") is False and kind in ("date", "date_nanos")
    return BARE_DATE if bare else kind


def _fields(mappings: Mapping[str, Any], typed: bool, date_values: bool) -> Mapping[str, str]:
    groups = [one for one in mappings.values() if isinstance(one, dict)] if typed else [mappings]
    found: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for group in groups:
        for field, how, nested in _walk(group.get("properties"), "", "", 0):
            kind = kind_of(how, date_values)
            if kind == "alias":
                aliases[field] = str(how.get("path"))
            found[field] = f"{kind}{WITHIN}{nested!r}" if nested else kind
        for part in _COMPUTED:
            computed = group.get(part)
            for field, how in computed.items() if isinstance(computed, dict) else ():
                found[field] = kind_of(how, False) if isinstance(how, dict) else "object"
    return found | {field: found.get(path, "alias") for field, path in aliases.items()}


def _walk(properties: Any, prefix: str, nested: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Every field (dotted) with its mapping, and the nested object that contains it, if any."""
    for name, how in properties.items() if isinstance(properties, dict) and depth < _DEEPEST else ():
        if not isinstance(how, dict):
            continue
        field = prefix + name
        yield field, how, nested
        within = field if how.get("type") == "nested" else nested
        yield from _walk(how.get("properties"), f"{field}.", within, depth + 1)
        yield from _walk(how.get("fields"), f"{field}.", nested, depth + 1)
