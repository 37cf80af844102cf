#!/usr/bin/env python3
"""How fast whole indices are read: esfeed beside the programs people use, and a native reader as the bound.

    scripts/bench/reads --engine es7 --documents 500000 --repeat 5
    scripts/bench/reads --peers all                 # the heavy ones too
    scripts/bench/reads --only esfeed-backfill scan --documents 100000 --no-docs

The programs are installed into ~/.cache/esfeed/bench (ESFEED_BENCH_DIR). All take turns, so that whatever else the
machine does is everybody's; medians are shown. Seconds are of the whole program, its start among them; memory and
processor time are of all its processes. Each output is read back and compared with what was written into the engine,
document by document. The index and all files are removed; the result goes to docs/benchmarks, with tables and plots.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _contenders import CONTENDERS, Contender, Target
from _data import SHARDS, Total, load
from _install import Missing
from _machine import DOCS, INSTANCE, circumstances, engine_for, keep
from _measure import Cost, Failed, cpu, run

from tests.support.clients import Raw
from tests.support.engines import Engine


@dataclass
class Record:
    """All that came of one contender. ``faults`` are of its output, ``missing`` why it did not take part."""

    contender: Contender
    version: str = ""
    missing: str = ""
    runs: list[dict[str, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def told(self, documents: int) -> dict[str, Any]:
        """As it is kept."""
        about = {"key": self.contender.key, "name": self.contender.name, "kind": self.contender.kind}
        result: dict[str, Any] = {
            **about,
            "version": self.version,
            "missing": self.missing,
            "runs": self.runs,
            "faults": self.faults,
        }
        if self.runs:
            middle = {key: statistics.median(run[key] for run in self.runs) for key in self.runs[0]}
            result["median"] = {"rate": documents / middle["seconds"], **middle}
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns 3 where something that was to take part failed or wrote something else than was there."""
    asked = _parse(arguments)
    with engine_for(asked.engine, asked.instance) as engine:
        about, wanted, records = _measure(engine, asked)
    told = [record.told(asked.documents) for record in records]
    result = {
        **about,
        "documents": asked.documents,
        "octets": wanted.octets,
        "shards": SHARDS,
        "rewrite_every": asked.rewrite_every,
        "digest": wanted.digest,
        "repeat": asked.repeat,
        "contenders": told,
    }
    path = keep("-".join(filter(None, ["reads", asked.engine, asked.label])), result, asked.results)
    _say(f"kept in {path}")
    print(_table(told))
    if not asked.no_docs:
        from _report import write

        write(asked.results, asked.results.parent)
    bad = any(record.faults or not record.runs for record in records if record.contender.kind == "esfeed")
    return 3 if bad else 0


def _measure(engine: Engine, asked: argparse.Namespace) -> tuple[dict[str, Any], Total, list[Record]]:
    """The circumstances, what there was to read, and what came of each."""
    raw, index = Raw(engine), f"bench-reads-{os.getpid()}-{int(time.time())}"
    about = {**circumstances(engine), "index": index}
    began = time.monotonic()
    try:
        wanted = load(raw, index, asked.documents, rewrite_every=asked.rewrite_every)
        _say(
            f"{asked.documents:,} documents of {wanted.octets / wanted.documents:.0f} bytes loaded in "
            f"{time.monotonic() - began:.0f} s"
        )
        target = Target(engine, index, SHARDS, asked.documents)
        records = _prepare(target, asked)
        _rounds(records, target, wanted, asked)
    finally:
        raw.drop(index)
    return about, wanted, records


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    keys = [contender.key for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="es7", help="a name that scripts/engines knows")
    parser.add_argument(
        "--instance",
        default="main",
        help=f'"main", or "{INSTANCE}": an engine for this run alone, which compiles all the way, with a heap of 1 GB',
    )
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--rewrite-every", type=int, default=0, metavar="N", help="write each N-th document twice, as in a living index"
    )
    parser.add_argument("--peers", choices=["quick", "all"], default="quick", help="all: those slow to start, too")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY", help=f"of {', '.join(keys)}")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that one run may take")
    parser.add_argument("--results", type=Path, default=DOCS / "results", help="where results are kept")
    parser.add_argument("--label", default="", help="kept beside the other results of the engine, not in their place")
    parser.add_argument("--no-docs", action="store_true", help="make no tables and plots of the results")
    return parser.parse_args(arguments)


