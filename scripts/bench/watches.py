#!/usr/bin/env python3
"""What many watches cost: time until all are followed, threads, requests when idle, time to stop, and to answer status.

    .venv-test/bin/python scripts/bench/watches.py --engine es9 --instance watches --watches 1000
    .venv-test/bin/python scripts/bench/watches.py --engine es9 --instance watches --watches 10000 --indices 10

Each watch follows an index of its own with three documents, every ``--interval``. With fewer ``--indices`` than
watches, several watches follow the same one; with ``--missing``, none of the indices is there. The settings name one
cluster and one file. Requests are those that the engine itself counts (8.13 and later). ``--tree`` runs another
checkout of esfeed. The indices are made by this script and, unless ``--keep``, removed. The engine, unless it is of the
instance "bench", stays up.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _machine import engine_for
from readers import cpu, memory

from tests.support.clients import Raw

_PREFIX = "bench-watches-"
_MANY_INDICES = {"cluster.max_shards_per_node": "20000"}
_AT_ONCE = 100
_HEAD = """\
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{url}"]
[sinks.audit]
type = "file"
path = "{folder}/audit.jsonl"
"""
_WATCH = """\
[watches.w{number:05}]
index = "{index}"
interval = "{interval}"
"""


def main() -> None:
    """Measures, and prints one JSON object."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--engine", default="es9")
    options.add_argument("--instance", default="watches")
    options.add_argument("--watches", type=int, default=1000)
    options.add_argument("--indices", type=int)
    options.add_argument("--missing", action="store_true")
    options.add_argument("--interval", default="1s")
    options.add_argument("--rest", type=float, default=75.0, help="seconds until the watches are idle")
    options.add_argument("--idle", type=float, default=10.0, help="seconds that idle watches are looked at")
    options.add_argument("--within", type=float, default=120.0, help="seconds to wait for all to be followed")
    options.add_argument("--keep", action="store_true")
    options.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[2])
    options.add_argument("--profile", type=Path, help="where py-spy writes what the feed's process does")
    asked = options.parse_args()
    with engine_for(asked.engine, asked.instance, _MANY_INDICES) as engine:
        raw = Raw(engine)
        names = [f"{_PREFIX}{number:05}" for number in range(asked.indices or asked.watches)]
        if not asked.missing:
            make(raw, names)
        try:
            with tempfile.TemporaryDirectory() as folder:
                print(json.dumps(measure(raw, names, asked, Path(folder)), indent=2))
        finally:
            if not asked.keep:
                raw.drop(_PREFIX)


def make(raw: Raw, names: list[str]) -> None:
    """The indices that are not there yet, three documents each: made as they are written to, many at once."""
    there = raw.call("GET", "/_cluster/state/metadata", filter_path="metadata.indices.*.state") or {}
    missing = [name for name in names if name not in there.get("metadata", {}).get("indices", {})]
    mappings = {"properties": {"updated_at": {"type": "date"}, "n": {"type": "integer"}}}
    about = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": mappings}
    raw.call("PUT", f"/_index_template/{_PREFIX}all", {"index_patterns": [f"{_PREFIX}*"], "template": about})
    for start in range(0, len(missing), _AT_ONCE):
        some = [(name, id) for name in missing[start : start + _AT_ONCE] for id in range(3)]
        documents = [
            ({"index": {"_index": name, "_id": str(id)}}, {"updated_at": "2026-11-01T00:00:00Z", "n": id})
            for name, id in some
        ]
        raw.bulk(_PREFIX, documents, timeout="5m")
        print(f"{min(start + _AT_ONCE, len(missing))} of {len(missing)} indices", file=sys.stderr)
    raw.refresh(f"{_PREFIX}*")


