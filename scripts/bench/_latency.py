"""From the refresh that shows a document to its event at the target, at a poll every 10 ms; Kafka Connect beside it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from _connect import VERSION, Connect, prepare
from _feed import Running
from _install import Missing
from _measure import cpu

from tests.support.clients import Raw, eventually

_INTERVAL_MS = 10
_FIRST = 5
"""Documents before those that are measured: whatever starts slowly has started then."""
_START = 90.0
_GRACE = 10.0

OnMatch = Callable[[bytes, int], None]


def measure(raw: Raw, name: str, writes: int, repeat: int, folder: Path) -> dict[str, Any]:
    """Rounds in which both take turns, each on an index of its own; all delays of one are told together."""

    def feed(index: str, where: Path, on_match: OnMatch) -> AbstractContextManager[Any]:
        return Running(where, raw.engine.url, index, f"{_INTERVAL_MS}ms", rb'"after":\s?\{"n":\s?(-?\d+)', on_match)

    def connect(index: str, where: Path, on_match: OnMatch) -> AbstractContextManager[Any]:
        return Connect(where, raw.engine.url, index, _INTERVAL_MS, rb'"n":\s?(-?\d+)', on_match)

    programs = {"esfeed": ("esfeed, file", feed), "connect": (f"Kafka Connect source {VERSION}, topic", connect)}
    told: dict[str, Any] = {key: {"name": label, "missing": ""} for key, (label, _) in programs.items()}
    delays: dict[str, list[tuple[float, float]]] = {key: [] for key in programs}
    shares: dict[str, list[float]] = {key: [] for key in programs}
    lost = dict.fromkeys(programs, 0)
    try:
        prepare()
    except Missing as error:
        told["connect"]["missing"] = str(error)
    for number in range(repeat):
        for key, (_, program) in programs.items():
            if told[key]["missing"]:
                continue
            where = folder / f"{key}-{number}"
            where.mkdir()
            try:
                found, share = _round(raw, f"{name}-{key}-{number}", writes, where, program, random.Random(number))
            except (Missing, AssertionError) as error:
                told[key]["missing"] = f"{type(error).__name__}: {error}"
                continue
            delays[key] += found
            lost[key] += writes - len(found)
            shares[key].append(share)
    for key, found in delays.items():
        if found:
            told[key] |= {
                "writes": writes * repeat,
                "not_seen": lost[key],
                "after_refresh_ms": _cuts([after for after, _ in found]),
                "after_write_ms": _cuts([whole for _, whole in found]),
                "cores": statistics.median(shares[key]),
            }
    return {"interval_ms": _INTERVAL_MS, "programs": told}


def _round(
    raw: Raw,
    index: str,
    writes: int,
    folder: Path,
    program: Callable[[str, Path, OnMatch], AbstractContextManager[Any]],
    rng: random.Random,
) -> tuple[list[tuple[float, float]], float]:
    """Milliseconds of each document since its refresh was answered, and since it was written; and cores in use."""
    raw.create(index, {"updated_at": {"type": "date"}, "n": {"type": "long"}}, {"refresh_interval": "-1"})
    arrived: dict[int, int] = {}

    def on_match(number: bytes, now: int) -> None:
        arrived.setdefault(int(number), now)

    _write(raw, index, -_FIRST)
    times: dict[int, tuple[int, int]] = {}
    with program(index, folder, on_match) as running:
        eventually(lambda: -_FIRST in arrived, seconds=_START)
        for number in range(1 - _FIRST, 0):
            _write(raw, index, number)
            time.sleep(0.2)
        began, spent = time.monotonic(), cpu(running.pid)
        for number in range(writes):
            times[number] = _write(raw, index, number)
            # Not in step with anybody's interval.
            time.sleep(rng.uniform(0.03, 0.07))
        share = (cpu(running.pid) - spent) / (time.monotonic() - began)
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and any(number not in arrived for number in times):
            time.sleep(0.05)
    raw.drop(index)
    return [
        ((arrived[number] - shown) / 1e6, (arrived[number] - written) / 1e6)
        for number, (written, shown) in times.items()
        if number in arrived
    ], share


def _write(raw: Raw, index: str, number: int) -> tuple[int, int]:
    """When it was begun to write, and when its refresh was answered."""
    began = time.monotonic_ns()
    raw.put(index, f"d{number}", {"n": number, "updated_at": int(time.time() * 1000), "pad": "x" * 300})
    raw.refresh(index)
    return began, time.monotonic_ns()


def _cuts(values: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "max": max(values)}
