"""Fixtures of the tests over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esfeed.demo.cloud import FLAVOR, Cloud
from esfeed.demo.demo_index import DemoIndex, EngineClient
from esfeed.demo.ledger import Ledger
from esfeed.demo.lookalike import lookalike
from tests.web.live import Live
from tests.web.support import Desk

Open = Callable[..., Desk]


@pytest.fixture
def desk(open_desk: Open) -> Desk:
    """A server over an empty log."""
    return open_desk()


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Open]:
    """Makes servers; each with lines of its own for ``[http]``, and what follows that section."""
    opened: list[Desk] = []

    def make(http: str = "", more: str = "") -> Desk:
        folder = tmp_path / f"desk{len(opened)}"
        folder.mkdir()
        opened.append(Desk(folder, http, more))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The url of an engine in memory. No claim about engines is made on it."""
    with lookalike() as url:
        yield url


class Stage:
    """An index of its own, a cloud that writes to it, and a feed that follows."""

    def __init__(self, cloud: Cloud, live: Live) -> None:
        self.cloud = cloud
        self.live = live


StageMaker = Callable[..., Stage]


@pytest.fixture
def stage(engine: str, tmp_path: Path) -> Iterator[StageMaker]:
    """Makes a running feed, with more settings where a test wants them."""
    made: list[Live] = []
    client = EngineClient(engine)

    def make(more: str = "", ready: bool = True) -> Stage:
        index = f"cloud-{secrets.token_hex(5)}"
        place = DemoIndex(engine, "osmem", index, index, False, False, in_memory=True)
        properties = {"updated_at": {"type": "date"}, "created_at": {"type": "date"}}
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        client.request("PUT", f"/{index}", {"settings": settings, "mappings": {"properties": properties}})
        cloud = Cloud(place, client, Ledger())
        cloud.create(FLAVOR, "m1.small", vcpus=1)
        live = Live(tmp_path, engine, index, more)
        made.append(live)
        live.start(ready)
        return Stage(cloud, live)

    yield make
    for each in made:
        each.clean_up()
    client.close()
