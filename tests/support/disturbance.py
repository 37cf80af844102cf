"""Events sent through a fault: batch after batch until the fault is over and all was taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from esfeed.errors import Retryable
from esfeed.model.event import Event
from esfeed.ports import Sink
from esfeed.testing.events import sample_event

DOCUMENTS = 7
_BATCH = 50


def send_through(sink: Sink, disturb: Callable[[], None], seconds: float = 90.0) -> int:
    """Opens the sink and sends events of ``DOCUMENTS`` documents while ``disturb`` runs in a thread, and a little on.

    As the dispatcher does: what was not taken is sent again, with the same ids. Returns how many events were taken;
    their positions are 1 and on. Fails where nothing failed, where an event is rejected, or after ``seconds``.
    """
    faults: list[str] = []
    disturbing = threading.Thread(target=disturb)
    sink.open()
    disturbing.start()
    left: list[Event] = []
    sent, last, end = 0, 0, time.monotonic() + seconds
    while left or sent < last or not last:
        assert time.monotonic() < end, f"not taken after {seconds:g} s: {faults[-1:]}"
        if not last and not disturbing.is_alive():
            last = sent + 4 * _BATCH
        while len(left) < _BATCH and (sent < last or not last):
            sent += 1
            left.append(sample_event(position=sent, doc_id=f"doc-{sent % DOCUMENTS}"))
        try:
            outcomes = sink.send(left)
        except Retryable as error:
            faults.append(str(error))
            time.sleep(0.1)
            _reopen(sink)
            continue
        bad = [outcome for outcome in outcomes if not outcome.ok]
        assert not [outcome for outcome in bad if outcome.kind == "rejected"], bad
        faults += [outcome.reason for outcome in bad]
        left = [event for event, outcome in zip(left, outcomes, strict=True) if not outcome.ok]
        time.sleep(0.05 if bad else 0.01)
    disturbing.join()
    sink.close()
    assert faults, "nothing failed, so this proves nothing"
    return sent


def _reopen(sink: Sink) -> None:
    try:
        sink.close()
        sink.open()
    except Retryable:
        pass


def first_seen(found: Iterable[Mapping[str, Any]]) -> Mapping[str, Sequence[int]]:
    """Of each document in the target (as CloudEvents) the positions, in the order in which each first came."""
    order: dict[str, list[int]] = {}
    for event in found:
        positions = order.setdefault(event["data"]["id"], [])
        if event["data"]["position"] not in positions:
            positions.append(event["data"]["position"])
    return order


def expected(sent: int) -> Mapping[str, Sequence[int]]:
    """What ``first_seen`` gives where ``sent`` events all came in order."""
    numbers = range(1, sent + 1)
    return {f"doc-{each}": [n for n in numbers if n % DOCUMENTS == each] for each in range(DOCUMENTS)}
