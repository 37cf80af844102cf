#!/usr/bin/env python3
"""What following costs the cluster: an idle poll, k deletes among N documents, and a re-sync, beside a scan of ids.

    .venv-test/bin/python scripts/bench/cost.py --engine es9 --documents 1000000

Requests and bytes are counted at the client; times are of one poll, beside a scan of all ids and versions in the same
run. A re-sync is the first documents written anew into another index, to which the alias is then moved: so what was
deleted or changed meanwhile is all that is told. Everything is read from one shard. The indices are made and removed by
this script.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from esfeed.config.load import build
from esfeed.runtime.factory import App
from tests.support.clients import Raw
from tests.support.engines import start

_BULK = 5000
_REST = 62
"""Seconds without a write, after which a feed by dates takes its last look for final."""


def main() -> None:
    """Measures, and prints a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--engine", default="es9")
    options.add_argument("--documents", type=int, default=1_000_000)
    options.add_argument("--deletes", type=int, nargs="*", default=[0, 1, 10, 100])
    options.add_argument("--tracker", default="auto")
    asked = options.parse_args()
    (engine,) = start([asked.engine])
    raw, index = Raw(engine), f"bench-cost-{int(time.time())}"
    raw.create(index, {"updated_at": {"type": "date"}})
    raw.alias(index, f"{index}-alias")
    try:
        load(raw, index, asked.documents)
        with tempfile.TemporaryDirectory() as folder:
            measure(raw, index, asked, folder, engine.url)
    finally:
        raw.drop(index)


def load(raw: Raw, index: str, documents: int) -> None:
    """Seeded documents of about 300 bytes."""
    rng = random.Random(1)
    began = time.monotonic()
    for start_at in range(0, documents, _BULK):
        lines = []
        for number in range(start_at, min(start_at + _BULK, documents)):
            about: dict[str, Any] = {"_index": index, "_id": f"{number:036d}"}
            if raw.typed:
                about["_type"] = raw.kind
            source = {
                "updated_at": 1_700_000_000_000 + number * 30_000,
                "name": f"server-{number}",
                "text": f"{rng.getrandbits(700):x}",
            }
            lines += [json.dumps({"index": about}), json.dumps(source)]
        raw.call("POST", "/_bulk", ("\n".join(lines) + "\n").encode())
    raw.refresh(index)
    print(f"{documents:,} documents loaded in {time.monotonic() - began:.0f} s", file=sys.stderr)


def measure(raw: Raw, index: str, asked: argparse.Namespace, folder: str, url: str) -> None:
    """One poll per case, beside a scan of ids and versions."""
    config = build(
        {
            "state": f"sqlite:///{folder}/state.db",
            "clusters": {"main": {"hosts": [url], "timeout": "120s"}},
            "watches": {"w": {"index": f"{index}-alias", "tracker": asked.tracker, "keep_documents": False}},
            "sinks": {"none": {"type": "file", "path": f"{folder}/none"}},
        }
    )
    with App(config, "bench") as app:
        show("first reading", *cost(app))
        # Twice refreshed with a write before each: so the feed's mark is at the end.
        for number in range(4):
            raw.put(index, f"{0:036d}", {"updated_at": 1_765_000_000_000 + number})
            raw.refresh(index)
            cost(app)
        time.sleep(_REST)
        cost(app)
        show("idle poll", *cost(app))
        rng = random.Random(2)
        for count in asked.deletes:
            if count:
                ids = rng.sample(range(1, asked.documents), count)
                raw.bulk(index, [({"delete": {"_id": f"{number:036d}"}}, None) for number in ids])
            else:
                raw.put(index, f"{0:036d}", {"updated_at": 1_766_000_000_000})
            raw.refresh(index)
            show(f"{count} deletes" if count else "1 update, no delete", *cost(app))
        app.trackers["w"].reconcile = True
        show("scan of all ids and versions", *cost(app))
        sync_anew(raw, index, asked.documents)
        show("re-sync into a new index", *cost(app))


def sync_anew(raw: Raw, index: str, documents: int) -> None:
    """The same documents once more, into a new index, and the alias moved to it: what was deleted is back."""
    raw.create(f"{index}-new", {"updated_at": {"type": "date"}})
    load(raw, f"{index}-new", documents)
    moves = [
        {"remove": {"index": index, "alias": f"{index}-alias"}},
        {"add": {"index": f"{index}-new", "alias": f"{index}-alias"}},
    ]
    raw.call("POST", "/_aliases", {"actions": moves})


def cost(app: App) -> tuple[int, int, float, dict[str, int]]:
    """(requests, bytes, seconds, events) of one poll."""
    meter = app.clusters["w"].meter
    requests, received_bytes = meter.totals()
    began = time.monotonic()
    poll = app.runner.poll("w")
    took = time.monotonic() - began
    now = meter.totals()
    return now[0] - requests, now[1] - received_bytes, took, poll.events


def show(what: str, requests: int, received_bytes: int, took: float, events: dict[str, int]) -> None:
    """One row."""
    print(f"{what:30} {requests:6} requests {received_bytes:14,} bytes {took * 1000:10,.0f} ms  {events or ''}")


if __name__ == "__main__":
    main()
