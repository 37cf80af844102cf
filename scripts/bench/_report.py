"""From the kept results to what docs/benchmarks shows: ``results.inc`` with tables, and the plots. Pure but for files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from _plots import Bar, bars
from _report_polls import POLLS

Result = dict[str, Any]

_TARGETS = (
    ("esfeed-backfill", "scan", 2.5, "backfill beside helpers.scan + orjson, defaults"),
    ("esfeed-backfill", "scan-5000", 2.5, "backfill beside helpers.scan + orjson, size=5000"),
    ("esfeed-backfill", "elasticdump-10000", 3.0, "backfill beside elasticdump, --limit=10000"),
    ("esfeed-backfill", "native-file", 0.5, "backfill beside the native reader, to a file"),
    ("esfeed-backfill", "native-2", 0.5, "backfill beside the native reader, thrown away"),
    ("esfeed-snapshot", "scan", 1.2, "first poll beside helpers.scan + orjson, defaults"),
    ("esfeed-snapshot", "scan-5000", 1.2, "first poll beside helpers.scan + orjson, size=5000"),
)


def write(results: Path, docs: Path) -> None:
    """Makes all tables and plots anew from ``results/*.json``."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    parts = []
    for name, result in found.items():
        kind, _, engine = name.partition("-")
        if kind == "reads":
            parts.append((0, name, _reads(name, result, docs)))
        elif kind in POLLS:
            parts.append((1 + list(POLLS).index(kind), name, POLLS[kind](name, result, docs)))
    text = "\n".join(part for _, _, part in sorted(parts))
    (docs / "results.inc").write_text(".. Made by scripts/bench from results/*.json; edit neither.\n\n" + text)


def _reads(name: str, result: Result, docs: Path) -> str:
    told = [each for each in result["contenders"] if "median" in each]
    rates = [
        Bar(each["name"], each["kind"], each["median"]["rate"], *_range(each, result["documents"])) for each in told
    ]
    bars(rates, "documents a second (median; the line is from the least to the most)", docs / name)
    rows = [
        [
            each["name"],
            each["version"],
            f"{each['median']['rate']:,.0f}",
            f"{each['median']['seconds']:.2f}",
            f"{each['median']['cpu']:.2f}",
            f"{each['median']['engine_cpu']:.2f}",
            f"{each['median']['peak_mb']:,.0f}",
            f"{each['median']['load']:.1f}",
            "; ".join(each["faults"]) or "exact" if each["key"] not in ("ids", "native-1", "native-2") else "counted",
        ]
        for each in sorted(told, key=lambda each: -each["median"]["rate"])
    ]
    absent = [
        f"* {each['name']}: {each['missing'] or '; '.join(each['faults'])}"
        for each in result["contenders"]
        if "median" not in each
    ]
    size = result["octets"] / result["documents"]
    return "\n\n".join(
        [
            heading(f"Whole reads, {result['engine']}"),
            f"{result['documents']:,} documents of {size:.0f} bytes, {result['shards']} shards; {result['repeat']} "
            "rounds in which all take turns; medians. " + where(result),
            figure(name, f"Documents a second of each program, {result['engine']}"),
            table(
                ["Program", "Version", "Documents/s", "s", "CPU s", "Engine CPU s", "Peak MB", "Load", "Output"],
                rows,
                [30, 16, 10, 6, 7, 8, 8, 6, 12],
            ),
            *(["Not measured in this run:\n\n" + "\n".join(absent)] if absent else []),
            _ratios(told),
        ]
    ) + "\n"  # fmt: skip


def _range(each: Result, documents: int) -> tuple[float, float]:
    rates = [documents / run["seconds"] for run in each["runs"]]
    return min(rates), max(rates)


def _ratios(told: Sequence[Result]) -> str:
    by_key = {each["key"]: each["median"] for each in told}
    rows = [
        [what, f"{goal:g} ×", f"{by_key[ours]['rate'] / by_key[theirs]['rate']:.2f} ×",
         verdict(by_key[ours]["rate"] / by_key[theirs]["rate"] >= goal)]
        for ours, theirs, goal, what in _TARGETS
        if ours in by_key and theirs in by_key
    ]  # fmt: skip
    if "esfeed-backfill" in by_key:
        peak = by_key["esfeed-backfill"]["peak_mb"]
        rows.append(["peak memory of the backfill", "≤ 150 MB", f"{peak:.0f} MB", verdict(peak <= 150)])
    return table(["Ratio", "Target", "Measured", ""], rows, [50, 14, 14, 10])


def verdict(met: bool) -> str:
    """In a word."""
    return "met" if met else "missed"


def heading(text: str) -> str:
    """Of a section."""
    return f"{text}\n{'-' * len(text)}"


def where(result: Result) -> str:
    """The circumstances and the command, in a sentence or two."""
    machine = result["machine"]
    engine = f", {result['engine']} ({_options(result['engine_java'])})" if result["engine"] else ""
    return (
        f"{result['date']} UTC, commit {result['commit']}, Python {result['python']}{engine}, {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB; load at the beginning {result['load_at_begin']}. "
        f"Command: ``{result['command']}``"
    )


def _options(java: str) -> str:
    return java if java else "compiled all the way, as in production"


def figure(name: str, what: str) -> str:
    """Both plots; the theme shows one."""
    return "\n\n".join(
        f".. image:: {name}-{theme}.svg\n   :class: only-{theme}\n   :alt: {what}\n   :width: 100%"
        for theme in ("light", "dark")
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """A list-table; the first column is text, the others as they are."""
    out = [f".. list-table::\n   :header-rows: 1\n   :widths: {' '.join(map(str, widths))}\n"]
    for row in [head, *rows]:
        out += [f"   {'* -' if number == 0 else '  -'} {_cell(text)}" for number, text in enumerate(row)]
    return "\n".join(out)


def _cell(text: str) -> str:
    return text.replace("*", "\\*").replace("|", "\\|").replace("`", "\\`") if text else "\\"
