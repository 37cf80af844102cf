"""The report of what ``memory.py`` measures."""

from __future__ import annotations

from pathlib import Path

from _plots import over_time
from _rst import Result, figure, heading, section, table, targets, where

_MAX_RATIO = 1.1


def memory(name: str, result: Result, docs: Path) -> str:
    """A plot of the run, its numbers, and whether memory stayed flat."""
    samples = result["samples"]
    series = {
        "memory of the process": [(seconds / 60, pss / 1024) for seconds, pss, _ in samples],
        "of that, heap and caches": [(seconds / 60, anonymous / 1024) for seconds, _, anonymous in samples],
    }
    over_time(series, "minutes", "MB", docs / name)
    settled = result["settled_after_s"] / 60
    return section(
        heading(f"Memory over time: {result['engine']}"),
        where(result),
        f"A feed writes to a file and a webhook (mode {result['mode']}) and serves one reader over HTTP. The bench "
        f"creates, updates and deletes documents: {result['rate']:,} operations a second asked for, "
        f"{result['reached']:,.0f} reached, for {result['minutes']:.0f} minutes, with up to {result['live']:,} "
        f"documents at a time. The webhook got {result['webhook_requests']:,} requests, the reader {result['read']:,} "
        "events. Memory is the proportional set size (``Pss``), the mean of a minute.",
        figure(name, f"Memory of a feed over {result['minutes']:.0f} minutes, {result['engine']}"),
        table(
            [f"After {settled:.0f} minutes", "At the end", "Peak", "Threads, at most", "Open files, at most", "State"],
            [
                (
                    *(f"{result[key]:.0f} MB" for key in ("settled_mb", "end_mb", "peak_mb")),
                    *(f"{result[key]}" for key in ("threads", "files")),
                    f"{result['state_mb']:,.0f} MB",
                )
            ],
            [18, 16, 16, 18, 18, 14],
        ),
        targets(
            [("memory, end : settled", f"≤ {_MAX_RATIO}", f"{result['ratio']:.2f}", result["ratio"] <= _MAX_RATIO)]
        ),
    )
