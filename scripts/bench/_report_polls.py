"""The reports of what ``polls.py`` measures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from _plots import lines
from _rst import ABSENT, Result, bullets, figure, heading, section, table, targets, where


def _following(name: str, result: Result, docs: Path) -> str:
    small, large = result["idle"]
    scans = result["resync"]["scans"]
    scan_ms = statistics.median(scan["ms"] for scan in scans)
    resync = result["resync"]["poll"]
    deletes = _deletes(result["deletes"])
    rows = [
        ("poll, nothing new", *_cells(each["requests"], each["bytes"], each["ms"]), f"{each['documents']:,} documents")
        for each in (small, large)
    ]
    rows += [
        (
            f"{count:,} deleted",
            *_cells(*costs[:3]),
            f"{costs[3]:.2%} of the bytes, {costs[4]:.1%} of the time of a scan",
        )
        for count, costs in deletes.items()
    ]
    told = ", ".join(f"{count:,} {op}" for op, count in resync["events"].items()) or "no event"
    rows.append(("re-sync, nothing changed", *_cells(resync["requests"], resync["bytes"], resync["ms"]), told))
    rows.append(("bare scan of ids and versions", "", f"{scans[0]['bytes']:,}", f"{scan_ms:,.1f}", "a thread a shard"))
    most = max(deletes)
    ratio = large["ms"] / small["ms"]
    speed = scan_ms / resync["ms"]
    return section(
        heading(f"Polls: {result['engine']}"),
        where(result),
        f"{result['documents']:,} documents, 2 shards, followed by ``{result['tracker']}``; medians. The scan is run "
        "beside each poll, in the same process.",
        table(["Poll", "Requests", "Bytes", "ms", ""], rows, [28, 10, 14, 12, 36]),
        targets(
            [
                ("poll with nothing new, requests", "1", f"{large['requests']:g}", large["requests"] == 1),
                (f"its time, {large['documents']:,} : 1,000 documents", "≤ 1.2", f"{ratio:.2f}", ratio <= 1.2),
                (f"{most:,} deletes, bytes : a scan's", "≤ 1 %", f"{deletes[most][3]:.2%}", deletes[most][3] <= 0.01),
                (f"{most:,} deletes, time : a scan's", "≤ 10 %", f"{deletes[most][4]:.1%}", deletes[most][4] <= 0.1),
                ("re-sync, documents/s : a scan's", "≥ 0.5", f"{speed:.2f}", speed >= 0.5 and not resync["events"]),
            ]
        ),
    )


def _deletes(found: Sequence[Result]) -> dict[int, tuple[float, float, float, float, float]]:
    """By how many were deleted: requests, bytes, milliseconds, and the last two as a share of a scan's; medians."""
    told = {}
    for count in sorted({each["deletes"] for each in found}):
        same = [each for each in found if each["deletes"] == count]
        told[count] = (
            statistics.median(each["poll"]["requests"] for each in same),
            statistics.median(each["poll"]["bytes"] for each in same),
            statistics.median(each["poll"]["ms"] for each in same),
            statistics.median(each["poll"]["bytes"] / each["scan"]["bytes"] for each in same),
            statistics.median(each["poll"]["ms"] / each["scan"]["ms"] for each in same),
        )
    return told


def _cells(requests: float, octets: float, ms: float) -> tuple[str, str, str]:
    return f"{requests:,.0f}", f"{octets:,.0f}", f"{ms:,.1f}"


def _latency(name: str, result: Result, docs: Path) -> str:
    programs = result["programs"]
    rows = [
        (each["name"], *(f"{each[since][cut]:.1f}" for since in ("after_refresh_ms", "after_write_ms")
                         for cut in ("p50", "p99")), f"{each['cores']:.2f}", f"{each['not_seen']}")
        for each in programs.values()
        if "writes" in each
    ]  # fmt: skip
    absent = bullets((each["name"], each["missing"]) for each in programs.values() if each["missing"])
    ours, other = programs["esfeed"], programs["connect"]
    wanted = []
    if "writes" in ours:
        after = ours["after_refresh_ms"]
        if "writes" in other:
            theirs = other["after_refresh_ms"]["p50"]
            wanted.append(("p50 : Kafka Connect's", "≤ 1", f"{after['p50'] / theirs:.2f}", after["p50"] <= theirs))
        wanted.append(("p99 : its p50", "≤ 3", f"{after['p99'] / after['p50']:.2f}", after["p99"] <= 3 * after["p50"]))
    return section(
        heading(f"From the refresh to the event: {result['engine']}"),
        where(result),
        f"Single documents, a poll every {result['interval_ms']} ms. Milliseconds since the refresh that shows a "
        "document was answered, and since the document was begun to be written.",
        table(
            ["Program", "p50 since the refresh", "p99", "p50 since the write", "p99", "Cores", "Not told"],
            rows,
            [34, 12, 10, 12, 10, 8, 10],
        ),
        f"{ABSENT}\n\n{absent}" if absent else "",
        targets(wanted),
    )


