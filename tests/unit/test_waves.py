"""``in_waves``: the order of each document, whatever a target does with what is sent at once."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from esfeed.errors import Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, rejected, retry
from esfeed.sinks.common.ordering import document, in_waves
from esfeed.testing.events import sample_event

_kinds = st.sampled_from(["ok", "retry", "rejected"])


@given(st.lists(st.tuples(st.integers(0, 3), _kinds), max_size=30))
def test_no_event_is_sent_before_an_earlier_one_of_its_document_is_settled(
    plan: list[tuple[int, str]],
) -> None:
    """Each event is answered in its place, sent once at most, and never beside or behind one that may come again."""
    events = [sample_event(position=n, doc_id=str(doc)) for n, (doc, _) in enumerate(plan)]
    answers = {"ok": OK, "retry": retry("later"), "rejected": rejected("never")}
    sent: list[int] = []
    settled: set[int] = set()

    def send(wave: Sequence[Event]) -> Sequence[Outcome]:
        assert len({document(event) for event in wave}) == len(wave), "two of one document at once"
        for event in wave:
            earlier = [n for n in range(event.position) if plan[n][0] == plan[event.position][0]]
            assert settled.issuperset(earlier)
        sent.extend(event.position for event in wave)
        told = [answers[plan[event.position][1]] for event in wave]
        settled.update(event.position for event, each in zip(wave, told, strict=True) if each.kind != "retry")
        return told

    outcomes = in_waves(events, send)
    assert len(sent) == len(set(sent))
    for number, outcome in enumerate(outcomes):
        if number in sent:
            assert outcome.kind == plan[number][1]
        else:
            assert (outcome.kind, outcome.tried) == ("retry", False)


def test_fault_of_the_target_stops_all() -> None:
    """One event counts the attempt, the others of the batch wait."""

    def send(_: Sequence[Event]) -> Sequence[Outcome]:
        raise Retryable("down", wait=3.0)

    outcomes = in_waves([sample_event(position=n, doc_id=str(n % 2)) for n in range(4)], send)
    assert [(outcome.kind, outcome.tried, outcome.wait) for outcome in outcomes] == [
        ("retry", True, 3.0),
        *[("retry", False, None)] * 3,
    ]


def test_waves_are_as_few_as_can_be() -> None:
    """Documents that come once go in one call, whatever their number."""
    sizes: list[int] = []

    def send(wave: Sequence[Event]) -> Sequence[Outcome]:
        sizes.append(len(wave))
        return [OK] * len(wave)

    in_waves([sample_event(position=n, doc_id=str(n)) for n in range(50)], send)
    in_waves([sample_event(position=n, doc_id=str(n % 10)) for n in range(50)], send)
    assert sizes == [50, 10, 10, 10, 10, 10]
