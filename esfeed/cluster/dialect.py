"""The differences between engines, as data: one row for each generation, found by distribution and version.

Measured on 2.4.6, 5.6.16, 6.8.23, 7.17.28, 8.15.0, 9.2.0, OpenSearch 2.19.1 and 3.2.0; ``tests/cluster`` checks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Engine:
    """The distribution and version that a cluster reports."""

    distribution: str  # "elasticsearch" | "opensearch"
    version: tuple[int, int, int]

    def __str__(self) -> str:
        name = "OpenSearch" if self.distribution == "opensearch" else "Elasticsearch"
        return f"{name} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to send requests to one generation of engines."""

    typed: bool
    """Documents have a ``_type`` that requests by id must contain."""

    routing_key: str
    """The parameter for the routing of a document in ``_mget``."""

    stored_key: str
    """The parameter for stored fields in a request by id. The routing is one of them."""

    seq_no: bool
    """A search can return ``_seq_no`` (``seq_no_primary_term``)."""

    exact_total: dict[str, object]
    """What a search needs to count all hits."""

    searches_lag: bool
    """``refresh.total`` includes refreshes of the inner reader (see ``ports.Cluster``). Later engines separate them."""

    preference: str
    """Which copy of a shard to search: always the same one, so that reads never go back in time."""

    lookup_preference: str
    """Which copy to ask for a document by id, if the engine allows a choice. A replica can lag behind the primary."""

    values_key: str
    """The parameter for the indexed values of a field in a search."""

    sort_as_date: bool
    """A sort by date accepts ``numeric_type``. Without it, `date_nanos` of one index sorts after `date` of another."""

    values_format: bool
    """The indexed values can be requested in a format. Without one, a date is in epoch milliseconds."""

    date_values: bool
    """Only a date with ``doc_values`` can be sorted and counted by."""

    restored_alike: bool
    """A shard that is restored keeps the uuid of its translog, so only the time of its last recovery tells."""

    streams: bool = False
    """Data streams can exist, and ``_resolve/index`` lists them."""


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
    restored_alike=True,
)
_FIVE = replace(_TWO, stored_key="stored_fields", values_key="docvalue_fields", date_values=True, restored_alike=False)
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
    """The dialect of ``engine``. An engine newer than the table gets the newest dialect."""
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
