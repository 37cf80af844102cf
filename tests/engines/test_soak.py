"""``scripts/soak`` in short, on real engines; and that its oracle sees each fault that it claims to look for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_oracle import SEED
from tests.support.engines import SCRIPT, Engine
from tests.support.oracle import KINDS, Oracle, digest

SOAK = SCRIPT.with_name("soak")

Event = dict[str, Any]
KEY = ("_doc", "a", None)


@pytest.mark.engines
@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
def test_a_short_soak_with_kills_finds_nothing(engine: Engine) -> None:
    """Three writers, kill -9 and SIGTERM, two comparisons."""
    options = f"--operations 2400 --round 1200 --kill 3 --documents 300 --rest 0.02 --seed {SEED} --json".split()
    done = subprocess.run(
        [sys.executable, str(SOAK), "--engine", engine.name, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["faults"] == []
    assert {row[kind] for kind in KINDS} == {0}
    assert (row["operations"], row["kills"], row["terms"]) == (2400, 3, 1)
    assert row["events"] > 600


# --- the oracle itself; no engine is needed


def event(place: int, op: str, before: Any = None, after: Any = None, number: int | None = None, **more: Any) -> Event:
    """An event about document ``a``, as esfeed writes it; ``number`` is its ``_seq_no``, ``more`` goes into origin."""
    changed = None
    if op == "updated":
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    origin = {"index": "i", "version": place, "seq_no": number, "routing": None, "snapshot": op == "read", **more}
    data = {
        "op": op,
        "type": "_doc",
        "id": "a",
        "changed": changed,
        "before": before,
        "after": after,
        "origin": origin,
        "position": place,
    }
    return {"specversion": "1.0", "id": f"e{place}", "type": f"esfeed.{op}", "subject": "_doc/a", "data": data}


ONE, TWO = {"n": 1}, {"n": 2}
SOUND = [
    event(1, "read", after=ONE, number=1),
    event(2, "updated", ONE, TWO, number=4),
    event(3, "deleted", TWO, number=4),
    event(4, "created", after=ONE, number=9),
]


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Oracle]:
    """An oracle that was told those events (or bytes as they are), a line each, in a file that grows."""

    def tell(*events: Event | bytes) -> Oracle:
        path = tmp_path / "events.jsonl"
        oracle = Oracle(path)
        for one in events:
            with path.open("ab") as file:
                file.write(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n")
            oracle.follow()
        return oracle

    return tell


def test_the_oracle_takes_a_sound_feed_and_its_repeats(told: Callable[..., Oracle]) -> None:
    """Half a line, too, which is cut off by the next start."""
    oracle = told(*SOUND[:3], *SOUND[1:], b'{"half')
    assert oracle.faults == []
    assert (oracle.events, oracle.repeats, oracle.rewinds) == (4, 2, 1)
    assert oracle.compare({KEY: digest(ONE)}) == []
    assert [fault.kind for fault in oracle.compare({KEY: digest(TWO)})] == ["stale"]
    assert [fault.kind for fault in oracle.compare({})] == ["phantom"]


def test_the_oracle_misses_what_was_not_told(told: Callable[..., Oracle]) -> None:
    """The last event told is a delete, but the document is there."""
    assert [fault.kind for fault in told(*SOUND[:3]).compare({KEY: digest(ONE)})] == ["lost"]


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        pytest.param("lost", [SOUND[0], event(3, "updated", ONE, TWO, number=4)], id="a position is left out"),
        pytest.param("out of order", [*SOUND[:2], {**SOUND[1], "id": "other"}], id="a repeat with another id"),
        pytest.param("out of order", [SOUND[0], {**SOUND[1], "id": "e1"}], id="an id for two events"),
        pytest.param("out of order", [SOUND[0], event(2, "updated", ONE, TWO, number=0)], id="an older seq_no"),
        pytest.param("out of order", [SOUND[0], event(2, "updated", ONE, TWO, version=0)], id="an older version"),
        pytest.param("out of order", [*SOUND[:3], event(4, "created", after=ONE, number=4)], id="created at no number"),
        pytest.param("out of order", [SOUND[0], event(2, "created", after=TWO, number=4)], id="created twice"),
        pytest.param("out of order", [event(1, "deleted", ONE)], id="deleted, but never there"),
        pytest.param("stale", [SOUND[0], event(2, "updated", {"n": True}, TWO, number=4)], id="from a state not told"),
        pytest.param("malformed", [SOUND[0], b'{"half' + json.dumps(SOUND[1]).encode() + b"\n"], id="a torn line"),
        pytest.param("malformed", [{**SOUND[0], "type": "esfeed.updated"}], id="a type that is not the op"),
        pytest.param("malformed", [event(1, "created", after=ONE, snapshot=True)], id="created in a snapshot"),
    ],
)
def test_the_oracle_sees(told: Callable[..., Oracle], kind: str, events: list[Event | bytes]) -> None:
    """Each of these is a fault, and of that kind alone."""
    assert [fault.kind for fault in told(*events).faults] == [kind]


def test_the_oracle_sees_that_the_file_lost_whole_lines(told: Callable[..., Oracle], tmp_path: Path) -> None:
    """What was read as whole must stay."""
    oracle = told(*SOUND)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    oracle.follow()
    assert [fault.kind for fault in oracle.faults] == ["malformed"]