def measure(raw: Raw, names: list[str], asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run of the feed, from its start to its end."""
    watches = [
        _WATCH.format(number=number, index=names[number % len(names)], interval=asked.interval)
        for number in range(asked.watches)
    ]
    config = folder / "esfeed.toml"
    config.write_text(_HEAD.format(folder=folder, url=raw.engine.url) + "".join(watches))
    esfeed = [sys.executable, "-m", "esfeed.cli.main", "--config", str(config)]
    env = {**os.environ, "PYTHONPATH": str(asked.tree)}
    told: dict[str, Any] = {"watches": asked.watches, "indices": 0 if asked.missing else len(names)}
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        feed = subprocess.Popen([*esfeed, "run"], env=env, cwd=folder, stderr=log)
    spy = None
    if asked.profile:
        record = ["py-spy", "record", "-p", str(feed.pid), "-o", str(asked.profile), "-f", "raw", "-d", "20"]
        spy = subprocess.Popen(record)
    try:
        until = began + asked.within
        told["started_s"] = until_true(lambda: b"feed.started" in (folder / "log").read_bytes(), began, until)
        first = time.monotonic()
        told["polled_s"] = until_true(lambda: polled(folder)[0] == asked.watches, first, until)
        told["cpu_polled_s"] = round(cpu(feed.pid), 1)
        told["polled"], told["followed"] = polled(folder)
        told["threads_busy"] = threads(feed.pid)
        if not asked.missing:
            time.sleep(asked.rest)
        before, at, used = requests(raw), time.monotonic(), cpu(feed.pid)
        time.sleep(asked.idle)
        over = time.monotonic() - at
        told["requests_a_second_idle"] = round((requests(raw) - before) / over, 1)
        told["cpu_share_idle"] = round((cpu(feed.pid) - used) / over, 2)
        told["threads_idle"] = threads(feed.pid)
        told["memory_mb"] = memory(feed.pid)
        at = time.monotonic()
        status = subprocess.run([*esfeed, "status", "--json"], env=env, cwd=folder, capture_output=True, check=False)
        told["status_s"] = round(time.monotonic() - at, 2)
        told["states"] = states(status.stdout)
    finally:
        at = time.monotonic()
        feed.send_signal(signal.SIGTERM)
        try:
            told["exit"] = feed.wait(60)
        except subprocess.TimeoutExpired:
            feed.kill()
            told["exit"] = "killed"
        told["stopped_s"] = round(time.monotonic() - at, 2)
        if spy:
            spy.wait()
    told["errors"] = (folder / "log").read_bytes().count(b"error")
    return told


def until_true(what: Any, began: float, until: float) -> float | None:
    """Seconds from ``began`` until it is so; ``None`` where it never was."""
    while time.monotonic() < until:
        if what():
            return round(time.monotonic() - began, 2)
        time.sleep(0.1)
    return None


def polled(folder: Path) -> tuple[int, int]:
    """How many watches were polled, and how many of them without an error."""
    try:
        with sqlite3.connect(f"file:{folder}/state.db?mode=ro", uri=True) as state:
            rows = [json.loads(data) for (data,) in state.execute("SELECT data FROM health WHERE kind = 'watch'")]
    except sqlite3.OperationalError:
        return 0, 0
    return len(rows), sum(not row["error"] for row in rows)


def states(answer: bytes) -> dict[str, int]:
    """Watches by state, as ``esfeed status`` tells them."""
    counted: dict[str, int] = {}
    for watch in json.loads(answer)["watches"].values() if answer else ():
        counted[watch["state"]] = counted.get(watch["state"], 0) + 1
    return counted


def requests(raw: Raw) -> int:
    """Requests that the engine has answered, those of this script left out."""
    nodes = raw.call("GET", "/_nodes/stats/http")["nodes"]
    return sum(
        route.get("requests", {}).get("count", 0)
        for node in nodes.values()
        for path, route in node["http"].get("routes", {}).items()
        if not path.startswith("/_nodes")
    )


def threads(pid: int) -> int:
    """Threads of a process."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


if __name__ == "__main__":
    main()