def _rate(name: str, result: Result, docs: Path) -> str:
    lag, cores = result["lag_polls"], result["cores"]
    return section(
        heading(f"Changes at a steady rate: {result['engine']}"),
        where(result),
        f"{result['rate']:,} changes a second asked for, {result['reached']:,.0f} reached, for {result['minutes']:g} "
        f"minutes; a poll and a refresh every {result['interval_s']:g} s. The lag of a change is the time from the "
        f"refresh that shows it to its line in the file. {result['told']:,} of {result['written']:,} changes were told "
        "as they were; any other was overtaken by a later one of its document.",
        table(
            ["Lag p50", "Lag p99", "Largest lag", "CPU of esfeed", "CPU of the engine", "CPU of the bench"],
            [
                (
                    *(f"{lag[cut]:.2f} polls" for cut in ("p50", "p99", "max")),
                    *(f"{cores[who]:.2f} cores" for who in ("esfeed", "engine", "bench")),
                )
            ],
            [16, 16, 16, 16, 18, 18],
        ),
        targets([("largest lag", "≤ 2 polls", f"{lag['max']:.2f} polls", lag["max"] <= 2)]),
    )


def _profile(name: str, result: Result, docs: Path) -> str:
    rows = [
        (f"{'… ' if stage['depth'] else ''}{stage['name']}", f"{stage['cpu']:.1f}", f"{stage['wall']:.1f}")
        for stage in result["stages"]
    ]
    return section(
        heading(f"Where the time of a first poll goes: {result['engine']}"),
        where(result),
        f"Microseconds a document, of {result['documents']:,}; a stage with … is part of the one before it. Counting "
        "costs time itself, most where a stage is called for each document, so take them for shares.",
        table(
            ["Stage", "Processor time", "Time"],
            [*rows, ("all", f"{result['cpu']:.1f}", f"{result['wall']:.1f}")],
            [50, 16, 16],
        ),
    )


_ASKED = {
    "count_ms": "count of a shard",
    "histogram_ms": "counts of all its buckets",
    "descent_ms": "counts within one bucket",
    "bottom_ms": "counts at the bottom",
    "lookup_ms": "1,000 revisions by key",
}


def _state(name: str, result: Result, docs: Path) -> str:
    steps, kept = result["steps"], result["with_documents"]
    series = {label: [(step["revisions"], step[key]) for step in steps] for key, label in _ASKED.items()}
    lookups = {label: series.pop(label) for label in ("1,000 revisions by key", "counts at the bottom")}
    lines(lookups | {"counts within one bucket": series["counts within one bucket"]}, "revisions", "ms", docs / name)
    rows = [
        (f"{step['revisions']:,}", f"{step['bytes']:.0f}", f"{step['a_second']:,.0f}",
         *(f"{step[key]:.2f}" for key in _ASKED))
        for step in steps
    ]  # fmt: skip
    last, first = steps[-1], steps[0]
    # Ten times as many may cost a constant more, not ten times as much.
    growth = max(last[key] / first[key] for key in ("count_ms", "descent_ms", "bottom_ms", "lookup_ms"))
    factor = last["revisions"] / first["revisions"]
    return section(
        heading("The state"),
        where(result),
        "Revisions as a feed by ``seq_no`` keeps them, ids of 36 letters, two shards; no engine takes part. "
        "Milliseconds, medians.",
        figure(name, "Milliseconds of counts and lookups as the state grows"),
        table(
            ["Revisions", "Bytes each", "Written/s", *(f"{label}, ms" for label in _ASKED.values())],
            rows,
            [14, 10, 10, 12, 12, 12, 12, 12],
        ),
        f"With their contents, {kept['documents']:,} documents whose ``_source`` has {kept['source']:.0f} bytes (half "
        f"of them random) take {kept['with']:.0f} bytes each, and {kept['without']:.0f} without.",
        targets(
            [
                ("bytes a revision, without documents", "≤ 100", f"{last['bytes']:.0f}", last["bytes"] <= 100),
                (
                    f"time of counts and lookups, {factor:g} times as many",
                    "≤ 3 times",
                    f"{growth:.1f} times",
                    growth <= 3,
                ),
            ]
        ),
    )


POLLS: dict[str, Callable[[str, Result, Path], str]] = {
    "following": _following,
    "latency": _latency,
    "rate": _rate,
    "profile": _profile,
    "state": _state,
}
