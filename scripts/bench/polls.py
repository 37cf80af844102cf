#!/usr/bin/env python3
"""What following costs, in five measurements; "all" does one after the other.

    scripts/bench/polls following --documents 1000000   # idle polls, k deletes, a re-sync, beside a bare scan of ids
    scripts/bench/polls latency --writes 500            # from the refresh to the event, at a poll every 10 ms
    scripts/bench/polls rate --changes 2000 --minutes 10
    scripts/bench/polls profile --documents 200000      # where the time of a first poll goes
    scripts/bench/polls state --revisions 10000000      # needs no engine
    scripts/bench/polls all --engine os2

Indices and files are removed; the results go to docs/benchmarks, with tables and plots.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import _following
import _latency
import _profile
import _rate
import _state
from _machine import DOCS, INSTANCE, circumstances, engine_for, keep

from tests.support.clients import Raw
from tests.support.engines import Engine

Measure = Callable[[argparse.Namespace, Raw, str, Path], dict[str, Any]]


def following(asked: argparse.Namespace, raw: Raw, name: str, folder: Path) -> dict[str, Any]:
    """Idle polls, deletes and a re-sync."""
    job = _following.TrackerOptions(raw, name, asked.documents, folder)
    return {"documents": asked.documents, **job.measure(asked.deletes, asked.repeat)}


def latency(asked: argparse.Namespace, raw: Raw, name: str, folder: Path) -> dict[str, Any]:
    """Delays of single documents."""
    return _latency.measure(raw, name, asked.writes, asked.repeat, folder)


def rate(asked: argparse.Namespace, raw: Raw, name: str, folder: Path) -> dict[str, Any]:
    """Changes at a steady rate."""
    return _rate.measure(raw, name, asked.changes, asked.minutes, folder)


def profile(asked: argparse.Namespace, raw: Raw, name: str, folder: Path) -> dict[str, Any]:
    """The stages of a first poll."""
    return _profile.measure(raw, name, asked.documents, folder)


WITH_ENGINE: dict[str, Measure] = {"following": following, "latency": latency, "rate": rate, "profile": profile}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what was asked for; returns 3 where some of it failed."""
    asked = _parse(arguments)
    parts = [*WITH_ENGINE, "state"] if asked.part == "all" else [asked.part]
    failed = 0
    for part in parts:
        try:
            if part == "state":
                _keep(part, None, asked, lambda folder: _state.measure(asked.revisions, folder))
            else:
                with engine_for(asked.engine, asked.instance) as engine:
                    _on_engine(part, engine, asked)
        except Exception as error:
            if asked.part != "all":
                raise
            print(f"{part}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed += 1
    if not asked.no_docs:
        from _report import write

        write(asked.results, asked.results.parent)
    return 3 if failed else 0


def _on_engine(part: str, engine: Engine, asked: argparse.Namespace) -> None:
    raw, name = Raw(engine), f"bench-{part}-{os.getpid()}-{int(time.time())}"
    try:
        _keep(part, engine, asked, lambda folder: WITH_ENGINE[part](asked, raw, name, folder))
    finally:
        raw.drop(name)


def _keep(
    part: str, engine: Engine | None, asked: argparse.Namespace, measure: Callable[[Path], dict[str, Any]]
) -> None:
    about = circumstances(engine)
    with tempfile.TemporaryDirectory(prefix="esfeed-bench-") as folder:
        found = measure(Path(folder))
    print(json.dumps(found, indent=1))
    path = keep(f"{part}-{engine.name}" if engine else part, {**about, **found}, asked.results)
    print(f"kept in {path}", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*WITH_ENGINE, "state", "all"])
    parser.add_argument("--engine", default="es7", help="a name that scripts/engines knows")
    parser.add_argument("--instance", default="main", help=f'"main", or "{INSTANCE}": an engine for this run alone')
    parser.add_argument("--documents", type=int, default=1_000_000, help="of following and profile")
    parser.add_argument("--deletes", type=int, default=100, help="the most at once, of following")
    parser.add_argument("--writes", type=int, default=300, help="a round, of latency")
    parser.add_argument("--changes", type=int, default=2_000, help="a second, of rate")
    parser.add_argument("--minutes", type=float, default=1.0, help="of rate")
    parser.add_argument("--revisions", type=int, default=10_000_000, help="of state")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of deletes, and of latency")
    parser.add_argument("--results", type=Path, default=DOCS / "results", help="where results are kept")
    parser.add_argument("--no-docs", action="store_true", help="make no tables and plots of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
