"""Customizes the transport: how each request leaves, and what its response costs.

One ``elasticsearch`` client works with every engine from 2.4 to 9 and OpenSearch if its vendor media types are sent as
plain JSON, and the product header that it requires is added to each response.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, ClassVar, NamedTuple

import msgspec
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, Serializer, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse  # the return type of a node; the package does not export it
from elastic_transport.client_utils import DEFAULT

from esfeed.net.bounds import Bounded, tls_context, whole


class Meter:
    """Counts the requests to a cluster and the bytes of the responses, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._received_bytes = 0

    def add(self, received_bytes: int, requests: int = 1) -> None:
        """Counts one answered request (or several) with that many bytes in all."""
        with self._lock:
            self._requests += requests
            self._received_bytes += received_bytes

    def totals(self) -> tuple[int, int]:
        """(requests, bytes received) so far."""
        with self._lock:
            return self._requests, self._received_bytes


class Bounds(threading.local):
    """The limits of the current request of a thread: ``max_bytes``, and the time ``end`` (monotonic). ``meter`` counts
    it.
    """

    max_bytes = 256 << 20
    end = 0.0
    meter = Meter()

    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class _Whole(NamedTuple):
    """A response that was read completely, in the form that the transport expects."""

    status: int
    headers: Any
    data: bytes


class _Pool:
    """The connections of a node. Each request is read within its limits."""

    def __init__(self, pool: Any, bounds: Bounds) -> None:
        self._pool = pool
        self._bounds = bounds

        def new_conn(connection: Any) -> socket.socket:
            plain = kind._new_conn(connection)
            sock = Bounded(plain.family, plain.type, plain.proto, fileno=plain.detach())
            sock.settimeout(bounds.left())
            sock.limits = bounds
            return sock

        def connect(connection: Any) -> None:
            kind.connect(connection)
            if isinstance(connection.sock, Bounded):
                connection.sock.limits = bounds

        kind = pool.ConnectionCls
        pool.ConnectionCls = type("BoundedConnection", (kind,), {"_new_conn": new_conn, "connect": connect})
        if "ssl_context" in pool.conn_kw:
            tls_context(pool.conn_kw["ssl_context"])

    def urlopen(self, method: str, target: str, **more: Any) -> _Whole:
        response = self._pool.urlopen(method, target, preload_content=False, **more)
        return _Whole(response.status, response.headers, whole(response, self._bounds.max_bytes))

    def close(self) -> None:
        self._pool.close()


class PlainNode(Urllib3HttpNode):
    """Sends plain ``application/json``, and adds the header by which the client recognizes its product.

    A request and its complete response stay within the time and the size in ``bounds``.
    """

    bounds: ClassVar[Bounds]

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self.pool: Any = _Pool(self.pool, self.bounds)

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: Any = DEFAULT,
    ) -> NodeApiResponse:
        seconds = self.config.request_timeout if request_timeout is DEFAULT else request_timeout
        self.bounds.end = time.monotonic() + (float("inf") if seconds is None else seconds)
        plain = HttpHeaders(headers or {})
        plain["accept"] = "application/json"
        if body:
            plain["content-type"] = "application/json"
        else:
            plain.pop("content-type", None)
        meta, data = super().perform_request(method, target, body=body, headers=plain, request_timeout=request_timeout)
        self.bounds.meter.add(len(data))
        answered = HttpHeaders(meta.headers)
        answered["x-elastic-product"] = "Elasticsearch"
        # Deprecation warnings would become one Python warning per request, which nobody reads in a daemon.
        answered.pop("warning", None)
        seen = ApiResponseMeta(meta.status, meta.http_version, answered, meta.duration, meta.node)
        return NodeApiResponse(seen, data)


def bounded(bounds: Bounds) -> type[PlainNode]:
    """A node class that stays within ``bounds``. The transport makes nodes by itself, from the class."""
    return type("BoundedNode", (PlainNode,), {"bounds": bounds})


class RawSerializer(Serializer):
    """Encodes requests as JSON and leaves responses as bytes: each reader decodes only what it needs."""

    mimetype: ClassVar[str] = "application/json"

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else msgspec.json.encode(data)

    def loads(self, data: bytes) -> Any:
        return data
