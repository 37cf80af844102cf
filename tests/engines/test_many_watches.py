"""Many watches of one cluster: idle they share a question, and each change is delivered all the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Raw, eventually
from tests.support.engines import FAMILIES, Engine
from tests.support.feed import Feed
from tests.support.proxy import Proxy

COUNT = 12
STAMP = "2026-10-01T10:00:00Z"


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    """One of each family; some tests name others."""
    return started(request.param)


@pytest.fixture
def feed(raw: Raw, index: str, proxy: Proxy, tmp_path: Path) -> Iterator[Feed]:
    """A running feed of as many watches, each on an index of its own with two documents."""
    made = Feed(tmp_path, proxy.url, f"{index}-0", interval="1s")
    more = [f'[watches.w{n}]\nindex = "{index}-{n}"\ninterval = "1s"\n' for n in range(1, COUNT)]
    made.config.write_text(made.config.read_text() + "".join(more))
    for number in range(COUNT):
        raw.create(f"{index}-{number}", {"updated_at": {"type": "date"}, "n": {"type": "integer"}})
        raw.fill(f"{index}-{number}", 2, updated_at=STAMP)
    made.start()
    yield made
    made.clean_up()


def states(feed: Feed) -> dict[str, Any]:
    done = feed("status", "--json")
    return dict(json.loads(done.stdout)["watches"]) if done.returncode == 0 else {}


def idle(proxy: Proxy) -> bool:
    """Whether two seconds bring no more than two requests an interval, of which there are three at most.

    2.x has one of recoveries before each.
    """
    proxy.reset()
    time.sleep(2)
    lines = [line for line in proxy.lines() if "_recovery" not in line]
    return 0 < len(lines) <= 2 * 3 and all("_stats" in line for line in lines)


def test_idle_watches_share_a_question_and_miss_nothing(raw: Raw, index: str, proxy: Proxy, feed: Feed) -> None:
    """A change in any of them is told; one that is deleted and one that is closed are named, and the others go on."""
    eventually(lambda: len(feed.lines()) == 2 * COUNT, seconds=90)
    eventually(lambda: idle(proxy), seconds=90)
    for number in (0, 7, COUNT - 1):
        raw.put(f"{index}-{number}", "0", {"n": 100 + number, "updated_at": STAMP})
    raw.refresh(f"{index}-*")
    eventually(lambda: len(feed.lines()) == 2 * COUNT + 3, seconds=60)
    eventually(lambda: idle(proxy), seconds=90)
    raw.call("DELETE", f"/{index}-3")
    raw.call("POST", f"/{index}-4/_close")
    eventually(lambda: [states(feed)[w]["state"] for w in ("w3", "w4")] == ["failing"] * 2, seconds=60)
    found = states(feed)
    assert f"{index}-3" in found["w3"]["error"]
    assert f"{index}-4" in found["w4"]["error"]
    assert {row["state"] for name, row in found.items() if name not in ("w3", "w4")} == {"ok"}
    raw.put(f"{index}-5", "0", {"n": 105, "updated_at": STAMP})
    raw.refresh(f"{index}-5")
    eventually(lambda: len(feed.lines()) == 2 * COUNT + 4, seconds=60)
    raw.call("POST", f"/{index}-4/_open")
    eventually(lambda: states(feed)["w4"]["state"] == "ok", seconds=60)
    feed.stop()
