#!/usr/bin/env python3
"""Events a second into each sink, beside a bare client of the same library, in the same run, at the same real server.

    .venv-test/bin/python scripts/bench/delivery.py --sink kafka,nats --events 5000

Both get a hundred events at a time, wait until the target has confirmed them all, and go on (see ``_pairs``). The bare
client's messages are made beforehand; the sink makes them of events while the clock runs. Rounds take turns, so that
whatever else the machine does is everybody's; shown are medians, and ``of bare`` is the median of the rounds' ratios.
``--ways`` shows the webhook's other modes instead. Servers that are not up are started, and ended.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from _pairs import BATCH, PAIRS, Pair, webhook

from esfeed.model.event import Event
from esfeed.testing.events import sample_event
from tests.support import services

_DOCUMENT = {"name": "web-1", "status": "ACTIVE", "project_id": "6c41f0aa" * 4, "metadata": {"note": "x" * 300}}
_SECRET = "whsec_" + "QUJD" * 8
_WAYS: dict[str, Callable[[], AbstractContextManager[Pair]]] = {
    "structured": webhook,
    "structured, signed": partial(webhook, secrets=[_SECRET]),
    "binary": partial(webhook, mode="binary"),
    "structured, concurrency = 4": partial(webhook, concurrency=4),
    f"batch of {BATCH}, signed": partial(webhook, mode="batch", secrets=[_SECRET]),
}


def events(count: int, begin: int) -> list[Event]:
    """That many, of 997 documents in turn; no two of a run have one id, as some servers drop repeats."""
    return [
        sample_event(position=n, doc_id=f"doc-{n % 997}", before=_DOCUMENT, after=_DOCUMENT)
        for n in range(begin, begin + count)
    ]


def measure(pair: Pair, count: int, rounds: int) -> tuple[float, float, float]:
    """Events a second of the bare client and of the sink, and the second by the first; medians."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        took = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            begin = (2 * number + which) * count + 1
            run = (pair.bare, pair.sink)[which](events(count, begin))
            began = time.perf_counter()
            run()
            took[which] = time.perf_counter() - began
        if number:  # the first warms up
            times.append((took[0], took[1]))
    bare, sink = (statistics.median(column) for column in zip(*times, strict=True))
    return count / bare, count / sink, statistics.median(bare / sink for bare, sink in times)


def main() -> None:
    """Measures, and prints a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sink", default=",".join(PAIRS), help="which, by commas; all")
    options.add_argument("--ways", action="store_true", help="the webhook's modes, instead of sinks")
    options.add_argument("--events", type=int, default=5000, help="of each round")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    names = asked.sink.split(",")
    if unknown := [name for name in names if name not in PAIRS]:
        options.error(f"no {', '.join(unknown)}; choose from {', '.join(PAIRS)}")
    chosen = _WAYS if asked.ways else {name: PAIRS[name] for name in names}
    rule = f"{'=' * 28} {'=' * 18} {'=' * 8} {'=' * 8} {'=' * 7}"
    print(f"{rule}\n{'sink':28} {'library':18} {'bare/s':8} {'sink/s':8} of bare\n{rule}")
    try:
        for name, made in chosen.items():
            with made() as pair:
                bare, sink, ratio = measure(pair, asked.events, asked.rounds)
            print(f"{name:28} {pair.library:18} {bare:<8,.0f} {sink:<8,.0f} {ratio:.2f}", flush=True)
    finally:
        services.release()
    print(rule)


if __name__ == "__main__":
    main()
