"""The transport's own extension point: how each request leaves, and what its answer cost.

One ``elasticsearch`` client serves every engine from 2.4 to 9 and OpenSearch when its vendor media types leave as
plain JSON and the product header that it insists on is there on the way back.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import msgspec
from elastic_transport import ApiResponseMeta, HttpHeaders, Serializer, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse  # the return type of a node; the package does not export it
from elastic_transport.client_utils import DEFAULT


class Meter:
    """Counts the requests of a cluster and the bytes of their answers, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._octets = 0

    def add(self, octets: int) -> None:
        """Notes one answered request of that many bytes."""
        with self._lock:
            self._requests += 1
            self._octets += octets

    def totals(self) -> tuple[int, int]:
        """(requests, bytes received) so far."""
        with self._lock:
            return self._requests, self._octets


class PlainNode(Urllib3HttpNode):
    """Sends plain ``application/json`` and answers with the header by which the client knows its product."""

    meter: ClassVar[Meter]

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: Any = DEFAULT,
    ) -> NodeApiResponse:
        plain = HttpHeaders(headers or {})
        plain["accept"] = "application/json"
        if body:
            plain["content-type"] = "application/json"
        else:
            plain.pop("content-type", None)
        meta, data = super().perform_request(method, target, body=body, headers=plain, request_timeout=request_timeout)
        self.meter.add(len(data))
        answered = HttpHeaders(meta.headers)
        answered["x-elastic-product"] = "Elasticsearch"
        # Deprecation notes would become one Python warning a request; nobody reads those in a daemon.
        answered.pop("warning", None)
        seen = ApiResponseMeta(meta.status, meta.http_version, answered, meta.duration, meta.node)
        return NodeApiResponse(seen, data)


def metered(meter: Meter) -> type[PlainNode]:
    """A node class that counts on ``meter`` (the transport makes its nodes itself, from the class alone)."""
    return type("MeteredNode", (PlainNode,), {"meter": meter})


class RawSerializer(Serializer):
    """JSON on the way out, untouched bytes on the way back: each reader decodes just what it asked for."""

    mimetype: ClassVar[str] = "application/json"

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else msgspec.json.encode(data)

    def loads(self, data: bytes) -> Any:
        return data
