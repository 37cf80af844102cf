"""Sends every request: the official client, with esfeed's errors, and some reads that all engines support.

All requests are reads, except ``refresh = true``. A request that can be repeated is retried after 429, 502, 503, 504
and connection errors. The continuation of a scroll is never retried, because the engine may have moved on, and a retry
would skip a page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import elastic_transport
import elasticsearch
import msgspec
import tenacity

from esfeed.cluster.connection import Connection, leads_to
from esfeed.cluster.dialect import Dialect, Engine, dialect
from esfeed.cluster.limits import Limit, Limited, Limits, refusal, without_scroll
from esfeed.cluster.link import Link
from esfeed.cluster.lots import chain, encoded
from esfeed.cluster.node import Meter
from esfeed.cluster.reasons import of_body, of_error
from esfeed.cluster.responses import Answers, Failed, SearchResponse, decode, page, whole
from esfeed.cluster.retries import between_tries
from esfeed.errors import ClusterError, Forbidden, NameGone, NameMoved, Retryable, brief
from esfeed.net.bounds import TooLarge
from esfeed.net.rate import Rate
from esfeed.net.retry_after import retry_after

_RETRY = frozenset({429, 502, 503, 504})
_LONGEST_WORD = 1 << 20
_KEEP = "5m"
_CLOSED = "index_closed_exception"
_BLOCKED = "cluster_block_exception"


class Client:
    """HTTP to one cluster, on any supported engine. Thread-safe.

    Uses ``link``, which others can share, or one of its own, which it closes.
    """

    def __init__(
        self, connection: Connection, sleep: Callable[[float], None] = time.sleep, link: Link | None = None
    ) -> None:
        self.name = connection.name
        self.meter = Meter()
        self._connection = connection
        self._sleep = sleep
        self._rate = Rate(connection.most_per_second)
        self._limits = Limits(_KEEP)
        self._link = link or Link(connection)
        self._own = link is None

    def close(self) -> None:
        """Closes every connection, unless others share them."""
        if self._own:
            self._link.close()

    @property
    def known_engine(self) -> Engine | None:
        """The engine that the cluster reports, if a request over the same link has read it."""
        return self._link.engine

    @property
    def engine(self) -> Engine:
        """The engine that the cluster reports; read once per link."""
        known = self._link.engine
        if known is None:
            # Without a lock: if a cluster hangs, each thread would wait for all threads before it.
            known = self._link.engine = self._find_engine()
        return known

    @property
    def dialect(self) -> Dialect:
        """The dialect of the engine."""
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
        """The body of the response. Raises ``NameGone`` if a name does not exist, ``ClusterError`` otherwise."""
        if not repeatable:
            try:
                return self._once(method, path, params, body)
            except Retryable as error:
                raise ClusterError(error.message, error.hint) from error
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._connection.tries),
            wait=between_tries,
            retry=tenacity.retry_if_exception_type(Retryable),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._once, method, path, params, body)
        except Retryable as error:
            raise ClusterError(f"{error.message} ({self._connection.tries} tries)", error.hint) from error

    def _once(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> bytes:
        wait, _ = self._rate.take()
        if wait:
            self._sleep(wait)
        # Only responses about documents or indices can be long.
        max_bytes = _LONGEST_WORD if path == "/" or path.startswith("/_nodes") else self._connection.max_bytes
        try:
            answer = self._link.perform(method, path, params, body, max_bytes, self.meter)
        except elasticsearch.ApiError as error:
            raise self._refused(error, path) from error
        except elastic_transport.TlsError as error:
            hint = f"set `clusters.{self.name}.ca_certs` to the CA that signed it, and `hosts` to a name on it"
            if self._connection.client_cert is not None:
                hint += ", and check that `client_key` belongs to `client_cert`"
            raise ClusterError(f"cluster {self.name!r}: no trusted TLS connection ({_short(error)})", hint) from error
        except elastic_transport.ConnectionTimeout as error:
            raise Retryable(
                f"cluster {self.name!r} did not answer within {self._connection.timeout:g} s",
                f"check its load, or raise `clusters.{self.name}.timeout`",
            ) from error
        except elastic_transport.TransportError as error:
            if isinstance(large := error.__cause__, TooLarge):
                raise ClusterError(
                    f"cluster {self.name!r} answered more than {large.max_bytes:,} bytes to {path}",
                    "lower `max_page_bytes` of the watch if documents are so large; else check the proxies in between",
                ) from error
            raise Retryable(
                f"cluster {self.name!r} cannot be reached at {', '.join(self._connection.addresses)} ({_short(error)})",
                f"start it, or correct `clusters.{self.name}.hosts`",
            ) from error
        raw = answer.body
        if not isinstance(raw, bytes):
            raise ClusterError(
                f"cluster {self.name!r} answered {str(raw)[:80]!r}, which is not JSON",
                f"set `clusters.{self.name}.hosts` to nodes of Elasticsearch or OpenSearch",
            )
        return raw

    def _refused(self, error: elasticsearch.ApiError, path: str) -> Exception:
        status = error.status_code
        kind, reason = of_body(error.body)
        named = brief(unquote(path.split("/")[1]))
        path = brief(path)
        text = f"cluster {self.name!r} answered {status} to {path}: {kind or ''} {reason}".strip()
        if isinstance(limited := refusal(text, ""), Limited):
            return limited
        if 300 <= status < 400:
            node = error.meta.node
            host = f"[{node.host}]" if ":" in node.host else node.host
            asked = f"{node.scheme}://{host}:{node.port}{node.path_prefix}{path}"
            where = leads_to(error.meta.headers.get("location") or "", asked)
            return ClusterError(
                f"cluster {self.name!r} redirects {path} to {where or 'an unreadable address'} ({status})",
                f"set `clusters.{self.name}.hosts` to the address of Elasticsearch or OpenSearch itself, without a "
                "login page in front, and with the right scheme (http or https)",
            )
        if status in _RETRY:
            wait = retry_after(error.meta.headers.get("retry-after"), datetime.now(UTC))
            return Retryable(text, "check its load and health", wait)
        if status == 401:
            return ClusterError(
                f"cluster {self.name!r} does not accept these credentials (401)",
                f"correct `clusters.{self.name}.basic_auth` or `api_key`",
            )
        if unreadable(kind):
            return NameGone(f"cluster {self.name!r}: something behind {named!r} cannot be read ({reason})", way(reason))
        if status == 403:
            return Forbidden(
                f"cluster {self.name!r} does not allow {path} (403: {reason})",
                "grant this user `read`, `view_index_metadata` and `monitor` on the watched indices, and `monitor` on "
                "the cluster, for its version (docs/secured-cluster.rst has a role for each engine)",
            )
        if kind == "index_not_found_exception":
            return NameGone(
                f"cluster {self.name!r} has no index, alias or data stream {named!r} ({reason})",
                "correct `index` of the watch",
            )
        return ClusterError(text, "check the log of the cluster")

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
        """The version of the node that answers, if ``GET /`` is missing or forbidden.

        OpenSearch versions start again at 1.0, so they can equal those of an old Elasticsearch. But such an old
        Elasticsearch returns a ``build`` and no ``build_type``.
        """
        path = "/_nodes/_local?filter_path=nodes.*.version,nodes.*.build_type"
        try:
            nodes = json.loads(self.request("GET", path))["nodes"]
            node = next(iter(nodes.values()))
            old = node["version"].split(".")[0] in ("1", "2", "3")
            return _engine(node["version"], old and "build_type" in node)
        except ClusterError as error:
            # Of two refusals, one for a missing privilege says what to do; otherwise the first one does.
            if isinstance(why, ClusterError) and getattr(error.__cause__, "status_code", None) != 403:
                raise why from None
            raise
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            raise ClusterError(
                f"cluster {self.name!r} does not answer as Elasticsearch or OpenSearch",
                f"correct `clusters.{self.name}.hosts`",
            ) from why

    def search(
        self,
        name: str,
        body: Mapping[str, Any],
        preference: str = "",
        counted: bool = False,
        read: Callable[[bytes], SearchResponse] = page,
    ) -> SearchResponse:
        """One complete page of a search behind ``name``, decoded by ``read``. ``counted``: see ``responses.whole``."""
        params = {"preference": preference or self.dialect.preference}
        path = f"/{encoded(name)}/_search"
        return self._limits.within(name, body, lambda some: self._page(path, params, some, read, counted=counted))

    def pages(
        self,
        name: str,
        body: Mapping[str, Any],
        preference: str = "",
        counted: bool = False,
        read: Callable[[bytes], SearchResponse] = page,
    ) -> Iterator[SearchResponse]:
        """All pages of a search, from one snapshot: a scroll, unless all fit into one page. See ``search``.

        If the list of names is too long for one request, there is one snapshot per lot.
        """
        yield from chain(name, lambda some: self._pages(some, body, preference, counted, read))

    def _pages(
        self,
        name: str,
        body: Mapping[str, Any],
        preference: str,
        counted: bool,
        read: Callable[[bytes], SearchResponse],
    ) -> Iterator[SearchResponse]:
        first = self.search(name, body, preference, counted, read)
        if first.total <= first.count:
            yield first
        else:
            yield from self._scroll(name, body, preference, read)

    def scroll(
        self, name: str, body: Mapping[str, Any], preference: str = "", read: Callable[[bytes], SearchResponse] = page
    ) -> Iterator[SearchResponse]:
        """All pages of a search, from one snapshot, decoded by ``read``; see ``pages``.

        Raises ``ClusterError`` if it cannot read all of them.
        """
        yield from chain(name, lambda some: self._scroll(some, body, preference, read))

    def _scroll(
        self, name: str, body: Mapping[str, Any], preference: str, read: Callable[[bytes], SearchResponse]
    ) -> Iterator[SearchResponse]:
        preference = preference or self.dialect.preference
        path = f"/{encoded(name)}/_search"

        def begin(some: Mapping[str, Any]) -> SearchResponse:
            params = {"preference": preference, "scroll": self._limits.keep}
            return self._page(path, params, some, read, counted=True)

        try:
            page = self._limits.within(name, body, begin)
        except Limited as error:
            if error.limit is not Limit.SCROLLS or not self.dialect.seq_no:
                raise
            yield from without_scroll(lambda some: self.search(name, some, preference, True, read), body)
            return
        got = 0
        total = page.total
        try:
            while page.count:
                got += page.count
                yield page
                more = {"scroll": self._limits.keep, "scroll_id": page.scroll_id}
                page = self._page("/_search/scroll", {}, more, read, repeatable=False, counted=True)
            if got < total:
                raise ClusterError(
                    f"a scroll ended after {got} of {total} documents",
                    "esfeed discards them and reads again",
                )
        finally:
            self._release(page.scroll_id)

    def _release(self, scroll_id: str | None) -> None:
        try:
            self.request("DELETE", "/_search/scroll", body={"scroll_id": [scroll_id]}, repeatable=False)
        except ClusterError:
            # It expires by itself. The error that ended the scroll, if any, matters more.
            return

    def multi_search(self, searches: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[SearchResponse]:
        """Complete pages of several (header, body) searches, in one request. Raises ``ClusterError`` if any fails."""
        fitted = [(header, self._limits.fitted(str(header["index"]), body)) for header, body in searches]
        lines = [msgspec.json.encode(part) for search in fitted for part in search]
        answer = decode(self.request("POST", "/_msearch", body=b"\n".join(lines) + b"\n"), Answers)
        if len(answer.responses) != len(searches):
            raise ClusterError(
                f"cluster {self.name!r} answered {len(answer.responses)} of {len(searches)} searches",
                "esfeed discards the answer; check the proxies between esfeed and the cluster",
            )
        pages = []
        for (header, body), raw in zip(searches, answer.responses, strict=True):
            try:
                pages.append(self._one_of_many(raw))
            except Limited as error:
                if not self._limits.taught(str(header["index"]), body, error):
                    raise
                return self.multi_search(searches)
        return pages

    def searches(self, searches: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[SearchResponse]:
        """Like ``multi_search``; a single one is sent as an ordinary search."""
        if len(searches) != 1:
            return self.multi_search(searches) if searches else []
        ((header, body),) = searches
        return [self.search(str(header["index"]), body, str(header["preference"]))]

    def _one_of_many(self, raw: msgspec.Raw) -> SearchResponse:
        failed = decode(raw, Failed)
        if failed.error is not None:
            kind, reason = of_error(failed.error)
            error = NameMoved if kind == "index_not_found_exception" else refusal
            raise error(
                f"cluster {self.name!r} failed a search: {kind}: {reason}",
                way(reason) if unreadable(kind) else "the next poll tries again",
            )
        return whole(decode(raw, SearchResponse))

    def _page(
        self,
        path: str,
        params: Mapping[str, Any],
        body: Mapping[str, Any],
        read: Callable[[bytes], SearchResponse],
        repeatable: bool = True,
        counted: bool = False,
    ) -> SearchResponse:
        return whole(read(self.request("POST", path, params=params, body=body, repeatable=repeatable)), counted)

    def versions(self) -> dict[str, Any]:
        """What a search body needs to return versions, sequence numbers and an exact total."""
        asked: dict[str, Any] = {"version": True, **self.dialect.exact_total}
        if self.dialect.seq_no:
            asked["seq_no_primary_term"] = True
        return asked


def way(reason: str) -> str:
    """A hint about an index that is closed or blocked, from the reason of the engine."""
    if "index metadata" in reason:
        return "remove `index.blocks.metadata` from that index, or exclude it from the watched name"
    if "index read" in reason:
        return "remove `index.blocks.read` from that index, or exclude it from the watched name"
    return "open that index, or exclude it from the watched name"


def unreadable(kind: str | None) -> bool:
    """Whether an index is closed or blocked, from the type of the error."""
    return kind in (_CLOSED, _BLOCKED)


def _engine(number: str, opensearch: bool) -> Engine:
    parts = [int(part) for part in number.split("-", maxsplit=1)[0].split(".")[:3]]
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return Engine("opensearch" if opensearch else "elasticsearch", (major, minor, patch))


def _short(error: Exception) -> str:
    """The cause of a transport error, which itself only says "TLS error" or the like."""
    return (str(error.__cause__ or "") or str(error)).split("\n")[0][:200]
