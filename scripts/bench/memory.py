#!/usr/bin/env python3
"""Shows whether the memory of a feed stays flat for hours: one look every few seconds, a summary, and a plot.

    scripts/bench/memory --minutes 120 --rate 500                     # an engine for this run alone
    scripts/bench/memory --minutes 20 --instance memory --no-docs     # an engine that is up, or that stays up

``esfeed run --http`` follows an index of a real engine into a file and a webhook, and serves one reader of server-sent
events. The bench creates, updates and deletes documents at a steady rate; the number of documents is bounded. The
summary compares the memory of the last minute with that of the minute after the first ten. Each look is a line of a CSV
file. The bench removes the index and the feed's files; the result goes to docs/benchmarks.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _feed import serving
from _machine import DOCS, INSTANCE, circumstances, engine_for, keep
from _resident import Sample, look
from _world import Reader, Writer, receiver

from tests.support.clients import Raw, eventually

_SETTINGS = """\
state = "sqlite:///{folder}/state.db"
max_log = "{max_log}"
[clusters.main]
hosts = ["{engine}"]
[watches.w]
index = "{index}"
interval = "1s"
mass_delete_limit = "100%"
[sinks.audit]
type = "file"
path = "{folder}/events.jsonl"
rotate_size = "256MB"
rotate_keep = 1
[sinks.hook]
type = "webhook"
url = "{hook}"
mode = "{mode}"
allow_private = true
[http]
anonymous = "loopback"
"""
_SETTLED = 600.0
_MEAN_OF = 60.0
_STANDS_STILL = 300.0
_POINTS = 240


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs as long as asked; returns 1 where memory grew by more than ``--most``."""
    asked = _parse(arguments)
    asked.csv.parent.mkdir(parents=True, exist_ok=True)
    # However this is ended, the feed ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with engine_for(asked.engine, asked.instance) as engine:
        about = circumstances(engine)
        raw, index = Raw(engine), f"bench-memory-{os.getpid()}-{int(time.time())}"
        raw.create(index, {"updated_at": {"type": "date"}}, {"refresh_interval": "1s"})
        try:
            with tempfile.TemporaryDirectory(prefix="esfeed-memory-", dir=asked.folder) as folder:
                samples = _run(raw, index, Path(folder), asked)
        finally:
            raw.drop(index)
    result = {**about, "rate": asked.rate, "live": asked.live, "mode": asked.webhook, **_summary(samples)}
    print(json.dumps({key: value for key, value in result.items() if key != "samples"}, indent=1))
    if not asked.no_docs:
        from _report import write

        keep(f"memory-{engine.name}", result, asked.results)
        write(asked.results, asked.results.parent)
    return int(result["ratio"] > asked.most)


@contextmanager
def _running(writer: Writer) -> Iterator[None]:
    """Ends the writer however the run ends: a late write would make the index anew."""
    writer.start()
    try:
        yield
    finally:
        writer.over.set()
        writer.join()


def _run(raw: Raw, index: str, folder: Path, asked: argparse.Namespace) -> list[Sample]:
    samples: list[Sample] = []
    writer = Writer(raw, index, asked.rate, asked.live)
    with receiver() as (hook, requests), asked.csv.open("w", newline="") as file:
        settings = _SETTINGS.format(
            folder=folder, engine=raw.engine.url, index=index, hook=hook, mode=asked.webhook, max_log=asked.max_log
        )
        lines = csv.writer(file)
        lines.writerow(Sample.heads())
        with serving(folder, settings) as (feed, url), _running(writer):
            reader = Reader(url)
            reader.start()
            # From here on the feed has done everything once.
            eventually(lambda: writer.failure or reader.failure or (requests[0] and reader.events), 120.0)
            began = time.monotonic()
            while (now := time.monotonic() - began) < asked.minutes * 60:
                samples.append(look(feed.pid, folder, now, writer.written, requests[0], reader.events))
                lines.writerow(astuple(samples[-1]))
                file.flush()
                if failure := writer.failure or reader.failure:
                    raise failure
                before = [one.read for one in samples if one.seconds < now - _STANDS_STILL]
                if before and before[-1] == reader.events:
                    raise SystemExit(f"the feed stands still: {(folder / 'log.jsonl').read_text()[-1000:]}")
                time.sleep(asked.every)
    return samples


def _summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """The numbers of a run; one that is shorter than eleven minutes counts as settled from its middle."""
    last = samples[-1]
    end = last.seconds
    settled = _SETTLED if end > _SETTLED + _MEAN_OF else end / 2

    def mean(begin: float) -> float:
        some = [one.pss for one in samples if begin <= one.seconds <= begin + _MEAN_OF]
        return statistics.fmean(some) / 1024

    before, after = mean(settled), mean(end - _MEAN_OF)
    return {
        "minutes": end / 60,
        "written": last.written,
        "reached": (last.written - samples[0].written) / end,
        "webhook_requests": last.requests,
        "read": last.read,
        "settled_after_s": settled,
        "settled_mb": before,
        "end_mb": after,
        "ratio": after / before,
        "peak_mb": max(one.pss for one in samples) / 1024,
        "threads": max(one.threads for one in samples),
        "files": max(one.files for one in samples),
        "state_mb": (last.state + last.wal) / 1024,
        "samples": [[one.seconds, one.pss, one.anonymous] for one in samples[:: max(1, len(samples) // _POINTS)]],
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="es9", help="a name that scripts/engines knows")
    parser.add_argument(
        "--instance", default=INSTANCE, help=f'"{INSTANCE}": an engine for this run alone; or any other'
    )
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--rate", type=int, default=500, help="operations a second")
    parser.add_argument("--live", type=int, default=20_000, help="documents at a time")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--webhook", choices=["structured", "batch"], default="batch", help="the mode of the webhook")
    parser.add_argument("--max-log", default="10GB", help="as in the settings")
    parser.add_argument("--most", type=float, default=1.1, help="the end beside the settled minute, at most")
    parser.add_argument("--csv", type=Path, default=Path("build/memory.csv"), help="where each look is kept")
    parser.add_argument("--folder", type=Path, help="where the feed keeps its state and files; /tmp by default")
    parser.add_argument("--results", type=Path, default=DOCS / "results", help="where the result is kept")
    parser.add_argument("--no-docs", action="store_true", help="keep no result, and make no table and plot of it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
