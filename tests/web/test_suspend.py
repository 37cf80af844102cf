"""A feed that is suspended and resumed, as a debugger, a container's freezer or a virtual machine's host does it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx

from esfeed.demo.cloud import FLAVOR
from tests.support.clients import eventually
from tests.support.freezing import freeze, thaw
from tests.web.conftest import StageMaker
from tests.web.live import Live

INTERVAL = 0.1


def status(live: Live) -> dict[str, Any]:
    done = live.run("status", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def watch(live: Live) -> dict[str, Any]:
    return dict(status(live)["watches"]["cloud"])


def polls(live: Live) -> float:
    text = httpx.get(f"{live.url}/metrics").text
    found = re.search(r'^esfeed_poll_duration_seconds_count\{watch="cloud"\} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_feed_that_is_suspended(stage: StageMaker) -> None:
    """Meanwhile its lag grows and it is stalled, as another process tells it; then it goes on, with nothing missing.

    The polls that it missed are one: they do not follow each other without a pause.
    """
    staged = stage()
    live, written = staged.live, staged.live.folder / "audit.jsonl"
    eventually(lambda: watch(live)["state"] == "ok")
    freeze(live.pid)
    try:
        staged.cloud.create(FLAVOR, "meanwhile", vcpus=2)
        eventually(lambda: watch(live)["state"] == "stalled", 60)
        found = watch(live)
        assert found["lag_seconds"] > 10
        assert found["last_poll_seconds_ago"] > 10
        assert '"meanwhile"' not in written.read_text()
    finally:
        thaw(live.pid)
    began, before = time.monotonic(), polls(live)
    eventually(lambda: '"meanwhile"' in written.read_text(), 60)
    eventually(lambda: watch(live)["state"] == "ok", 60)
    since = time.monotonic() - began
    assert polls(live) - before <= since / INTERVAL + 10
    eventually(lambda: watch(live)["lag_seconds"] < found["lag_seconds"])
    eventually(lambda: httpx.get(f"{live.url}/readyz").status_code == 200, 60)
    assert status(live)["sinks"]["audit"]["lag_seconds"] == 0
    staged.cloud.create(FLAVOR, "later", vcpus=3)
    eventually(lambda: '"later"' in written.read_text(), 60)
    ids = [json.loads(line)["id"] for line in written.read_text().splitlines()]
    assert len(ids) == len(set(ids)) == 3
    events = [json.loads(line)["event"] for line in live.log.read_text().splitlines() if line.startswith("{")]
    assert not {"clock.stepped", "watch.failed", "sink.failed", "worker.failed"} & set(events)
