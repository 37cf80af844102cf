"""From the kept results to what docs/benchmarks shows: ``results.inc`` with tables, and the plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from _plots import Bar, bars
from _report_commits import commits
from _report_memory import memory
from _report_polls import POLLS
from _rst import ABSENT, Result, bullets, figure, heading, plain, section, table, targets, where

_RATIOS = (
    ("esfeed-backfill", "scan", 2.5, "backfill : helpers.scan + orjson, defaults"),
    ("esfeed-backfill", "scan-5000", 2.5, "backfill : helpers.scan + orjson, size=5000"),
    ("esfeed-backfill", "elasticdump-10000", 3.0, "backfill : elasticdump, --limit=10000"),
    ("esfeed-backfill", "native-file", 0.5, "backfill : native reader, to a file"),
    ("esfeed-backfill", "native-2", 0.5, "backfill : native reader, thrown away"),
    ("esfeed-snapshot", "scan", 1.2, "first poll : helpers.scan + orjson, defaults"),
    ("esfeed-snapshot", "scan-5000", 1.2, "first poll : helpers.scan + orjson, size=5000"),
)
_MAX_MB = 150
_UNREAD = ("ids", "native-1", "native-2", "esfeed-learn")
"""Only counted: they write no documents."""


def write(results: Path, docs: Path) -> None:
    """Makes all tables and plots anew from ``results/*.json``, into the folder ``docs``."""
    parts = []
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_text())
        kind = path.stem.partition("-")[0]
        if kind == "reads":
            parts.append((0, path.stem, _reads(path.stem, result, docs)))
        elif kind == "memory":
            parts.append((8, path.stem, memory(path.stem, result, docs)))
        elif kind == "commits":
            parts.append((9, path.stem, commits(path.stem, result, docs)))
        elif kind in POLLS:
            parts.append((1 + list(POLLS).index(kind), path.stem, POLLS[kind](path.stem, result, docs)))
    text = "\n".join(part for _, _, part in sorted(parts))
    (docs / "results.inc").write_text(".. Made by scripts/bench from results/*.json; edit neither.\n\n" + text)


def _reads(name: str, result: Result, docs: Path) -> str:
    told = [each for each in result["contenders"] if "median" in each]
    rates = [
        Bar(each["name"], each["kind"], each["median"]["rate"], *_range(each, result["documents"])) for each in told
    ]
    bars(rates, "documents a second (median; the line goes from the least to the most)", docs / name)
    rows = [_row(each) for each in sorted(told, key=lambda each: -each["median"]["rate"])]
    absent = bullets(
        (each["name"], each["missing"] or "; ".join(each["faults"]))
        for each in result["contenders"]
        if "median" not in each
    )
    size = result["octets"] / result["documents"]
    every = result.get("rewrite_every", 0)
    gaps = f" Of each {every:,} one was written twice, so that pages have gaps." if every else ""
    return section(
        heading(f"Whole reads: {result['engine']}"),
        where(result),
        f"{result['documents']:,} documents of {size:.0f} bytes, {result['shards']} shards; {result['repeat']} rounds "
        "in which all take turns, each program from its start to its end; medians." + gaps,
        figure(name, f"Documents a second of each program, {result['engine']}"),
        table(
            ["Program", "Docs/s", "Seconds", "CPU s", "Engine CPU s", "Peak MB", "Load", "Output"],
            rows,
            [40, 9, 8, 7, 8, 8, 6, 12],
        ),
        f"Versions: {_versions(told)}.",
        f"{ABSENT}\n\n{absent}" if absent else "",
        _targets(told),
    )


def _row(each: Result) -> list[str]:
    median = each["median"]
    right = "counted" if each["key"] in _UNREAD else "exact"
    return [
        each["name"],
        f"{median['rate']:,.0f}",
        f"{median['seconds']:.2f}",
        f"{median['cpu']:.2f}",
        f"{median['engine_cpu']:.2f}",
        f"{median['peak_mb']:,.0f}",
        f"{median['load']:.1f}",
        "; ".join(each["faults"]) or right,
    ]


def _versions(told: Sequence[Result]) -> str:
    """Of each program once, however it was called."""
    found = {each["name"].partition(",")[0]: each["version"] for each in told if each["kind"] == "peer"}
    return plain("; ".join(f"{name}: {version}" for name, version in found.items()) or "none of others")


def _range(each: Result, documents: int) -> tuple[float, float]:
    rates = [documents / run["seconds"] for run in each["runs"]]
    return min(rates), max(rates)


def _targets(told: Sequence[Result]) -> str:
    by_key = {each["key"]: each["median"] for each in told}
    rows = [
        (what, f"≥ {goal:g}", f"{by_key[ours]['rate'] / by_key[theirs]['rate']:.2f}",
         by_key[ours]["rate"] / by_key[theirs]["rate"] >= goal)
        for ours, theirs, goal, what in _RATIOS
        if ours in by_key and theirs in by_key
    ]  # fmt: skip
    if "esfeed-backfill" in by_key:
        peak = by_key["esfeed-backfill"]["peak_mb"]
        rows.append(("peak memory of the backfill", f"≤ {_MAX_MB} MB", f"{peak:.0f} MB", peak <= _MAX_MB))
    return targets(rows) if rows else ""
