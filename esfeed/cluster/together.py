"""One request for many watches: the counters of all indices of a cluster that are due at the same time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import elastic_transport

from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.cluster.gone import cluster_uuid
from esfeed.cluster.link import Link
from esfeed.cluster.lots import encoded
from esfeed.cluster.names import resolve_each
from esfeed.cluster.shards import without_seq_no
from esfeed.cluster.stats import read_each
from esfeed.errors import ClusterError, Retryable
from esfeed.model.reads import Resolved, StatsSnapshot

_AGAIN = 60.0
"""Seconds after which a name is tried in a shared request again if it was not an open index the last time."""

LONGEST = 3600
"""The limit of names in one URL, in bytes (see ``lots``). The rest of the URL takes less than 400 bytes."""

_LEAST = 200
"""The lower bound of that limit, in bytes, to which it shrinks if a cluster is too slow."""


class SharedAnswer(NamedTuple):
    """The counters of one watch from a shared request, or its error.

    ``requests`` and ``received_bytes`` are the cost, which one of the watches bears. ``at`` is when the request was
    sent (monotonic). ``behind``: the indices behind the name and the uuid of the cluster, read after the counters.
    ``numbered``: a search after that found every document by its sequence number.
    """

    name: str
    answer: StatsSnapshot | ClusterError
    at: float
    requests: int = 0
    received_bytes: int = 0
    behind: tuple[Resolved, str] | None = None
    numbered: bool = False


class SharedCounters:
    """Sends shared requests to one cluster over ``link``. Thread-safe."""

    def __init__(
        self,
        connection: Connection,
        link: Link,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._link = link
        self._sleep = sleep
        self._monotonic = monotonic
        self._absent: dict[str, float] = {}
        self._limit = LONGEST

    def may_share(self, name: str) -> bool:
        """Whether a watched name can be part of a shared request: it looks like the name of one index."""
        if any(sign in name for sign in "*,<:") or name == "_all":
            return False
        return self._monotonic() - self._absent.get(name, float("-inf")) >= _AGAIN

    def lots(self, names: Iterable[str]) -> list[list[str]]:
        """Splits names that may be shared into lots for one request each, by the length of the URL."""
        lots: list[list[str]] = []
        size = 0
        for name in names:
            size += len(encoded(name)) + 1
            if not lots or size > self._limit:
                lots.append([])
                size = len(encoded(name)) + 1
            lots[-1].append(name)
        return lots

    def read(self, names: Sequence[str], anew: bool = False) -> list[SharedAnswer]:
        """The answers for the watches of those names. A watch without an answer sends its own request.

        ``anew``: nothing is known of these watches yet, so this also reads what is behind each name, and whether
        searches show sequence numbers. If the engine refuses the request, each watch gets the error from its own
        request. If there is no response, every watch gets that error.
        """
        at = self._monotonic()
        client = Client(self._connection, self._sleep, self._link)
        try:
            found = read_each(client, names)
        except ClusterError as error:
            if not _unanswered(error):
                return []
            self._limit = max(self._limit // 2, _LEAST)
            return [SharedAnswer(name, ClusterError(error.message, error.hint), at) for name in names]
        self._limit = min(2 * self._limit, LONGEST)
        for name in names:
            if name in found:
                self._absent.pop(name, None)
            else:
                self._absent[name] = at
        behind: Mapping[str, Resolved] = {}
        uuid, numbered = "", False
        if anew and found:
            # What fails here, each watch asks for by itself.
            with contextlib.suppress(ClusterError):
                uuid = cluster_uuid(client)
                behind = resolve_each(client, [*found])
                numbered = bool(behind) and not without_seq_no(client, _all(behind))
        requests, received_bytes = client.meter.totals()
        first = next(iter(found), None)
        return [
            SharedAnswer(
                name,
                one,
                at,
                *((requests, received_bytes) if name == first else (0, 0)),
                behind=(behind[name], uuid) if name in behind else None,
                numbered=numbered and name in behind,
            )
            for name, one in found.items()
        ]


def _all(behind: Mapping[str, Resolved]) -> Resolved:
    """Everything behind those names, as one."""
    return Resolved(",".join(behind), True, tuple(index for one in behind.values() for index in one.indices))


def _unanswered(error: ClusterError) -> bool:
    """Whether a request failed because no attempt got a response."""
    why = error.__cause__
    return isinstance(why, Retryable) and isinstance(why.__cause__, elastic_transport.TransportError)
