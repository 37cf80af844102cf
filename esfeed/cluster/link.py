"""The connections to one cluster, which all that ask it may share: one pool, one TLS context, one engine behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import elasticsearch

from esfeed.cluster.connection import Connection
from esfeed.cluster.dialect import Engine
from esfeed.cluster.node import Bounds, Meter, RawSerializer, bounded

_KEPT = 40
"""Connections that are kept open for the next request: as many as there are threads that may ask at a time."""


class Link:
    """The way to a cluster. What a request may cost, and on whose meter it counts, is said with each."""

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
        """Lets go of every connection."""
        self._client.close()

    def perform(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: Any, max_bytes: int, meter: Meter
    ) -> Any:
        """The answer, of ``max_bytes`` bytes at most, counted on ``meter``. Raises what the official client raises."""
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
