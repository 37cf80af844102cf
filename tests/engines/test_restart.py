"""A node is killed and started again between two polls: counters begin anew, and nothing is lost or invented."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.errors import ClusterError
from tests.engines.test_oracle import SEED, Feed
from tests.support.clients import eventually
from tests.support.engines import Engine, selected, start, stop
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines


@pytest.fixture(params=["es2", "es5", "es9", "os3"])
def own(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of this test's own, to be killed."""
    if request.param not in selected():
        pytest.skip(f"ESFEED_TEST_ENGINES leaves out {request.param}")
    instance = f"qa-restart-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    yield start([request.param], instance=instance)[0]
    stop([request.param], instance)


def test_a_node_that_is_killed_and_comes_back(own: Engine, tmp_path: Path) -> None:
    """Writes before the kill, polls while it is away, writes after it; as many operations as had been counted."""
    rng = random.Random(SEED)
    world, replay = World(own, SEED, documents=60), Replay()
    world.make_index()
    feed = Feed(own.url, world.index, tmp_path, tries=1)
    world.write(120, rng)
    world.refresh()
    replay.apply(feed.poll())
    world.write(40, rng)
    os.kill(own.pid, signal.SIGKILL)

    def refused() -> bool:
        try:
            feed.poll()
        except ClusterError:
            return True
        return False

    eventually(refused)
    replay.apply(feed.new())
    instance = f"qa-restart-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    start([own.name], instance=instance, keep=True)
    world.raw.call("GET", f"/_cluster/health/{world.index}", wait_for_status="green", timeout="60s")
    for operations in (0, 160, 1, 0):
        world.write(operations, rng)
        world.refresh()
        replay.apply(feed.poll())
        found = replay.differences(world.truth())
        assert not found, f"after {operations}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
    feed.close()
