"""The contracts of the state as test suites: what the ports of :mod:`esfeed.ports` require, one suite each.

An implementation, or a fake of one, subclasses a suite as ``Test…`` and says how to fill it::

    class TestMyOutbox(OutboxContract):
        @pytest.fixture(autouse=True)
        def _state(self):
            self.log = self.outbox = MyOutbox()

        def append(self, doc, sink=None):
            return self.outbox.add(doc, sink)
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

import msgspec
import pytest

from esfeed.errors import StateError
from esfeed.model.event import Key, Revision
from esfeed.model.reads import Held
from esfeed.ports import (
    Checkpoint,
    Commit,
    Commits,
    Control,
    ControlRequest,
    DatedRevisions,
    Doc,
    Entry,
    Log,
    LogRow,
    Notifier,
    Outbox,
    Parked,
    Revisions,
    Settlement,
    ShardRevisions,
)
from esfeed.testing.events import sample_event

_UUID = "u-1"


def _key(doc: str) -> Key:
    return Key("_doc", doc)


class LogContract:
    """:class:`esfeed.ports.Log`. ``append`` adds a row for a document, for all sinks or one; returns its position."""

    log: Log

    def append(self, doc: str, sink: str | None = None) -> int:
        raise NotImplementedError

    def test_an_empty_log(self) -> None:
        assert (self.log.head(), self.log.first(), self.log.last(), self.log.count(0)) == (0, None, 0, 0)
        assert list(self.log.read(0, 10)) == []
        assert self.log.size_bytes() == 0

    def test_rows_come_in_order_and_after_a_position(self) -> None:
        written = [self.append(doc) for doc in "abcab"]
        assert [row.position for row in self.log.read(0, 10)] == written == sorted(set(written))
        assert [row.event.doc_id for row in self.log.read(written[1], 2)] == ["c", "a"]
        assert list(self.log.read(written[-1], 10)) == []
        assert (self.log.head(), self.log.first(), self.log.last()) == (written[-1], written[0], written[-1])
        assert self.log.count(written[1]) >= 3
        assert self.log.size_bytes() > 0

    def test_a_row_knows_its_document_its_sink_and_its_position(self) -> None:
        for doc, sink in (("a", None), ("b", None), ("a", "one")):
            self.append(doc, sink)
        first, second, third = self.log.read(0, 10)
        assert first.document == third.document != second.document
        assert [row.sink for row in (first, second, third)] == [None, None, "one"]
        assert [row.event.position for row in (first, second, third)] == [
            row.position for row in (first, second, third)
        ]


class OutboxContract:
    """:class:`esfeed.ports.Outbox`, over a log. ``append`` as in ``LogContract``."""

    log: Log
    outbox: Outbox

    def append(self, doc: str, sink: str | None = None) -> int:
        raise NotImplementedError

    def _parked(self, position: int, state: str = "retry", **more: object) -> Parked:
        (row,) = self.log.read(position - 1, 1)
        return msgspec.structs.replace(
            Parked("s", position, 1, "no", row.document, since=100.0, next_try=200.0), state=state, **more
        )

    def test_a_cursor_never_goes_back(self) -> None:
        positions = [self.append(doc) for doc in "abc"]
        self.outbox.settle("s", Settlement(0))
        assert self.outbox.cursor("s") == 0
        self.outbox.settle("s", Settlement(positions[2]))
        self.outbox.settle("s", Settlement(positions[0]))
        assert self.outbox.cursor("s") == positions[2]

    def test_what_is_parked_comes_oldest_first_without_its_event(self) -> None:
        a, b, c = (self.append(doc) for doc in "abc")
        self.outbox.settle("s", Settlement(c, [self._parked(c), self._parked(a)]))
        assert [(one.position, one.event) for one in self.outbox.parked("s")] == [(a, None), (c, None)]
        rows = self.outbox.parked_events("s", [a, b, c])
        assert [(row.position, row.event.doc_id) for row in rows] == [(a, "a"), (c, "c")]

    def test_a_later_word_replaces_an_earlier_one(self) -> None:
        a = self.append("a")
        self.outbox.settle("s", Settlement(a, [self._parked(a)]))
        self.outbox.settle("s", Settlement(a, [self._parked(a, attempts=2, error="still no", next_try=300.0)]))
        (one,) = self.outbox.parked("s")
        assert (one.attempts, one.error, one.next_try) == (2, "still no", 300.0)

    def test_what_is_taken_is_parked_no_more(self) -> None:
        a, b = (self.append(doc) for doc in "ab")
        self.outbox.settle("s", Settlement(b, [self._parked(a), self._parked(b)]))
        self.outbox.settle("s", Settlement(b, taken=[a]))
        assert [one.position for one in self.outbox.parked("s")] == [b]
        assert [row.position for row in self.outbox.parked_events("s", [a, b])] == [b]

    def test_a_newer_event_marks_dead_ones_of_its_document(self) -> None:
        a, again, other = self.append("a"), self.append("a"), self.append("b")
        document: Doc = self.log.read(0, 1)[0].document
        dead = [self._parked(a, "dead"), self._parked(other, "dead")]
        self.outbox.settle("s", Settlement(other, dead, newer={document: again}))
        assert [one.newer for one in self.outbox.parked("s")] == [again, None]

    def test_redriven_events_are_the_dead_ones_that_an_operator_marked(self) -> None:
        a, b, c = (self.append(doc) for doc in "abc")
        states = [self._parked(a, "dead"), self._parked(b, "redriven"), self._parked(c, "forced")]
        self.outbox.settle("s", Settlement(c, states))
        assert [one.position for one in self.outbox.redriven("s")] == [b, c]


class CommitsContract:
    """:class:`esfeed.ports.Commits`, with the log that it writes."""

    commits: Commits
    log: Log

    def _entry(self, doc: str) -> Entry:
        return Entry(_key(doc), sample_event(doc_id=doc))

    def test_checkpoints_are_numbered_by_watch(self) -> None:
        assert self.commits.checkpoint("w") is None
        for data in (b"1", b"2"):
            self.commits.commit("w", Commit(checkpoint=Checkpoint("t", data)))
        self.commits.commit("v", Commit(checkpoint=Checkpoint("t", b"3")))
        assert self.commits.checkpoint("w") == Checkpoint("t", b"2", 2)
        assert self.commits.checkpoint("v") == Checkpoint("t", b"3", 1)

    def test_a_commit_keeps_all_of_a_batch(self) -> None:
        revision = Revision(_UUID, "i", 1, None, b"d")
        batch = Commit(
            {_key("a"): revision}, {_key("a"): b'{"n":1}'}, entries=[self._entry("a")], checkpoint=Checkpoint("t", b"")
        )
        rows = self.commits.commit("w", batch)
        assert self.commits.known("w").revisions([_key("a"), _key("b")]) == {_key("a"): revision}
        assert self.commits.documents("w", [_key("a"), _key("b")]) == {_key("a"): b'{"n":1}'}
        assert [row.position for row in rows] == [row.position for row in self.log.read(0, 10)] == [self.log.head()]
        assert self.commits.known("v").revisions([_key("a")]) == {}

    def test_a_commit_that_another_process_contradicts_keeps_nothing(self) -> None:
        revision = Revision(_UUID, "i", 1, None, b"d")
        broken = Commit(
            {_key("a"): revision},
            {_key("a"): b"{}"},
            entries=[self._entry("a")],
            checkpoint=Checkpoint("t", b"1"),
            known={_key("a"): msgspec.structs.replace(revision, version=7)},
        )
        with pytest.raises(StateError):
            self.commits.commit("w", broken)
        assert self.commits.checkpoint("w") is None
        assert self.commits.known("w").count() == self.log.head() == 0
        assert self.commits.documents("w", [_key("a")]) == {}

    def test_what_is_gone_is_known_no_more(self) -> None:
        self.commits.commit("w", Commit({_key("a"): Revision(_UUID, "i", 1, None, b"d")}, {_key("a"): b"{}"}))
        self.commits.commit("w", Commit(gone=[_key("a")]))
        assert self.commits.known("w").count() == 0
        assert self.commits.documents("w", [_key("a")]) == {}


class RevisionsContract:
    """:class:`esfeed.ports.Revisions`. ``learn`` makes documents known, ``forget`` reports them deleted."""

    known: Revisions

    def learn(self, revisions: Mapping[Key, Revision]) -> None:
        raise NotImplementedError

    def forget(self, keys: Collection[Key]) -> None:
        raise NotImplementedError

    def _revision(self, number: int) -> Revision:
        return Revision(_UUID, "i", number + 1, number, b"", shard=0)

    def _learn(self, count: int) -> list[Key]:
        keys = [_key(str(number)) for number in range(count)]
        self.learn({key: self._revision(number) for number, key in enumerate(keys)})
        return keys

    def test_only_known_documents_have_a_revision(self) -> None:
        keys = self._learn(3)
        assert self.known.count() == 3
        found = self.known.revisions([keys[1], _key("other")])
        assert {key: (one.version, one.seq_no, one.uuid) for key, one in found.items()} == {keys[1]: (2, 1, _UUID)}
        self.forget([keys[1]])
        assert self.known.count() == 2
        assert self.known.revisions([keys[1]]) == {}

    def test_indices_are_those_of_known_documents(self) -> None:
        assert list(self.known.indices()) == []
        self._learn(3)
        assert set(self.known.indices()) == {Held("i", _UUID, None)}

    def test_a_sweep_finds_what_did_not_turn_up(self) -> None:
        keys = self._learn(5)
        with self.known.sweep([_UUID]) as sweep:
            sweep.see(keys[:2])
            sweep.see([_key("new")])
            assert sweep.missing() == 3
            lost = [key for some in sweep.unseen(2) for key in some]
            assert sorted(lost) == keys[2:]
        with self.known.sweep([_UUID]) as sweep:
            assert sweep.missing() == 5


class ShardRevisionsContract(RevisionsContract):
    """:class:`esfeed.ports.ShardRevisions` and the rest of what a ``seq_no`` tracker needs."""

    def _shards(self) -> ShardRevisions:
        return self.known  # type: ignore[return-value]

    def test_a_shard_counts_its_own_documents(self) -> None:
        self._learn(5)
        shards = self._shards()
        assert [shards.in_shard(_UUID, 0), shards.in_shard(_UUID, 1), shards.in_shard("other", 0)] == [5, 0, 0]

    def test_histograms_at_each_width(self) -> None:
        self._learn(20)
        shards = self._shards()
        assert shards.histogram(_UUID, 0, [(0, 1 << 20)], 20) == {0: 20}
        assert shards.histogram(_UUID, 0, [(0, 32)], 4) == {0: 16, 1: 4}
        assert shards.histogram(_UUID, 0, [(16, 32)], 4) == {1: 4}
        assert shards.histogram(_UUID, 0, [(2, 4)], 0) == {2: 1, 3: 1}

    def test_documents_by_sequence_number(self) -> None:
        keys = self._learn(6)
        shards = self._shards()
        assert set(shards.at(_UUID, 0, [1, 4, 99])) == {keys[1], keys[4]}
        above = [[*some] for some in shards.above(_UUID, 0, 1, 3)]
        assert all(len(some) <= 3 for some in above)
        assert [key for some in above for key in some] == keys[2:]
        assert set(shards.below(_UUID, 0, 4, 2)) == {keys[2], keys[3]}

    def test_a_reported_delete_leaves_a_tombstone(self) -> None:
        keys = self._learn(3)
        self.forget(keys[:1])
        shards = self._shards()
        assert [key for some in shards.tombstones(_UUID, 0, 10) for key in some] == keys[:1]
        tombstoned = self.known.tombstoned(keys)
        assert {key: one.seq_no for key, one in tombstoned.items()} == {keys[0]: 0}


class DatedRevisionsContract(RevisionsContract):
    """:class:`esfeed.ports.DatedRevisions` and the rest of what an ``updated_at`` tracker needs."""

    def _revision(self, number: int) -> Revision:
        return Revision(_UUID, "i", number + 1, None, b"", stamp=None if number == 0 else 1000 * number)

    def _dated(self) -> DatedRevisions:
        return self.known  # type: ignore[return-value]

    def test_only_known_documents_have_a_revision(self) -> None:
        keys = self._learn(3)
        assert self.known.revisions([keys[1], _key("other")])[keys[1]].stamp == 1000

    def test_documents_by_date(self) -> None:
        keys = self._learn(4)
        whole = self._dated().dated(None, 10)
        assert (whole.buckets, whole.without) == ({0: 1, 1: 1, 2: 1}, 1)
        assert self._dated().dated([(0, 1024)], 10).buckets == {0: 1}
        found = [key for some in self._dated().within([(2000, 3000)], False) for key in some]
        assert found == [keys[2]]
        without = [key for some in self._dated().within([], True) for key in some]
        assert without == [keys[0]]


class ControlContract:
    """:class:`esfeed.ports.Control`."""

    control: Control

    def test_the_latest_request_for_a_watch_waits_until_it_is_taken(self) -> None:
        assert self.control.waiting() == self.control.take() == {}
        self.control.send("w", ControlRequest(False))
        self.control.send("w", ControlRequest(True))
        self.control.send("v", ControlRequest(False))
        expected = {"w": ControlRequest(True), "v": ControlRequest(False)}
        assert self.control.waiting() == expected
        assert self.control.take() == expected
        assert self.control.take() == self.control.waiting() == {}


class NotifierContract:
    """:class:`esfeed.ports.Notifier`."""

    notifier: Notifier

    def _woken_by(self, wake: object) -> bool:
        woken = threading.Event()

        def wait() -> None:
            self.notifier.wait(60)
            woken.set()

        threading.Thread(target=wait, daemon=True).start()
        for _ in range(200):
            wake()  # type: ignore[operator]
            if woken.wait(0.05):
                return True
        return False

    def test_a_publish_wakes_those_who_wait(self) -> None:
        assert self._woken_by(lambda: self.notifier.publish([LogRow(1, sample_event(), None)]))

    def test_a_wake_does_too(self) -> None:
        assert self._woken_by(self.notifier.wake)

    def test_a_commit_without_rows_calls_nobody(self) -> None:
        heard: list[Sequence[LogRow]] = []
        self.notifier.subscribe(heard.append)
        self.notifier.publish([])
        assert heard == []

    def test_waiting_ends_by_itself(self) -> None:
        self.notifier.wait(0.01)

    def test_every_subscriber_gets_each_commit_in_the_thread_that_made_it(self) -> None:
        heard: list[tuple[str, list[int], int]] = []

        def subscribe(name: str) -> None:
            def subscriber(rows: Sequence[LogRow]) -> None:
                heard.append((name, [row.position for row in rows], threading.get_ident()))

            self.notifier.subscribe(subscriber)

        subscribe("one")
        subscribe("two")
        self.notifier.publish([LogRow(1, sample_event(), None), LogRow(2, sample_event(), "s")])
        mine = threading.get_ident()
        assert heard == [("one", [1, 2], mine), ("two", [1, 2], mine)]
