"""The one door to HTTP: the official client, its faults made into esfeed's, and a few reads that all engines answer.

Only reads leave here. A request that may be sent twice is tried again on 429, 502, 503, 504 and connection faults; a
scroll's continuation never is, since the engine may have moved on: a second try would skip a page.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import elastic_transport
import elasticsearch
import msgspec
import tenacity

from esfeed.bounds import TooLarge
from esfeed.cluster.answers import Answers, Failed, Hit, Multi, Page, decode, page, whole
from esfeed.cluster.connection import Connection
from esfeed.cluster.dialect import Dialect, Engine, dialect
from esfeed.cluster.node import Bounds, Meter, RawSerializer, metered
from esfeed.cluster.pace import Pace
from esfeed.errors import ClusterError, Forbidden, NameGone, NameMoved, Retryable
from esfeed.event import Key

_RETRY = frozenset({429, 502, 503, 504})
_LONGEST_WAIT = 60.0
_LONGEST_WORD = 1 << 20
_KEEP = "5m"
_UNREADABLE = "illegal_state_exception"  # 2.x, of a number beyond 64 bits in a document that is not refreshed yet
_CLOSED = ("index_closed_exception", "cluster_block_exception")


class Client:
    """HTTP to one cluster, of any supported engine. Usable from many threads."""

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = connection.name
        self.meter = Meter()
        self._connection = connection
        self._sleep = sleep
        self._pace = Pace(connection.most_per_second, sleep)
        self._bounds = Bounds()
        self.known_engine: Engine | None = None
        self._client = elasticsearch.Elasticsearch(
            list(connection.hosts),
            node_class=metered(self.meter, self._bounds),
            serializers={"application/json": RawSerializer()},
            request_timeout=connection.timeout,
            max_retries=0,
            retry_on_timeout=False,
            connections_per_node=20,
            **_security(connection),
        )

    def close(self) -> None:
        """Lets go of every connection."""
        self._client.close()

    @property
    def engine(self) -> Engine:
        """What the cluster says it is; asked once."""
        if self.known_engine is None:
            self.known_engine = self._find_engine()
        return self.known_engine

    @property
    def dialect(self) -> Dialect:
        """How to speak to it."""
        return dialect(self.engine)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        repeatable: bool = True,
    ) -> bytes:
        """The answer's body. Raises ``NameGone`` for a name that is not there, ``ClusterError`` for all else."""
        if not repeatable:
            try:
                return self._once(method, path, params, body)
            except Retryable as error:
                raise ClusterError(error.message, error.mend) from error
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._connection.tries),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(Retryable),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._once, method, path, params, body)
        except Retryable as error:
            raise ClusterError(f"{error.message} ({self._connection.tries} tries)", error.mend) from error

    def _once(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> bytes:
        self._pace()
        # Only what names documents or indices can be long; what a cluster says of itself cannot.
        self._bounds.most = _LONGEST_WORD if path == "/" or path.startswith("/_nodes") else self._connection.most_bytes
        try:
            answer = self._client.perform_request(
                method, path, params=params, headers={"content-type": "application/json"}, body=body
            )
        except elasticsearch.ApiError as error:
            raise self._refused(error, path) from error
        except elastic_transport.TlsError as error:
            mend = f"set `clusters.{self.name}.ca_certs` to the CA that signed it, and `hosts` to a name on it"
            if self._connection.client_cert is not None:
                mend += ", and see that `client_cert` and `client_key` belong together"
            raise ClusterError(f"cluster {self.name!r}: no trusted TLS connection ({_short(error)})", mend) from error
        except elastic_transport.ConnectionTimeout as error:
            raise Retryable(
                f"cluster {self.name!r} did not answer within {self._connection.timeout:g} s",
                f"see its load, or raise `clusters.{self.name}.timeout`",
            ) from error
        except elastic_transport.TransportError as error:
            if isinstance(large := error.__cause__, TooLarge):
                raise ClusterError(
                    f"cluster {self.name!r} answered more than {large.most:,} bytes to {path}",
                    "lower the watch's `max_page_bytes`, if its documents are that large; else see what stands between",
                ) from error
            raise Retryable(
                f"cluster {self.name!r} cannot be reached at {', '.join(self._connection.hosts)} ({_short(error)})",
                f"start it, or correct `clusters.{self.name}.hosts`",
            ) from error
        raw = answer.body
        if not isinstance(raw, bytes):
            raise ClusterError(
                f"cluster {self.name!r} answered {str(raw)[:80]!r}, which is no JSON",
                f"`clusters.{self.name}.hosts` must be Elasticsearch or OpenSearch itself",
            )
        return raw

    def _refused(self, error: elasticsearch.ApiError, path: str) -> Exception:
        status = error.status_code
        kind, reason = _reason(error.body)
        text = f"cluster {self.name!r} answered {status} to {path}: {kind or ''} {reason}".strip()
        if status in _RETRY:
            return Retryable(text, "see its load and health", _retry_after(error.meta.headers.get("retry-after")))
        if status == 401:
            return ClusterError(
                f"cluster {self.name!r} does not accept these credentials (401)",
                f"correct `clusters.{self.name}.basic_auth` or `api_key`",
            )
        if status == 403 and kind not in _CLOSED:
            return Forbidden(
                f"cluster {self.name!r} does not allow {path} (403: {reason})",
                "grant that user `read`, `view_index_metadata` and `monitor` on the watched indices, and `monitor` on "
                "the cluster, to tell its version",
            )
        named = unquote(path.split("/")[1])
        if kind == "index_not_found_exception":
            return NameGone(
                f"cluster {self.name!r} has no index or alias {named!r} ({reason})", "correct the watch's `index`"
            )
        if kind in _CLOSED:
            return NameGone(
                f"cluster {self.name!r}: something behind {named!r} cannot be read ({reason})",
                "open that index, or take it out of the watched name",
            )
        return ClusterError(text, "see the cluster's log")

    def _find_engine(self) -> Engine:
        try:
            root = json.loads(self.request("GET", "/"))
            version = root["version"]
            return _engine(version["number"], version.get("distribution") == "opensearch")
        except (ClusterError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ClusterError) and isinstance(error.__cause__, Retryable):
                raise
            return self._engine_of_node(error)

    def _engine_of_node(self, why: Exception) -> Engine:
        """The version of the node that answers: for a ``GET /`` that is missing or forbidden.

        OpenSearch counts anew from 1.0, so its version alone could be an old Elasticsearch's; but only an
        Elasticsearch as old as that tells its ``build`` and no ``build_type``.
        """
        path = "/_nodes/_local?filter_path=nodes.*.version,nodes.*.build_type"
        try:
            nodes = json.loads(self.request("GET", path))["nodes"]
            node = next(iter(nodes.values()))
            old = node["version"].split(".")[0] in ("1", "2", "3")
            return _engine(node["version"], old and "build_type" in node)
        except ClusterError as error:
            # Of two refusals the one for want of a privilege says what to do; else the first one does.
            if isinstance(why, ClusterError) and getattr(error.__cause__, "status_code", None) != 403:
                raise why from None
            raise
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            raise ClusterError(
                f"cluster {self.name!r} is neither Elasticsearch nor OpenSearch, as far as one can tell",
                f"correct `clusters.{self.name}.hosts`",
            ) from why

    def search(
        self,
        name: str,
        body: Mapping[str, Any],
        preference: str = "",
        counted: bool = False,
        read: Callable[[bytes], Page] = page,
    ) -> Page:
        """One whole page of a search behind ``name``, as ``read`` makes it; ``counted``: see ``answers.whole``."""
        params = {"preference": preference or self.dialect.preference}
        return self._page(f"/{encoded(name)}/_search", params, body, read, counted=counted)

    def pages(
        self,
        name: str,
        body: Mapping[str, Any],
        preference: str = "",
        counted: bool = False,
        read: Callable[[bytes], Page] = page,
    ) -> Iterator[Page]:
        """All pages of a search, from one snapshot: of a scroll, unless all fit into one. See ``search``."""
        first = self.search(name, body, preference, counted, read)
        if first.total <= first.count:
            yield first
        else:
            yield from self.scroll(name, body, preference, read)

    def scroll(
        self, name: str, body: Mapping[str, Any], preference: str = "", read: Callable[[bytes], Page] = page
    ) -> Iterator[Page]:
        """All pages of a search, from one snapshot, as ``read`` makes them.

        Raises ``ClusterError`` rather than skip or cut short.
        """
        params = {"preference": preference or self.dialect.preference, "scroll": _KEEP}
        page = self._page(f"/{encoded(name)}/_search", params, body, read, counted=True)
        got = 0
        total = page.total
        try:
            while page.count:
                got += page.count
                yield page
                more = {"scroll": _KEEP, "scroll_id": page.scroll_id}
                page = self._page("/_search/scroll", {}, more, read, repeatable=False, counted=True)
            if got < total:
                raise ClusterError(
                    f"a scroll ended after {got} of {total} documents",
                    "nothing was taken from it; it is read again",
                )
        finally:
            self._release(page.scroll_id)

    def _release(self, scroll_id: str | None) -> None:
        try:
            self.request("DELETE", "/_search/scroll", body={"scroll_id": [scroll_id]}, repeatable=False)
        except ClusterError:
            # It lapses by itself; the error that matters is the one that ended the scroll, if any.
            return

    def multi_search(self, searches: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Page]:
        """Whole pages of several (header, body) searches, in one request. Raises ``ClusterError`` if any one fails."""
        lines = [msgspec.json.encode(part) for search in searches for part in search]
        answer = decode(self.request("POST", "/_msearch", body=b"\n".join(lines) + b"\n"), Answers)
        if len(answer.responses) != len(searches):
            raise ClusterError(
                f"cluster {self.name!r} answered {len(answer.responses)} of {len(searches)} searches",
                "nothing was taken from it; look at what stands between",
            )
        return [self._one_of_many(raw) for raw in answer.responses]

    def _one_of_many(self, raw: msgspec.Raw) -> Page:
        failed = decode(raw, Failed)
        if failed.error is not None:
            kind, reason = _reason(bytes(raw))
            error = NameMoved if kind == "index_not_found_exception" else ClusterError
            raise error(
                f"cluster {self.name!r} failed a search: {kind}: {reason}", "it is asked again at the next poll"
            )
        return whole(decode(raw, Page))

    def _page(
        self,
        path: str,
        params: Mapping[str, Any],
        body: Mapping[str, Any],
        read: Callable[[bytes], Page],
        repeatable: bool = True,
        counted: bool = False,
    ) -> Page:
        return whole(read(self.request("POST", path, params=params, body=body, repeatable=repeatable)), counted)

    def versions(self) -> dict[str, Any]:
        """What a search body needs to bring versions, sequence numbers and an exact total."""
        asked: dict[str, Any] = {"version": True, **self.dialect.exact_total}
        if self.dialect.seq_no:
            asked["seq_no_primary_term"] = True
        return asked

    def mget(self, wanted: Sequence[tuple[str, Key]], preference: str = "") -> list[Hit]:
        """Realtime reads by (concrete index, key), no content: one hit each, in that order: ``found``, not, or with its
        ``error``.

        Realtime: it sees what no refresh has shown yet, and it asks the copy that knows. Raises ``NameMoved`` where an
        index is not there any more, ``ClusterError`` where a shard does not answer or an answer is missing.
        """
        known = self.dialect
        docs: list[dict[str, Any]] = []
        for index, key in wanted:
            doc: dict[str, Any] = {"_index": index, "_id": key.id, "_source": False}
            doc[known.stored_key] = ["_routing", "_parent"] if known.typed else ["_routing"]
            if known.typed:
                doc["_type"] = key.type
            if key.routing is not None:
                doc[known.routing_key] = key.routing
            docs.append(doc)
        preference = preference or known.lookup_preference
        params = {"preference": preference} if preference else None
        answer = decode(self.request("POST", "/_mget", params=params, body={"docs": docs}), Multi)
        if [hit.id for hit in answer.docs] != [key.id for _, key in wanted]:
            raise ClusterError(
                f"cluster {self.name!r} answered {len(answer.docs)} of {len(docs)} lookups, or others than those",
                "nothing was taken from it; look at what stands between",
            )
        for hit in answer.docs:
            if hit.error is not None:
                self._check_lookup(hit)
        return answer.docs

    def _check_lookup(self, hit: Hit) -> None:
        """Raises what a failed lookup stands for, unless it is the document's own fault (see ``_UNREADABLE``)."""
        kind, reason = _reason(msgspec.json.encode({"error": hit.error}))
        if kind == "index_not_found_exception":
            raise NameMoved(f"cluster {self.name!r}: {reason}", "it is read anew at the next poll")
        if kind in _CLOSED:
            raise NameGone(
                f"cluster {self.name!r}: index {hit.index!r} is {reason}", "open it, or take it out of the watched name"
            )
        if kind != _UNREADABLE:
            raise ClusterError(
                f"cluster {self.name!r} could not look up {hit.id!r} ({kind}: {reason})",
                "nothing was taken from it, and it is asked again; see the cluster's health",
            )


def encoded(name: str) -> str:
    """An index name, alias or pattern as one segment of a path."""
    return quote(name, safe="*,-+<>")


def _security(connection: Connection) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if connection.basic_auth is not None:
        options["basic_auth"] = connection.basic_auth
    if connection.api_key is not None:
        options["api_key"] = connection.api_key
    if any(host.startswith("https:") for host in connection.hosts):
        options["verify_certs"] = connection.verify_certs
        options["ssl_show_warn"] = False
        for key in ("ca_certs", "client_cert", "client_key"):
            if (value := getattr(connection, key)) is not None:
                options[key] = value
    return options


def _engine(number: str, opensearch: bool) -> Engine:
    parts = [int(part) for part in number.split("-")[0].split(".")[:3]]
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return Engine("opensearch" if opensearch else "elasticsearch", (major, minor, patch))


_backoff = tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0, 0.2)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Retryable) and error.wait is not None:
        return min(error.wait, _LONGEST_WAIT)
    return float(_backoff(state))


def _retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, in either form (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:  # "-0000": UTC, without a word on where it came from
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _reason(body: object) -> tuple[str | None, str]:
    try:
        error = json.loads(body)["error"] if isinstance(body, bytes | str) else {}
    except (ValueError, KeyError, TypeError):
        return None, str(body)[:200]
    if not isinstance(error, dict):
        return None, str(error)[:200]
    causes = error.get("root_cause")
    cause = causes[0] if isinstance(causes, list) and causes and isinstance(causes[0], dict) else error
    kind = cause.get("type") or error.get("type")
    return kind if isinstance(kind, str) else None, str(cause.get("reason") or error.get("reason"))[:300]


def _short(error: Exception) -> str:
    """What lies under a fault of the transport, which itself says no more than "TLS error"."""
    return (str(error.__cause__ or "") or str(error)).split("\n")[0][:200]