def _prepare(target: Target, asked: argparse.Namespace) -> list[Record]:
    records = []
    for contender in CONTENDERS:
        if asked.only and contender.key not in asked.only:
            continue
        record = Record(contender)
        records.append(record)
        if contender.heavy and asked.peers != "all" and not asked.only:
            record.missing = "not asked for: slow to start (--peers all)"
            continue
        try:
            record.version = contender.prepare(target)
        except (Missing, OSError, ValueError) as error:
            record.missing = str(error)
            _say(f"{contender.name} does not take part: {error}")
    return records


def _rounds(records: Sequence[Record], target: Target, wanted: Total, asked: argparse.Namespace) -> None:
    for number in range(asked.repeat):
        # Each round begins with another, so that nobody always comes after the same one.
        first = number % len(records)
        for record in [*records[first:], *records[:first]]:
            if record.missing:
                continue
            with tempfile.TemporaryDirectory(prefix="esfeed-bench-") as name:
                try:
                    cost, engine_cpu = _once(record.contender, target, Path(name), asked.limit)
                    fault = _check(record.contender, Path(name), cost, wanted)
                except Failed as error:
                    fault, cost = f"failed: {error}", None
                except Exception as error:
                    # Whatever one of them does, the others go on.
                    fault, cost = f"failed: {type(error).__name__}: {error}", None
            if fault and fault not in record.faults:
                record.faults.append(fault)
            if cost is None:
                _say(f"{number + 1}/{asked.repeat} {record.contender.name}: {fault}")
                continue
            measured = {key: value for key, value in asdict(cost).items() if key != "output"}
            record.runs.append({**measured, "engine_cpu": engine_cpu})
            _say(f"{number + 1}/{asked.repeat} {record.contender.name}: {asked.documents / cost.seconds:,.0f}/s, "
                 f"{cost.peak_mb:.0f} MB, load {cost.load:.2f} {fault}")  # fmt: skip


def _once(contender: Contender, target: Target, folder: Path, limit: float) -> tuple[Cost, float]:
    command = contender.command(target, folder)
    before = cpu(target.engine.pid)
    cost = run(command, folder, limit)
    return cost, cpu(target.engine.pid) - before


def _check(contender: Contender, folder: Path, cost: Cost, wanted: Total) -> str:
    """What is wrong with the output; nothing where nothing is."""
    if not contender.reads:
        found = contender.count(folder) if contender.count else json.loads(cost.output)["documents"]
        return "" if found == wanted.documents else f"{found:,} documents instead of {wanted.documents:,}"
    faults = []
    for read in contender.reads:
        got = Total()
        for id, source in read(folder):
            got.add(id, source)
        faults.append(got.against(wanted))
    return "; ".join(filter(None, faults))


def _table(told: Sequence[dict[str, Any]]) -> str:
    rows = [f"{'':54} {'documents/s':>11} {'s':>7} {'CPU s':>7} {'engine':>7} {'MB':>6} {'load':>5}  output"]
    for each in told:
        if "median" not in each:
            rows.append(f"{each['name']:54} {each['missing'] or '; '.join(each['faults'])}")
            continue
        m = each["median"]
        rows.append(
            f"{each['name']:54} {m['rate']:11,.0f} {m['seconds']:7.2f} {m['cpu']:7.2f} {m['engine_cpu']:7.2f} "
            f"{m['peak_mb']:6.0f} {m['load']:5.2f}  {'; '.join(each['faults']) or 'exact'}"
        )
    return "\n".join(rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
