"""Resolves a watched name into indices, newest last, and reads the types of their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from esfeed.cluster.client import Client
from esfeed.cluster.lots import each, encoded, matches
from esfeed.cluster.mapping import WITHIN, mapped
from esfeed.cluster.responses import Aliases, Behind, Settings, decode
from esfeed.errors import ClusterError, ConfigError, NameGone, NothingThere, brief
from esfeed.model.reads import Index, Resolved

_Found = TypeVar("_Found")
_UNITS = (("micros", 1e-6), ("nanos", 1e-9), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0))
_BACKING = re.compile(r"\.ds-(?P<stream>.+?)-(?:\d{4}\.\d{2}\.\d{2}-)?\d{6,}$")
"""The name of the backing index of a data stream: with a date from 7.11 on, without one on OpenSearch.
https://www.elastic.co/guide/en/elasticsearch/reference/7.17/data-streams.html#backing-indices
"""

DATES = ("date", "date_nanos")


def is_pattern(name: str) -> bool:
    """Whether ``name`` can stand for several indices, so that equal ids in two of them are two documents."""
    return any(sign in name for sign in "*,")


def stream_of(index: str) -> str:
    """The data stream that an index belongs to, from its name; empty if none."""
    backing = _BACKING.search(index)
    return backing["stream"] if backing else ""


def resolve(client: Client, name: str, watch: str) -> Resolved:
    """Reads what is behind ``name``. Raises ``NameGone``, or ``ConfigError`` for a filtered or routed alias."""
    # Closed indices too: a lookup in them fails, so their documents do not look deleted.
    params = {"flat_settings": "true", "expand_wildcards": "open,closed"}
    settings = _by_index(client, name, "_settings", Settings, params)
    if not settings:
        raise NothingThere(
            f"cluster {client.name!r} has no index behind {brief(name)!r} that these credentials may see",
            "correct `index` of the watch, or grant `view_index_metadata` on it",
        )
    if [*settings] == [name]:
        # An index itself. Nothing else can have its name, so no alias matters.
        return _concrete(name, settings[name])
    aliases, streams = _aliases(client, name, settings)
    for index, found in aliases.items():
        for alias, how in found.aliases.items():
            narrow = "filter" in how or "search_routing" in how
            if narrow and addresses(name, alias) and not addresses(name, index):
                raise ConfigError(
                    f"watches.{watch}.index",
                    name,
                    f"this alias has a filter or routing, so a document that leaves it looks like a deleted one; "
                    f"watch {index!r} and filter with `where` of a route",
                )
    pattern = is_pattern(name) or streams
    indices = [
        _index(index, found.settings, _alias(name, index, aliases) if pattern else "")
        for index, found in settings.items()
    ]
    return Resolved(name, pattern, tuple(sorted(indices, key=lambda one: (one.created, one.name))))


def _concrete(name: str, found: Settings) -> Resolved:
    """What is behind the name of an index with those settings: that index."""
    return Resolved(name, False, (_index(name, found.settings, ""),))


def resolve_each(client: Client, names: Sequence[str]) -> Mapping[str, Resolved]:
    """What is behind those of ``names`` that are indices and visible to these credentials; see ``stats.read_each``."""
    params = {"flat_settings": "true", "expand_wildcards": "open,closed", "ignore_unavailable": "true"}
    settings = _by_index(client, ",".join(names), "_settings", Settings, params)
    return {name: _concrete(name, settings[name]) for name in names if name in settings}


def _aliases(client: Client, name: str, settings: Mapping[str, Settings]) -> tuple[Mapping[str, Aliases], bool]:
    """The aliases behind ``name``, by index; and whether it leads to a data stream.

    A data stream, or an alias of one, stands for its backing indices as a pattern does: the same id in two of them is
    two documents. OpenSearch has no aliases of data streams, and Elasticsearch returns them only for the stream itself.
    """
    try:
        aliases = _by_index(client, name, "_alias", Aliases)
    except NameGone:
        if _behind_a_stream(client, name):
            return {}, True
        raise
    named = name in settings or any(name in found.aliases for found in aliases.values())
    if named or is_pattern(name) or not _behind_a_stream(client, name):
        return aliases, False
    for stream in {stream_of(index) for index in settings} - {"", name}:
        aliases |= _by_index(client, stream, "_alias", Aliases)
    return aliases, True


def _behind_a_stream(client: Client, name: str) -> bool:
    """Whether ``name``, which is no index and no alias of one, is a data stream or an alias of one."""
    if not client.dialect.streams:
        return False
    answers = each(name, lambda some: client.request("GET", f"/_resolve/index/{encoded(some)}"))
    return any(found.data_streams or found.aliases for found in (decode(raw, Behind) for raw in answers))


def _by_index(
    client: Client, name: str, what: str, kind: type[_Found], params: Mapping[str, Any] | None = None
) -> dict[str, _Found]:
    """The result of a request to each index behind ``name``, by index."""
    found: dict[str, _Found] = {}
    for raw in each(name, lambda some: client.request("GET", f"/{encoded(some)}/{what}", params=params)):
        found.update(decode(raw, dict[str, kind]))  # type: ignore[valid-type]
    return found


def _alias(name: str, index: str, aliases: Mapping[str, Aliases]) -> str:
    """The alias by which a pattern leads to an index that it does not match itself."""
    if addresses(name, index) or index not in aliases:
        return ""
    return min((alias for alias in aliases[index].aliases if addresses(name, alias)), default="")


def addresses(name: str, one: str) -> bool:
    """Whether ``name`` (with patterns, commas and exclusions) leads to the index or alias ``one`` itself."""
    found = False
    for part in name.split(","):
        excluding = part.startswith("-")
        if matches(part.removeprefix("-"), one):
            found = not excluding
    return found


def _index(name: str, settings: dict[str, Any], alias: str) -> Index:
    if "index.uuid" not in settings:
        raise ClusterError(f"the settings of {name!r} lack its uuid", "check the proxies in front of the cluster")
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
        what = f"the settings of {name!r} are not those of an engine ({error})"
        raise ClusterError(what, "check the proxies in front of the cluster") from error


def _seconds(text: str) -> float:
    for unit, factor in _UNITS:
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def field_types(client: Client, name: str) -> dict[str, str]:
    """The fields behind ``name`` (dotted, without those in nested objects) and their types, over all indices.

    A field that is a date in one index and something else in another has both types (``date and keyword``); no search
    can sort by it.
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
