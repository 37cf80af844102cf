"""The order that a sink keeps: that of each document, not across documents. Pure, except for the callback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from esfeed.errors import Retryable
from esfeed.model.event import Event
from esfeed.ports import Outcome, not_tried, retry, waits

Send = Callable[[Sequence[Event]], Sequence[Outcome]]
DocumentKey = tuple[str | None, ...]


def document(event: Event) -> DocumentKey:
    """The key of a document (or of one view of it): events with the same key must keep their order."""
    return (event.watch, event.type, event.doc_id, event.view, event.origin.routing)


def waves(events: Sequence[Event]) -> list[list[int]]:
    """The indexes of ``events`` in groups without two events of a document: its second event is in the second group."""
    met: dict[DocumentKey, int] = defaultdict(int)
    groups: list[list[int]] = []
    for index, event in enumerate(events):
        key = document(event)
        if met[key] == len(groups):
            groups.append([])
        groups[met[key]].append(index)
        met[key] += 1
    return groups


def in_waves(events: Sequence[Event], send: Send) -> Sequence[Outcome]:
    """The outcomes of ``events``. ``send`` gets them wave by wave, so a target may process a wave in any order.

    ``send`` returns one outcome for each event of a wave, or raises ``Retryable`` if the whole target failed: then the
    first event of that wave gets ``retry``, and all remaining ones get ``waits``. If an event of a document gets
    ``retry``, its later events are in no wave.
    """
    outcomes: list[Outcome | None] = [None] * len(events)
    stuck: set[DocumentKey] = set()
    for wave in waves(events):
        going = [index for index in wave if document(events[index]) not in stuck]
        if not going:
            continue
        try:
            answers = send([events[index] for index in going])
        except Retryable as error:
            outcomes[going[0]] = retry(str(error), error.wait)
            return [outcome or not_tried(error) for outcome in outcomes]
        for index, answer in zip(going, answers, strict=True):
            outcomes[index] = answer
            if answer.kind == "retry":
                stuck.add(document(events[index]))
    return [outcome or waits() for outcome in outcomes]
