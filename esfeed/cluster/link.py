"""The connections to one cluster. Several clients share one pool, one TLS context and one detected engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import elasticsearch

from esfeed.cluster.connection import Connection
from esfeed.cluster.dialect import Engine
from esfeed.cluster.node import Bounds, Meter, RawSerializer, bounded

_KEPT = 40
"""Connections that stay open for the next request: one for each thread that may send requests at the same time."""


class Link:
    """The connections to a cluster. Each request has its own size limit and its own meter."""

    def __init__(self, connection: Connection) -> None:
        self.engine: Engine | None = None
        self._bounds = Bounds()
        self._client = elasticsearch.Elasticsearch(
            list(connection.addresses),
            node_class=bounded(self._bounds),
            serializers={"application/json": RawSerializer()},
            request_timeout=connection.timeout,
            max_retries=0,
            retry_on_timeout=False,
            connections_per_node=_KEPT,
            **_security(connection),
        )

    def close(self) -> None:
        """Closes every connection."""
        self._client.close()

    def perform(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: Any, max_bytes: int, meter: Meter
    ) -> Any:
        """The response, up to ``max_bytes`` bytes, counted by ``meter``. Raises what the official client raises."""
        self._bounds.max_bytes, self._bounds.meter = max_bytes, meter
        return self._client.perform_request(
            method, path, params=params, headers={"content-type": "application/json"}, body=body
        )


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
