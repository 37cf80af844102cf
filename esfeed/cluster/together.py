"""One question for many watches: the counters of all indices of one cluster that are looked at in the same moment."""

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
from esfeed.cluster.stats import read_each
from esfeed.errors import ClusterError, Retryable
from esfeed.model.reads import Resolved, StatsSnapshot

_AGAIN = 60.0
"""Seconds after which a name is asked for together with others again that was no open index the last time."""

LONGEST = 3600
"""Bytes of names in one URL (see ``lots``); what else stands there is less than 400 bytes."""

_LEAST = 200
"""Bytes of names that are asked for at once at least, where a cluster is too slow for more."""


class SharedAnswer(NamedTuple):
    """The counters of one watch, or the error instead of them, as asked for together with others.

    ``requests`` and ``received_bytes`` are the cost, borne by one of the watches; ``at`` is when they were asked for
    (monotonic). ``behind``: what is behind the name, and the uuid of the cluster, asked for after the counters.
    """

    name: str
    answer: StatsSnapshot | ClusterError
    at: float
    requests: int = 0
    received_bytes: int = 0
    behind: tuple[Resolved, str] | None = None


class SharedCounters:
    """Asks one cluster over ``link``. Usable from many threads."""

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
        """Whether a watched name can be asked for together with others: one index, as far as one can tell."""
        if any(sign in name for sign in "*,<:") or name == "_all":
            return False
        return self._monotonic() - self._absent.get(name, float("-inf")) >= _AGAIN

    def lots(self, names: Iterable[str]) -> list[list[str]]:
        """Names that may be shared, in lots for one request each: as far as a URL goes."""
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
        """What is to be handed to the watches of those names; to one that is not among it, nothing.

        ``anew``: nothing is known yet of any of them, so what is behind each name is asked for as well. The engine's
        own refusals are told by each watch's own request. Where nothing answers, that is told to all.
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
        uuid = ""
        if anew and found:
            with contextlib.suppress(ClusterError):
                uuid = cluster_uuid(client)
                behind = resolve_each(client, [*found])
        requests, received_bytes = client.meter.totals()
        first = next(iter(found), None)
        return [
            SharedAnswer(
                name,
                one,
                at,
                *((requests, received_bytes) if name == first else (0, 0)),
                behind=(behind[name], uuid) if name in behind else None,
            )
            for name, one in found.items()
        ]


def _unanswered(error: ClusterError) -> bool:
    """Whether a request failed as there was no answer at all, however often it was tried."""
    why = error.__cause__
    return isinstance(why, Retryable) and isinstance(why.__cause__, elastic_transport.TransportError)
