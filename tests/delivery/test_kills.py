"""``kill -9`` of the real ``esfeed run`` while it delivers, by the code of ``scripts/soak_delivery``, a few times."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from esfeed.envelopes import envelope
from esfeed.model.event import Event
from esfeed.testing.events import sample_event
from tests.support.fixtures_services import Services
from tests.support.kills import Kills, wrong
from tests.support.stack import Stack
from tests.support.targets import FileTarget, HookTarget, KafkaTarget, Target, Told, ZaqarTarget


def _killed(kills: int, folder: Path, *targets: Target) -> None:
    seed = random.randrange(10**6)
    rows = Kills(folder, targets, kills=kills, events=kills * 150, seed=seed).run()
    assert [(row.sink, row.lost, row.faults[:5]) for row in rows if row.lost or row.faults] == [], f"seed {seed}"
    for row in rows:
        assert row.events > kills * 50
        assert row.busy, f"it was never killed while it delivered to {row.sink}"


def test_webhook_and_files(tmp_path: Path) -> None:
    """A webhook that refuses some documents at first, a file, and a file of merged events; all in one feed."""
    merged = FileTarget(tmp_path / "merged.jsonl", "merged", coalesce="300ms")
    _killed(8, tmp_path, HookTarget(1, ["d3", "d4"]), FileTarget(tmp_path / "file.jsonl"), merged)


@pytest.mark.services("kafka")
def test_kafka(services: Services, tmp_path: Path) -> None:
    """What a killed producer had under way comes again, from a new one, and nothing before it is overtaken."""
    _killed(5, tmp_path, KafkaTarget(services("kafka").url))


@pytest.mark.stack
def test_zaqar(tmp_path: Path) -> None:
    """A post that nobody heard the answer to is posted again."""
    stack = Stack(f"zk-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}").up("zaqar")
    try:
        _killed(5, tmp_path, ZaqarTarget(stack.record["zaqar"]))
    finally:
        stack.down()


def _told(*positions: int) -> list[Told]:
    return [json.loads(envelope("cloudevents").encode(_event(position))) for position in positions]


def _event(position: int) -> Event:
    return sample_event(position=position, doc_id="d", before={"n": position - 1}, after={"n": position})


@pytest.mark.parametrize(
    ("positions", "lost", "words"),
    [
        ((1, 2, 3), 0, ()),
        ((1, 2, 1, 2, 3), 0, ()),
        ((1, 3), 1, ()),
        ((1, 3, 2), 0, ("out of order", "the last event tells")),
        ((1, 2), 1, ("the last event tells",)),
    ],
)
def test_what_counts_as_wrong(positions: Sequence[int], lost: int, words: Sequence[str]) -> None:
    """The judge itself: a loss, a swap and a stale end are each found, and a repeat is none of them."""
    log = [_event(position) for position in (1, 2, 3)]
    found, faults = wrong(log, _told(*positions), {"d": 3}, merged=False)
    assert found == lost
    assert len(faults) == len(words)
    assert all(word in fault for word, fault in zip(words, faults, strict=True))


def test_another_event_under_the_same_id() -> None:
    """A repeat that tells something else is no repeat."""
    log = [_event(1)]
    first, second = _told(1, 1)
    second["data"]["changed"] = ["x"]
    assert len(wrong(log, [first, second], {"d": 1}, merged=False)[1]) == 2
    assert len(wrong(log, [first, second], {"d": 1}, merged=True)[1]) == 1
