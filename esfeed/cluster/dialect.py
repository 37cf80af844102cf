"""What differs between engines, as data: one row an engine generation, found by distribution and version.

Measured on 2.4.6, 5.6.16, 6.8.23, 7.17.28, 8.15.0, 9.2.0, OpenSearch 2.19.1 and 3.2.0; ``tests/cluster`` holds it to
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Engine:
    """What a cluster says it is."""

    distribution: str  # "elasticsearch" | "opensearch"
    version: tuple[int, int, int]

    def __str__(self) -> str:
        name = "OpenSearch" if self.distribution == "opensearch" else "Elasticsearch"
        return f"{name} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to speak to one generation of engines."""

    typed: bool
    """Documents have a ``_type`` that requests by id must name."""

    routing_key: str
    """How a document in ``_mget`` names its routing."""

    stored_key: str
    """How a request by id asks for stored fields, of which the routing is one."""

    seq_no: bool
    """A search returns ``_seq_no`` where it is asked to (``seq_no_primary_term``)."""

    exact_total: dict[str, object]
    """What a search needs to count all hits."""

    searches_lag: bool
    """``refresh.total`` counts the inner reader's refreshes (see ``ports.Cluster``); later ones tell both apart."""

    preference: str
    """Which copy of a shard to search: always the same one, so that two reads never go back in time."""

    lookup_preference: str
    """Which copy to ask for a document by id. A replica may not know yet what the primary does, if one can choose."""

    values_key: str
    """How a search asks for the indexed values of a field."""

    sort_as_date: bool
    """A sort by date takes ``numeric_type``, without which `date_nanos` of one index sorts behind `date` of another."""

    values_format: bool
    """Those can be asked for in a format; without it, a date is its epoch milliseconds."""

    date_values: bool
    """A date can be sorted and counted by only where it has ``doc_values``."""

    streams: bool = False
    """There may be data streams, and ``_resolve/index`` tells them."""


_TWO = Dialect(
    typed=True,
    routing_key="_routing",
    stored_key="fields",
    seq_no=False,
    exact_total={},
    searches_lag=False,
    preference="_primary",
    lookup_preference="_primary",
    values_key="fielddata_fields",
    sort_as_date=False,
    values_format=False,
    date_values=False,
)
_FIVE = replace(_TWO, stored_key="stored_fields", values_key="docvalue_fields", date_values=True)
_SIX = replace(_FIVE, routing_key="routing", searches_lag=True)
_SIX_SEVEN = replace(_SIX, seq_no=True, values_format=True)
_MODERN = replace(
    _SIX_SEVEN,
    typed=False,
    exact_total={"track_total_hits": True},
    searches_lag=False,
    preference="esfeed",
    lookup_preference="",
    sort_as_date=True,
)


def dialect(engine: Engine) -> Dialect:
    """The dialect of ``engine``. An engine newer than the table is spoken to like the newest known one."""
    if engine.distribution == "opensearch" or engine.version >= (7, 9):
        return replace(_MODERN, streams=True)
    if engine.version >= (7, 2):
        return _MODERN
    if engine.version >= (7,):
        return replace(_MODERN, sort_as_date=False)
    if engine.version >= (6, 7):
        return _SIX_SEVEN
    if engine.version >= (6,):
        return _SIX
    return _FIVE if engine.version >= (5,) else _TWO
