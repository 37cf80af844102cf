"""Changes at a steady rate, and how far behind they are told: in polls, since the refresh that showed each."""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

from _feed import Running
from _measure import cpu

from tests.support.clients import Raw, eventually

_INTERVAL = 1.0
_BATCHES = 10
"""Writes a second; each carries a tenth of the rate."""
_IDS = 20_000
_GRACE = 15.0


def measure(raw: Raw, index: str, rate: int, minutes: float, folder: Path) -> dict[str, Any]:
    """Writes ``rate`` changes a second, refreshes once a second, and reads the feed's file as it grows."""
    raw.create(index, {"updated_at": {"type": "date"}, "n": {"type": "long"}}, {"refresh_interval": "-1"})
    raw.put(index, "first", {"n": -1, "updated_at": int(time.time() * 1000)})
    raw.refresh(index)
    arrived: dict[int, int] = {}

    def on_match(number: bytes, now: int) -> None:
        arrived.setdefault(int(number), now)

    with Running(folder, raw.engine.url, index, f"{_INTERVAL:g}s", rb'"after":\s?\{"n":\s?(-?\d+)', on_match) as feed:
        eventually(lambda: -1 in arrived)
        began, feed_cpu, engine_cpu = time.monotonic(), cpu(feed.pid), cpu(raw.engine.pid)
        bench_cpu = time.process_time()
        refreshed = _write(raw, index, rate, minutes * 60)
        took = time.monotonic() - began
        spent = {
            "esfeed": (cpu(feed.pid) - feed_cpu) / took,
            "engine": (cpu(raw.engine.pid) - engine_cpu) / took,
            "bench": (time.process_time() - bench_cpu) / took,
        }
        written = refreshed[-1][0]
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and len(arrived) < written + 1:
            time.sleep(0.05)
    ends = [number for number, _ in refreshed]
    lags = [
        (at - refreshed[bisect_left(ends, number + 1)][1]) / 1e9 / _INTERVAL
        for number, at in arrived.items()
        if number >= 0
    ]
    cuts = statistics.quantiles(lags, n=100, method="inclusive")
    return {
        "rate": rate,
        "reached": written / took,
        "minutes": minutes,
        "interval_s": _INTERVAL,
        "written": written,
        "told": len(lags),
        "lag_polls": {"p50": cuts[49], "p99": cuts[98], "max": max(lags)},
        "cores": spent,
    }


def _write(raw: Raw, index: str, rate: int, seconds: float) -> list[tuple[int, int]]:
    """Returns of each refresh how many changes had been written, and when it was answered."""
    began, count, refreshed = time.monotonic(), 0, []
    batch = max(1, rate // _BATCHES)
    for step in range(1, int(seconds * _BATCHES) + 1):
        now = int(time.time() * 1000)
        numbers = range(count, count + batch)
        raw.bulk(
            index,
            [({"index": {"_id": f"d{n % _IDS}"}}, {"n": n, "updated_at": now, "pad": "x" * 300}) for n in numbers],
        )
        count += batch
        if step % _BATCHES == 0:
            raw.refresh(index)
            refreshed.append((count, time.monotonic_ns()))
        time.sleep(max(0.0, began + step / _BATCHES - time.monotonic()))
    raw.refresh(index)
    return [*refreshed, (count, time.monotonic_ns())]
