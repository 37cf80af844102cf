"""What is behind a watched name: concrete indices, newest last, and how the timestamp field is mapped in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from esfeed.cluster.answers import Aliases, Settings, decode
from esfeed.cluster.client import Client, encoded
from esfeed.cluster.mapping import WITHIN, mapped
from esfeed.errors import ClusterError, ConfigError, NameGone
from esfeed.reads import Index, Resolved

_UNITS = (("micros", 1e-6), ("nanos", 1e-9), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0))
DATES = ("date", "date_nanos")


def is_pattern(name: str) -> bool:
    """Whether ``name`` stands for several names (so that equal ids in two indices are two documents)."""
    return any(sign in name for sign in "*,")


def resolve(client: Client, name: str, watch: str) -> Resolved:
    """Asks what is behind ``name``. Raises ``NameGone`` for nothing, ``ConfigError`` for an alias that filters."""
    path = f"/{encoded(name)}"
    # Closed ones behind a pattern too, or their documents would look gone: to look one up there is an error.
    params = {"flat_settings": "true", "expand_wildcards": "open,closed"}
    raw = client.request("GET", f"{path}/_settings", params=params)
    settings = decode(raw, dict[str, Settings])
    if not settings:
        raise NameGone(f"cluster {client.name!r} has no index behind {name!r}", "correct the watch's `index`")
    aliases = decode(client.request("GET", f"{path}/_alias"), dict[str, Aliases])
    for index, found in aliases.items():
        for alias, how in found.aliases.items():
            narrow = "filter" in how or "search_routing" in how
            if narrow and _addresses(name, alias) and not _addresses(name, index):
                raise ConfigError(
                    f"watches.{watch}.index",
                    name,
                    f"this alias filters or routes, so what leaves it cannot be told from what is deleted; "
                    f"watch {index!r} and put the filter into a route's `where`",
                )
    pattern = is_pattern(name)
    indices = [
        _index(index, found.settings, _alias(name, index, aliases) if pattern else "")
        for index, found in settings.items()
    ]
    return Resolved(name, pattern, tuple(sorted(indices, key=lambda one: (one.created, one.name))))


def _alias(name: str, index: str, aliases: Mapping[str, Aliases]) -> str:
    """The alias by which a pattern leads to an index that it does not match itself."""
    if _addresses(name, index) or index not in aliases:
        return ""
    return min((alias for alias in aliases[index].aliases if _addresses(name, alias)), default="")


def _addresses(name: str, one: str) -> bool:
    """Whether ``name`` (with patterns, commas and exclusions) leads to the index or alias ``one`` itself."""
    found = False
    for part in name.split(","):
        excluding = part.startswith("-")
        if re.fullmatch(re.escape(part.removeprefix("-")).replace(r"\*", ".*"), one):
            found = not excluding
    return found


def _index(name: str, settings: dict[str, Any], alias: str) -> Index:
    if "index.uuid" not in settings:
        raise ClusterError(f"the settings of {name!r} lack its uuid", "look at what stands before the cluster")
    return Index(
        name,
        settings["index.uuid"],
        int(settings.get("index.creation_date", 0)),
        int(settings.get("index.number_of_shards", 1)),
        _seconds(settings.get("index.refresh_interval", "1s")),
        alias,
    )


def _seconds(text: str) -> float:
    for unit, factor in _UNITS:
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def field_types(client: Client, name: str) -> dict[str, str]:
    """The fields behind ``name`` (dotted, none within a nested one) and their types, over all indices and types.

    A field that is a date here and something else there, which no search can sort by, has both (``date and keyword``).
    """
    found: dict[str, str] = {}
    for fields in mapped(client, name).values():
        for field, kind in fields.items():
            if WITHIN not in kind:
                found[field] = _both(found.get(field, kind), kind)
    return found


def _both(kind: str, other: str) -> str:
    if kind == other or {kind, other}.isdisjoint(DATES):
        return kind
    return max(kind, other) if {kind, other} == set(DATES) else " and ".join(sorted({*kind.split(" and "), other}))
