"""What is behind a watched name: concrete indices, newest last, and how the timestamp field is mapped in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from esfeed.cluster.answers import Aliases, Mappings, Settings, decode
from esfeed.cluster.client import Client, encoded
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
    try:
        return Index(
            name,
            str(settings["index.uuid"]),
            int(settings.get("index.creation_date", 0)),
            int(settings.get("index.number_of_shards", 1)),
            _seconds(str(settings.get("index.refresh_interval", "1s"))),
            alias,
        )
    except (TypeError, ValueError) as error:
        what = f"the settings of {name!r} are not such as an engine has ({error})"
        raise ClusterError(what, "look at what stands before the cluster") from error


def _seconds(text: str) -> float:
    for unit, factor in _UNITS:
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def field_types(client: Client, name: str) -> dict[str, str]:
    """The fields behind ``name`` (dotted) and their types, over all indices and types; a ``date`` mapping wins."""
    found: dict[str, str] = {}
    for index in decode(client.request("GET", f"/{encoded(name)}/_mapping"), dict[str, Mappings]).values():
        mappings = index.mappings
        groups = [mappings] if "properties" in mappings else [m for m in mappings.values() if isinstance(m, dict)]
        for group in groups:
            try:
                _collect(group.get("properties", {}), "", found)
            except (TypeError, AttributeError) as error:
                what = f"the mapping of {name!r} is not such as an engine has ({error})"
                raise ClusterError(what, "look at what stands before the cluster") from error
    return found


def _collect(properties: dict[str, Any], prefix: str, found: dict[str, str]) -> None:
    for field, how in properties.items():
        kind = how.get("type", "object")
        if kind in DATES or prefix + field not in found:
            found[prefix + field] = kind
        if "properties" in how and kind != "nested":
            _collect(how["properties"], f"{prefix}{field}.", found)
