"""The roles of docs/secured-cluster.rst on engines with security: each is enough, and nothing in it is too much."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from esfeed.config.load import build
from esfeed.errors import ClusterError
from esfeed.runtime.factory import App
from tests.engines.test_oracle import SEED, Feed, check
from tests.support.engines import VARIABLE, Engine, selected, shared
from tests.support.pages import ROOT, blocks
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines

PAGE = "docs/secured-cluster.rst"
PASSWORD = "a-Long-rand0m-text"
COUNTERS, DATES = {"max_page_bytes": 1024}, {"max_page_bytes": 1024, "tracker": "updated_at"}
"""Two ways to follow, both with pages so small that a scroll is needed."""


@pytest.fixture(scope="module")
def opensearch() -> Iterator[Engine]:
    """OpenSearch with its security plugin, which is to be had for 2.19 only."""
    if "os2" not in selected():
        pytest.skip(f"{VARIABLE} leaves out os2")
    with shared("os2", "qa-tls", security=True) as engine:
        yield engine


def role(engine: Engine, world: World, without: str = "") -> dict[str, Any]:
    """The role that the page shows, for the world's indices, less one privilege (``cluster:NAME`` or its name)."""
    shown = {block.file: block.text for block in blocks(PAGE) if block.language == "json"}
    found = json.loads(shown[f"{engine.distribution}-role.json"].replace("servers*", f"{world.index}*"))
    cluster, indices, names = (
        ("cluster", "indices", "privileges")
        if engine.distribution == "elasticsearch"
        else ("cluster_permissions", "index_permissions", "allowed_actions")
    )
    if without.startswith("cluster:"):
        found[cluster].remove(without.removeprefix("cluster:"))
    elif without:
        found[indices][0][names].remove(without)
    return dict(found)


def user(engine: Engine, world: World, role: Mapping[str, Any]) -> dict[str, str]:
    """Credentials of a new user with that role, made as the page says."""
    name, call = f"{world.index}-role", world.raw.call
    if engine.distribution == "elasticsearch":
        call("PUT", f"/_security/role/{name}", role)
        call("PUT", f"/_security/user/{name}", {"password": PASSWORD, "roles": [name]})
    else:
        at = "/_plugins/_security/api"
        call("PUT", f"{at}/roles/{name}", role)
        call("PUT", f"{at}/internalusers/{name}", {"password": PASSWORD})
        call("PUT", f"{at}/rolesmapping/{name}", {"users": [name]})
    return {"basic_auth": f"{name}:{PASSWORD}"}


def follow(engine: Engine, world: World, credentials: Mapping[str, str], folder: Path, **watch: Any) -> str:
    """Follows a pattern over two indices while documents come, change and go; the tracker that did it."""
    world.make_index()
    world.roll()
    feed, replay, rng = Feed(engine.url, world.index, folder), Replay(), random.Random(SEED)
    feed.close()
    feed.app = App(
        build({
            "state": f"sqlite:///{folder}/state.db",
            "clusters": {"main": {"hosts": [engine.url], "ca_certs": engine.ca_certs, **credentials}},
            "watches": {"w": {"index": f"{world.index}-0*", **watch}},
            "sinks": {"none": {"type": "file", "path": f"{folder}/events.jsonl"}},
        }),
        "test",
    )  # fmt: skip
    try:
        for step in range(3):
            world.write(100, rng)
            world.refresh()
            replay.apply(feed.poll())
            check(replay, world, f"step {step}")
        return feed.app.trackers["w"].name
    finally:
        feed.close()
        world.drop()


@pytest.mark.parametrize("watch", [COUNTERS, DATES], ids=["counters", "dates"])
@pytest.mark.parametrize("of", ["secured", "opensearch"])
def test_the_role_is_enough(of: str, watch: Mapping[str, Any], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """By counters and by dates, every poll is exact."""
    engine: Engine = request.getfixturevalue(of)
    world = World(engine, SEED, rolling=True)
    credentials = user(engine, world, role(engine, world))
    assert follow(engine, world, credentials, tmp_path, **watch) == watch.get("tracker", "seq_no")


@pytest.mark.parametrize(("of", "more"), [("secured", "maintenance"), ("opensearch", "indices:admin/refresh*")])
def test_to_refresh_takes_one_more(of: str, more: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With `refresh = true` the privilege that the page names for it, and it is enough."""
    engine: Engine = request.getfixturevalue(of)
    for granted in ([], [more]):
        world = World(engine, SEED, rolling=True)
        extended = role(engine, world)
        (rights,) = extended["indices" if engine.distribution == "elasticsearch" else "index_permissions"]
        rights["privileges" if engine.distribution == "elasticsearch" else "allowed_actions"] += granted
        credentials = user(engine, world, extended)
        folder = tmp_path / str(len(granted))
        folder.mkdir()
        if granted:
            assert follow(engine, world, credentials, folder, refresh=True) == "seq_no"
        else:
            with pytest.raises(ClusterError, match="403"):
                follow(engine, world, credentials, folder, refresh=True)
    assert f"``{more}``" in (ROOT / PAGE).read_text()


def test_an_api_key_with_the_role(secured: Engine, tmp_path: Path) -> None:
    """The role as the descriptor of a key, as the page says."""
    world = World(secured, SEED, rolling=True)
    about = {"name": "esfeed", "role_descriptors": {"esfeed": role(secured, world)}}
    key = world.raw.call("POST", "/_security/api_key", about)["encoded"]
    assert follow(secured, world, {"api_key": key}, tmp_path) == "seq_no"


@pytest.mark.parametrize(
    ("of", "without", "watch"),
    [
        ("secured", "cluster:monitor", COUNTERS),
        ("secured", "read", COUNTERS),
        ("secured", "view_index_metadata", COUNTERS),
        ("secured", "monitor", COUNTERS),
        ("opensearch", "cluster:cluster_monitor", COUNTERS),
        ("opensearch", "cluster:indices:data/read/mget", COUNTERS),
        ("opensearch", "cluster:indices:data/read/msearch", COUNTERS),
        ("opensearch", "cluster:indices:data/read/scroll*", COUNTERS),
        ("opensearch", "read", COUNTERS),
        ("opensearch", "indices_monitor", COUNTERS),
        ("opensearch", "indices:admin/aliases/get", COUNTERS),
        ("opensearch", "indices:admin/mappings/get", DATES),
    ],
)
def test_nothing_in_it_is_too_much(
    of: str, without: str, watch: Mapping[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Without any one of its privileges a poll is refused; without `monitor` on indices, it costs more."""
    engine: Engine = request.getfixturevalue(of)
    world = World(engine, SEED, rolling=True)
    credentials = user(engine, world, role(engine, world, without))
    if without == "monitor":
        assert follow(engine, world, credentials, tmp_path, **watch) == "updated_at"
        return
    with pytest.raises(ClusterError, match="403"):
        follow(engine, world, credentials, tmp_path, **watch)
