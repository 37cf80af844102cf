"""The report of what ``commits.py`` measures."""

from __future__ import annotations

from pathlib import Path

from _rst import Result, heading, section, table, where

_EACH = ("backfill", "first poll", "re-sync")
_ALL = ("start", "idle poll")


def commits(name: str, result: Result, docs: Path) -> str:
    """A row a commit: processor time, of a document or of the whole program, and how it is beside the first row's."""
    count, told = result["documents"], result["commits"]
    first = told[0]
    rows = []
    for each in told:
        cells = [f"{each[step]['cpu'] / count * 1e6:.1f} ({_beside(each, first, step)})" for step in _EACH]
        cells += [f"{each[step]['cpu'] * 1e3:.0f} ({_beside(each, first, step)})" for step in _ALL]
        cells.append(f"{each['neighbour']['p50'] * 1e3:.0f}" if "neighbour" in each else "")
        rows.append((f"{each['commit']} {each['subject']}", *cells, f"{each['first poll']['peak_mb']:.0f}"))
    return section(
        heading(f"Before and after: {result['engine']}"),
        where(result),
        f"Processor time of esfeed at some of its commits, which took turns; {count:,} documents, {result['repeat']} "
        "rounds, medians; in brackets, beside the first row. *Neighbour* is the delay from the refresh to the event "
        "of a small watch, polled every 10 ms, beside one that reads those documents for the first time.",
        table(
            [
                "Commit",
                *(f"{step}, µs a document" for step in _EACH),
                *(f"{step}, ms" for step in _ALL),
                "Neighbour, ms",
                "Peak MB",
            ],
            rows,
            [27, 13, 13, 13, 11, 11, 6, 6],
        ),
    )


def _beside(each: Result, first: Result, step: str) -> str:
    return f"{each[step]['cpu'] / first[step]['cpu']:.2f}"
