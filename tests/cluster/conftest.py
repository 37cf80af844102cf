"""The cluster as tests open it: directly, or through a proxy, with pauses that are recorded instead of slept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from tests.support.engines import Engine
from tests.support.proxy import Proxy


@pytest.fixture
def naps() -> list[float]:
    """The seconds that ``through`` would have slept between tries."""
    return []


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    """The client, straight to the engine."""
    client = Client(Connection("main", [engine.url]))
    yield client
    client.close()


@pytest.fixture
def cluster(engine: Engine) -> Iterator[EngineCluster]:
    """What trackers see, straight to the engine."""
    cluster = EngineCluster(Connection("main", [engine.url]))
    yield cluster
    cluster.close()


@pytest.fixture
def through(proxy: Proxy, naps: list[float]) -> Iterator[EngineCluster]:
    """The same through the proxy; it knows its engine already, so that only what a test asks for passes."""
    cluster = EngineCluster(Connection("main", [proxy.url], timeout=10.0), naps.append)
    assert cluster.engine
    proxy.reset()
    yield cluster
    cluster.close()
