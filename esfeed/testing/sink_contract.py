"""The contract of a sink as a test suite: what :class:`esfeed.ports.Sink` requires, checked at the target.

One outcome for each event, order, at-least-once, partial failure, close and reopen, odd ids and sizes, no loss.

To test your sink, subclass the suite and say how to create the sink and how to read its target::

    class TestMySink(SinkContract):
        @pytest.fixture(autouse=True)
        def _target(self, tmp_path):
            self.target = FakeTarget()

        def make_sink(self):
            return MySink(MySettings(url=self.target.url))

        def received(self):
            return [(event["id"], event["data"]["position"]) for event in self.target.events]
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence

import pytest

from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import Outcome, Sink
from esfeed.testing.events import sample_event

Received = Sequence[tuple[str, int]]

ODD_IDS = (
    "",
    " ",
    "a/b?c#d%2F",
    "..",
    "line\nfeed\r\ttab\x00nul",
    "\x1b[31mred",
    "quo\"te'and\\back",
    "äöü-日本語-😀",
    "\u202eevil\u2028",
    "[bold]x[/bold]",
    "x" * 512,
)
"""Ids that an engine accepts and that break a careless sink."""

REFUSING = ("test_partial_failure", "test_later_events_wait_behind_a_refused_one")
"""The tests that call ``refuse``, for targets that refuse by topic or queue and need one for each document there."""

_BULK = {"bulk": "x" * 20_000}
"""More than fits into the last block of a disk that is otherwise full."""


class SinkContract:
    """Subclass it as ``Test…`` and define ``make_sink`` and ``received``; the hooks that break the target are optional.

    ``patience``: how many seconds a target may take to show what it took, and to recover after a repair.
    """

    patience: float = 5.0

    cannot_refuse: str = "refuse is not defined"
    """Why the target cannot refuse one event and take others; the reason for skipping the tests of partial failure."""

    def make_sink(self) -> Sink:
        """A new sink, not yet open, at the same target for the whole test."""
        raise NotImplementedError("say how the sink is made")

    def received(self) -> Received:
        """What the target has now, in order of arrival: (event id, position) each."""
        raise NotImplementedError("say what the target has")

    def break_target(self) -> None:
        """Makes the target fail for every sink from now on. Without it, the tests of faults are skipped."""
        pytest.skip("break_target is not defined")

    def restore_target(self) -> None:
        """Undoes ``break_target`` and ``refuse``."""
        self.mend_target()

    def mend_target(self) -> None:
        """The former name of ``restore_target``. The suite still calls it where ``restore_target`` is not defined."""

    def refuse(self, doc_ids: Collection[str]) -> None:
        """Makes the target refuse events of those documents, and no others, from now on.

        The refusal may be permanent or temporary. Without this hook, the tests of partial failure are skipped.
        """
        pytest.skip(self.cannot_refuse)

    # --- helpers

    def _send(self, sink: Sink, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes = sink.send(events)
        assert len(outcomes) == len(events), f"{len(events)} events, but {len(outcomes)} outcomes"
        return outcomes

    def _send_ok(self, sink: Sink, events: Sequence[Event]) -> None:
        bad = [outcome for outcome in self._send(sink, events) if not outcome.ok]
        assert not bad, f"a sound target must take sound events, but: {bad[:3]}"

    def _await(self, events: Sequence[Event]) -> Received:
        """What was received, once it includes all ``events``."""
        end = time.monotonic() + self.patience
        while True:
            received = self.received()
            missing = {(event.id, event.position) for event in events} - set(received)
            if not missing:
                return received
            assert time.monotonic() < end, f"answered ok, but not in the target: {sorted(missing)[:3]}"
            time.sleep(0.02)

    def _send_broken(self, sink: Sink, events: Sequence[Event]) -> Sequence[Outcome]:
        """What an open sink answers while its target is broken; nothing if it raises an error that it may raise."""
        self.break_target()
        try:
            return self._send(sink, events)
        except (Retryable, ConfigError):
            return ()
        finally:
            self.restore_target()

    # --- the contract

    def test_one_outcome_an_event(self) -> None:
        """A batch is answered event by event; at a sound target all are ok, and all arrive without a close."""
        sink = self.make_sink()
        sink.open()
        events = [sample_event(position=n, doc_id=f"doc-{n}") for n in range(1, 21)]
        self._send_ok(sink, events)
        self._await(events)
        sink.close()

    def test_order_of_a_document(self) -> None:
        """The events of one document arrive in the order of the log, within a batch and across batches."""
        sink = self.make_sink()
        sink.open()
        events = [sample_event(position=n, doc_id=f"doc-{n % 3}") for n in range(1, 31)]
        for start in range(0, 30, 10):
            self._send_ok(sink, events[start : start + 10])
        first_seen = list(dict.fromkeys(self._await(events)))
        sink.close()
        for doc in range(3):
            positions = [position for _, position in first_seen if position % 3 == doc]
            assert positions == sorted(positions), f"doc-{doc} came out of order: {positions}"

    def test_close_and_reopen(self) -> None:
        """A sink works again after close and open, and so does a new one at the same target."""
        events = [sample_event(position=n) for n in (1, 2, 3)]
        sink = self.make_sink()
        sink.open()
        self._send_ok(sink, events[:1])
        sink.close()
        sink.open()
        self._send_ok(sink, events[1:2])
        sink.close()
        other = self.make_sink()
        other.open()
        self._send_ok(other, events[2:])
        self._await(events)
        other.close()

    def test_close_twice(self) -> None:
        """Closing twice does no harm, nor does closing a sink that was never open."""
        sink = self.make_sink()
        sink.close()
        sink.open()
        sink.close()
        sink.close()

    def test_empty_batch(self) -> None:
        """No events, no outcomes, nothing in the target."""
        sink = self.make_sink()
        sink.open()
        assert list(self._send(sink, [])) == []
        assert list(self.received()) == []
        sink.close()

    @pytest.mark.parametrize("doc_id", ODD_IDS, ids=range(len(ODD_IDS)))
    def test_odd_id(self, doc_id: str) -> None:
        """An odd id, in the id, the type, the routing and the document, arrives like any other."""
        event = sample_event(doc_id=doc_id, type=doc_id or "_doc", routing=doc_id, after={doc_id: doc_id})
        sink = self.make_sink()
        sink.open()
        self._send_ok(sink, [event])
        assert list(self._await([event])) == [(event.id, event.position)], "one event must arrive as one"
        sink.close()

    def test_document_with_line_breaks(self) -> None:
        """A document that was indexed pretty-printed arrives as one event."""
        event = sample_event(after=b'{\r\n  "a": 1,\n  "b": 18446744073709551616\n}\n')
        sink = self.make_sink()
        sink.open()
        self._send_ok(sink, [event])
        assert list(self._await([event])) == [(event.id, event.position)], "one event must arrive as one"
        sink.close()

    def test_large_event(self) -> None:
        """A document of a megabyte arrives; if the target has a lower limit, it is rejected, not lost."""
        events = [sample_event(position=1, after={"blob": "ä" * (1 << 19)}), sample_event(position=2, doc_id="other")]
        sink = self.make_sink()
        sink.open()
        outcomes = self._send(sink, events)
        assert outcomes[0].kind in ("ok", "rejected"), "a size does not change, so trying again is pointless"
        assert outcomes[1].ok, "another document must not suffer from it"
        self._await([event for event, outcome in zip(events, outcomes, strict=True) if outcome.ok])
        sink.close()

    def test_broken_target_takes_nothing(self) -> None:
        """With a broken target nothing is ok, only ``Retryable`` or ``ConfigError`` is raised, and close works."""
        sink = self.make_sink()
        outcomes: Sequence[Outcome] = ()
        self.break_target()
        try:
            with contextlib.suppress(Retryable, ConfigError):
                sink.open()
                outcomes = self._send(sink, [sample_event(position=n, doc_id=str(n), after=_BULK) for n in (1, 2, 3)])
            sink.close()
            sink.close()
        finally:
            self.restore_target()
        kinds = {outcome.kind for outcome in outcomes}
        assert kinds <= {"retry"}, f"a fault of the target is no fault of the event: {outcomes}"

    def test_breaks_while_open(self) -> None:
        """The target breaks while the sink is open: later events are not ok, and earlier ones stay."""
        before, after = sample_event(position=1), sample_event(position=2, after=_BULK)
        sink = self.make_sink()
        sink.open()
        self._send_ok(sink, [before])
        outcomes = self._send_broken(sink, [after])
        assert not any(outcome.ok for outcome in outcomes), "ok, though the target was broken"
        self._await([before])
        sink.close()

    @pytest.mark.parametrize("reopen", [False, True])
    def test_repaired_target_gets_all(self, reopen: bool) -> None:
        """After a repair, sending again delivers everything in order: at least once, and no partial event."""
        events = [sample_event(position=n, doc_id=f"doc-{n % 2}", after=_BULK) for n in range(1, 9)]
        sink = self.make_sink()
        sink.open()
        self._send_ok(sink, events[:2])
        self._send_broken(sink, events[2:])
        self._send_until_taken(sink, events[2:], reopen)
        received = [position for _, position in self._await(events)]
        sink.close()
        for doc in range(2):
            positions = [position for position in dict.fromkeys(received) if position % 2 == doc]
            assert positions == sorted(positions), f"doc-{doc} came out of order: {positions}"

    @pytest.mark.parametrize("refused", [0, 1, 2])
    def test_partial_failure(self, refused: int) -> None:
        """If one document is refused, first, last or in between, the others arrive, and the outcomes tell which."""
        events = [sample_event(position=n, doc_id=f"doc-{n}") for n in range(3)]
        sink = self.make_sink()
        sink.open()
        self.refuse({f"doc-{refused}"})
        outcomes = self._send(sink, events)
        others = [event for index, event in enumerate(events) if index != refused]
        assert not outcomes[refused].ok, "ok, though the target refused it"
        assert outcomes[refused].tried, "it was tried, so it counts as an attempt"
        assert outcomes[refused].reason, "an operator needs to know why"
        self._send_until_taken(
            sink, [event for event, outcome in zip(events, outcomes, strict=True) if event in others and not outcome.ok]
        )
        received = self._await(others)
        assert (events[refused].id, events[refused].position) not in received, "refused, but in the target"
        self.restore_target()
        self._send_until_taken(sink, [events[refused]])
        self._await(events)
        sink.close()

    def test_later_events_wait_behind_a_refused_one(self) -> None:
        """Behind a refused event, later ones of its document are not sent: they would arrive out of order.

        They get ``waits()``, so that they count no attempt; other documents continue.
        """
        events = [sample_event(position=n, doc_id="refused" if n % 2 else f"doc-{n}") for n in range(1, 7)]
        sink = self.make_sink()
        sink.open()
        self.refuse({"refused"})
        outcomes = self._send(sink, events)
        behind = [outcome for event, outcome in zip(events, outcomes, strict=True) if event.position in (3, 5)]
        assert not any(outcome.ok for outcome in [outcomes[0], *behind]), "ok, though the target refused it"
        if outcomes[0].kind == "retry":
            assert {outcome.kind for outcome in behind} == {"retry"}, f"later ones of the document must wait: {behind}"
            assert not any(outcome.tried for outcome in behind), "what was not sent is no attempt: answer waits()"
        others = [event for event in events if event.doc_id != "refused"]
        self._send_until_taken(
            sink, [event for event, outcome in zip(events, outcomes, strict=True) if event in others and not outcome.ok]
        )
        received = self._await(others)
        assert not [position for _, position in received if position % 2], "refused, but in the target"
        self.restore_target()
        late = [event for event in events if event not in others]
        self._send_until_taken(sink, late)
        positions = [position for _, position in dict.fromkeys(self._await(events)) if position % 2]
        sink.close()
        assert positions == sorted(positions), f"out of order: {positions}"

    def test_nothing_is_swallowed(self) -> None:
        """Through intermittent faults, everything answered ok is in the target; everything else can be sent again."""
        sink = self.make_sink()
        sink.open()
        taken: list[Event] = []
        left: list[Event] = []
        for number in range(6):
            events = [sample_event(position=10 * number + n, doc_id=f"{number}-{n}", after=_BULK) for n in range(4)]
            if number % 2:
                outcomes = self._send_broken(sink, events)
            else:
                try:
                    outcomes = self._send(sink, events)
                except Retryable:  # it may notice only now that its connection is gone
                    sink.close()
                    sink.open()
                    outcomes = ()
            answered = dict(zip([event.id for event in events], outcomes, strict=False))
            ok = [event for event in events if event.id in answered and answered[event.id].ok]
            assert number % 2 == 0 or not ok, "ok, though the target was broken"
            taken += ok
            left += [event for event in events if event not in ok]
        self._await(taken)
        self._send_until_taken(sink, left)
        self._await(taken + left)
        sink.close()

    def _send_until_taken(self, sink: Sink, events: Sequence[Event], reopen: bool = False) -> None:
        end = time.monotonic() + self.patience
        left, first = list(events), True
        while left:
            assert time.monotonic() < end, f"repaired {self.patience} s ago, but still not taken: {left[0].id}"
            try:
                if reopen or not first:
                    sink.close()
                    sink.open()
                outcomes = self._send(sink, left)
            except (Retryable, ConfigError):
                outcomes = ()
            taken = {event.id for event, outcome in zip(left, outcomes, strict=False) if outcome.ok}
            left = [event for event in left if event.id not in taken]
            first = False
            if left:
                time.sleep(0.05)
