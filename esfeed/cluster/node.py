"""The transport's own extension point: how each request leaves, and what its answer cost.

One ``elasticsearch`` client serves every engine from 2.4 to 9 and OpenSearch when its vendor media types leave as
plain JSON and the product header that it insists on is there on the way back.
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
    """Counts the requests of a cluster and the bytes of their answers, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._received_bytes = 0

    def add(self, received_bytes: int, requests: int = 1) -> None:
        """Notes one answered request (or several) of that many bytes."""
        with self._lock:
            self._requests += requests
            self._received_bytes += received_bytes

    def totals(self) -> tuple[int, int]:
        """(requests, bytes received) so far."""
        with self._lock:
            return self._requests, self._received_bytes


class Bounds(threading.local):
    """What a thread's request may cost: ``max_bytes``, and time until ``end`` (monotonic); ``meter`` counts it."""

    max_bytes = 256 << 20
    end = 0.0
    meter = Meter()

    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class _Whole(NamedTuple):
    """An answer that was read to its end, as the transport looks at it."""

    status: int
    headers: Any
    data: bytes


class _Pool:
    """The connections of a node, of which each request is read within its bounds."""

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
    """Sends plain ``application/json`` and answers with the header by which the client knows its product.

    A request and its answer, to the last byte, have the time and the size that ``bounds`` says.
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
        # Deprecation notes would become one Python warning a request; nobody reads those in a daemon.
        answered.pop("warning", None)
        seen = ApiResponseMeta(meta.status, meta.http_version, answered, meta.duration, meta.node)
        return NodeApiResponse(seen, data)


def bounded(bounds: Bounds) -> type[PlainNode]:
    """A node class that keeps within ``bounds`` (the transport makes nodes itself, from the class)."""
    return type("BoundedNode", (PlainNode,), {"bounds": bounds})


class RawSerializer(Serializer):
    """JSON on the way out, untouched bytes on the way back: each reader decodes just what it asked for."""

    mimetype: ClassVar[str] = "application/json"

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else msgspec.json.encode(data)

    def loads(self, data: bytes) -> Any:
        return data
