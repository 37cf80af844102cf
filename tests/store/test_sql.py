"""The store over SQLite: one commit is all or nothing, whatever dies; what is kept comes back to the byte."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esfeed.errors import StateError
from esfeed.model.event import Event, Key, Revision
from esfeed.ports import BackfillMark, Checkpoint, Commit, Entry, Settlement
from esfeed.store.keys import pack_key, unpack_key
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event

ROOT = Path(__file__).resolve().parents[2]


def key(name: object) -> Key:
    return Key("_doc", str(name))


def revision(version: int = 1, **more: object) -> Revision:
    return msgspec.structs.replace(Revision("u", "i", version, None, b"d" * 16), **more)


def entry(name: object, sink: str | None = None, **event: object) -> Entry:
    return Entry(key(name), sample_event(doc_id=str(name), **event), sink)  # type: ignore[arg-type]


def seen(*names: object, version: int = 1, **more: object) -> Commit:
    """A commit of those documents, each with an event."""
    return Commit(
        {key(name): revision(version, **more) for name in names},
        {key(name): b'{"v":%d}' % version for name in names},
        entries=[entry(name) for name in names],
    )


# --- what dies in the middle


def expected(number: int) -> dict[str, int]:
    """What is known after so many commits of ``commits_for_ever``: the version by document."""
    known: dict[str, int] = {}
    for n in range(1, number + 1):
        known[str(n % 7)] = n
        known.pop(str((n + 3) % 7), None)
    return known


def commits_for_ever(url: str) -> None:
    """Commit after commit, each telling of itself in every table, and then on standard output."""
    store = SqlState(url)
    last = store.commits.checkpoint("w")
    n = last.number if last else 0
    while True:
        n += 1
        name = str(n % 7)
        batch = Commit(
            {key(name): revision(n, seq_no=n, shard=0)},
            {key(name): b'{"n":%d}' % n},
            [key((n + 3) % 7)],
            [entry(name, id=f"{n}"), entry(name, id=f"{n}+")],
            Checkpoint("t", b"%d" % n),
            BackfillMark("b", str(n), n),
        )
        store.commits.commit("w", batch)
        print(n, flush=True)


def test_kill_9_leaves_all_of_a_commit_or_nothing(tmp_path: Path) -> None:
    """25 times, at any moment: revisions, contents, log, checkpoint and backfill agree; nothing told is lost."""
    url = f"sqlite:///{tmp_path}/state.db"
    code = f"from tests.store.test_sql import commits_for_ever; commits_for_ever({url!r})"
    chosen = random.Random()
    for _ in range(25):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout
            for _ in range(chosen.randrange(1, 25)):
                told = int(process.stdout.readline())
            threading.Event().wait(chosen.random() / 50)
            process.send_signal(signal.SIGKILL)
            told = max([told, *map(int, process.stdout.read().split("\n")[:-1])])
        store = SqlState(url)
        checkpoint = store.commits.checkpoint("w")
        assert checkpoint
        number = checkpoint.number
        assert number >= told
        assert checkpoint.data == b"%d" % number
        names = [key(n) for n in range(7)]
        known = {k.id: r.version for k, r in store.commits.known("w").revisions(names).items()}
        assert known == expected(number)
        assert store.commits.known("w").count() == store.commits.known("w").in_shard("u", 0) == len(known)
        assert store.commits.documents("w", names) == {key(name): b'{"n":%d}' % n for name, n in known.items()}
        rows = store.log.read(0, 10 * number)
        assert [row.event.id for row in rows] == [f"{n}{mark}" for n in range(1, number + 1) for mark in ("", "+")]
        assert [row.position for row in rows] == list(range(1, 2 * number + 1))
        assert store.backfills.get("b") == BackfillMark("b", str(number), number)
        store.close()


def test_a_commit_that_fails_leaves_nothing(store: SqlState) -> None:
    """A fault in its last statement takes back its first."""
    store.commits.commit("w", msgspec.structs.replace(seen("a"), checkpoint=Checkpoint("t", b"1")))
    bad = msgspec.structs.replace(seen("a", "b", version=2), checkpoint=Checkpoint(None, b"2"))  # type: ignore[arg-type]
    with pytest.raises(StateError):
        store.commits.commit("w", bad)
    assert store.commits.known("w").revisions([key("a"), key("b")]) == {key("a"): revision(1)}
    assert store.commits.documents("w", [key("a"), key("b")]) == {key("a"): b'{"v":1}'}
    assert [row.position for row in store.log.read(0, 9)] == [1]
    assert store.commits.checkpoint("w") == Checkpoint("t", b"1", 1)


# --- what is kept

texts = st.text(st.characters(codec="utf-8"), max_size=40)
keys = st.builds(Key, texts, texts, st.none() | texts, st.none() | texts)


@given(keys)
def test_any_key_comes_back(one: Key) -> None:
    """NUL, emoji, empty, whatever can be UTF-8: packed and unpacked it is the same."""
    assert unpack_key(pack_key(one)) == one


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(keys, st.integers(0, 2**63 - 1), max_size=8), st.text("abc", min_size=1, max_size=3))
def test_any_keys_and_versions_are_told_apart(store: SqlState, found: dict[Key, int], watch: str) -> None:
    """Revisions come back by exactly their key, with versions and sequence numbers up to 2**63 - 1."""
    store.commits.commit(watch, Commit({one: revision(n, seq_no=n, shard=1) for one, n in found.items()}))
    assert store.commits.known(watch).revisions(found) == {
        one: revision(n, seq_no=n, shard=1) for one, n in found.items()
    }
    store.commits.commit(watch, Commit(gone=list(found)))
    assert store.commits.known(watch).revisions(found) == {}
    assert store.commits.known(watch).count() == 0


RAWS = [
    b'{"a":12345678901234567890123,"b":1.10,"c":1e999}',
    b'{ "a" : [ ] }',
    '{"é":"😀\u2028"}'.encode(),
    b'{"a":"' + b"x" * 100_000 + b'"}',
    b"{}",
    b"null",
]


@pytest.mark.parametrize("before", [None, *RAWS[:-1]], ids=lambda raw: str(raw)[:25])
@pytest.mark.parametrize("after", [None, *RAWS[:-1]], ids=lambda raw: str(raw)[:25])
def test_events_come_back_to_the_byte(store: SqlState, before: bytes | None, after: bytes | None) -> None:
    """Every field; contents are the engine's own bytes; nothing is nothing and stays so."""
    event = msgspec.structs.replace(
        sample_event(doc_id="\0😀", changed=("a", "é"), view="admin", routing="r\0", before=b"{}", after=b"{}"),
        before=None if before is None else msgspec.Raw(before),
        after=None if after is None else msgspec.Raw(after),
    )
    event = msgspec.structs.replace(event, origin=msgspec.structs.replace(event.origin, version=2**63 - 1, seq_no=None))
    store.commits.commit("w", Commit(entries=[Entry(key("a"), event)]))
    (row,) = store.log.read(0, 9)
    assert plain(row.event) == {**plain(event), "position": row.position}


def plain(event: Event) -> dict[str, object]:
    fields = msgspec.structs.asdict(event)
    return {name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in fields.items()}


@pytest.mark.parametrize("body", RAWS, ids=lambda raw: str(raw)[:25])
def test_contents_come_back_to_the_byte(store: SqlState, body: bytes) -> None:
    """Small and large ones, deflated or not."""
    store.commits.commit("w", Commit({key("a"): revision()}, {key("a"): body}))
    assert store.commits.documents("w", [key("a"), key("b")]) == {key("a"): body}


def test_more_than_a_statement_can_hold(store: SqlState) -> None:
    """Thousands of keys in one commit, one question, and one delete."""
    names = [key(n) for n in range(2500)]
    store.commits.commit("w", Commit(dict.fromkeys(names, revision()), dict.fromkeys(names, b"{}")))
    assert len(store.commits.known("w").revisions(names)) == len(store.commits.documents("w", names)) == 2500
    store.commits.commit("w", Commit(gone=names[:2400]))
    assert (
        set(store.commits.known("w").revisions(names)) == set(store.commits.documents("w", names)) == set(names[2400:])
    )


def test_watches_do_not_meet(store: SqlState) -> None:
    """The same document behind two watches has two revisions; checkpoints count for themselves."""
    store.commits.commit("one", msgspec.structs.replace(seen("a", version=1), checkpoint=Checkpoint("t", b"1")))
    store.commits.commit("two", msgspec.structs.replace(seen("a", version=2), checkpoint=Checkpoint("t", b"2")))
    store.commits.commit("two", Commit(checkpoint=Checkpoint("t", b"3")))
    assert store.commits.known("one").revisions([key("a")]) == {key("a"): revision(1)}
    store.commits.commit("one", Commit(gone=[key("a")]))
    assert store.commits.known("two").revisions([key("a")]) == {key("a"): revision(2)}
    assert store.commits.documents("two", [key("a")]) == {key("a"): b'{"v":2}'}
    assert (store.commits.checkpoint("one"), store.commits.checkpoint("two")) == (
        Checkpoint("t", b"1", 1),
        Checkpoint("t", b"3", 2),
    )
    assert store.commits.checkpoint("three") is None


# --- log, cursors, parked


def test_positions_are_never_used_twice(store: SqlState, tmp_path: Path) -> None:
    """Even when the newest rows are gone from the log and the store was opened anew."""
    store.commits.commit("w", seen("a", "b"))
    assert store.log.head() == 2
    with sa.create_engine(f"sqlite:///{tmp_path}/state.db").begin() as connection:
        connection.exec_driver_sql("DELETE FROM log")
    store.close()
    again = SqlState(f"sqlite:///{tmp_path}/state.db")
    assert again.log.head() == 2
    again.commits.commit("w", seen("c"))
    assert [row.position for row in again.log.read(0, 9)] == [3]
    again.close()


def test_the_log_is_read_in_order_and_in_part(store: SqlState) -> None:
    """After a position, so many rows; a row for one sink says so."""
    store.commits.commit("w", seen("a", "b"))
    store.commits.commit("w", Commit(entries=[entry("c", sink="s")]))
    assert [(row.position, row.event.position, row.sink) for row in store.log.read(1, 9)] == [(2, 2, None), (3, 3, "s")]
    assert [row.position for row in store.log.read(0, 2)] == [1, 2]
    assert store.log.read(3, 9) == []


def test_a_page_of_a_backfill_never_follows_what_is_newer(store: SqlState) -> None:
    """Documents that the feed told of after ``low`` are left out; those told before, or elsewhere, are not."""
    store.commits.commit("w", seen("before"))
    low = store.log.head()
    store.commits.commit("w", seen("after"))
    store.commits.commit("v", seen("elsewhere"))
    store.commits.commit("w", Commit(entries=[entry("own", sink="s")]))
    names = ["before", "after", "elsewhere", "own", "new"]
    page = Commit(entries=[entry(name, sink="s") for name in names], backfill=BackfillMark("b", "1", 5), low=low)
    head = store.log.head()
    store.commits.commit("w", page)
    assert [row.event.doc_id for row in store.log.read(head, 9)] == ["before", "elsewhere", "own", "new"]
    assert store.backfills.get("b") == BackfillMark("b", "1", 5)
    store.backfills.end("b")
    assert store.backfills.get("b") is None


# --- what a commit takes for known


def test_a_commit_that_is_told_what_was_known_keeps_the_same(store: SqlState) -> None:
    """With or without being told: the revisions, and the counts of them, are the same."""
    steps = [
        ({"a": revision(shard=0, seq_no=1), "b": revision(shard=0, seq_no=5000)}, ()),
        ({"a": revision(2, uuid="new", shard=1, seq_no=9000), "c": revision(shard=0, seq_no=7)}, ("b",)),
        ({"c": revision(2, stamp=5), "b": revision(3, uuid="new", shard=1, seq_no=9001)}, ()),
        ({"a": revision(4, uuid="new", shard=1, seq_no=3)}, ("c",)),
    ]
    keys = [key(name) for name in "abc"]
    for changed, gone in steps:
        kept = {key(name): one for name, one in changed.items()}
        lost = [key(name) for name in gone]
        store.commits.commit("unaware", Commit(kept, gone=lost))
        store.commits.commit("aware", Commit(kept, gone=lost, known=store.commits.known("aware").revisions(keys)))
        assert store.commits.known("aware").revisions(keys) == store.commits.known("unaware").revisions(keys)
        aware, unaware = store.commits.known("aware"), store.commits.known("unaware")
        for place in [("u", 0), ("new", 1)]:
            assert aware.in_shard(*place) == unaware.in_shard(*place)
            assert aware.histogram(*place, [(0, 1 << 20)], 12) == unaware.histogram(*place, [(0, 1 << 20)], 12)
        assert aware.dated(None, 20) == unaware.dated(None, 20)


@pytest.mark.parametrize("known", [{}, {key("a"): revision(shard=0, seq_no=4)}, {key("a"): revision()}])
def test_a_commit_that_is_told_wrong_keeps_nothing(store: SqlState, known: dict[Key, Revision]) -> None:
    """Another process has followed the watch meanwhile: counts from what was known would be wrong from now on."""
    there = {key("a"): revision(shard=0, seq_no=3)}
    store.commits.commit("w", Commit(there))
    wrong = Commit({key("a"): revision(2, shard=0, seq_no=9), key("b"): revision(shard=0, seq_no=8)}, known=known)
    with pytest.raises(StateError, match="another process"):
        store.commits.commit("w", wrong)
    assert store.commits.known("w").revisions([key("a"), key("b")]) == there
    assert store.commits.known("w").in_shard("u", 0) == 1
    wrong = Commit({key("b"): revision(2)}, known={key("b"): revision()})
    with pytest.raises(StateError, match="another process"):
        store.commits.commit("w", wrong)


# --- sweeps


def test_a_sweep_finds_what_did_not_turn_up(store: SqlState) -> None:
    """Known and not met, in pages; met twice, or met and not known, is nothing; what another sweep met is not met."""
    store.commits.commit("w", seen(*range(25)))
    store.commits.commit("v", seen("other"))
    with store.commits.known("w").sweep() as sweep:
        sweep.see([])
        sweep.see([key(n) for n in range(10)] + [key("unknown")])
        sweep.see([key(n) for n in range(5, 12)])
        assert sweep.missing() == 13
        pages = list(sweep.unseen(5))
    assert [len(page) for page in pages] == [5, 5, 3]
    assert {k for page in pages for k in page} == {key(n) for n in range(12, 25)}
    assert all(found == revision() for page in pages for found in page.values())
    with store.commits.known("w").sweep() as sweep:
        assert sweep.missing() == 25


def test_a_sweep_while_others_commit(store: SqlState) -> None:
    """Its own deletes between two pages, and others' commits and sweeps, neither block it nor lose anything."""
    store.commits.commit("w", seen(*range(20)))
    found: list[Key] = []
    with store.commits.known("w").sweep() as sweep, store.commits.known("v").sweep() as other:
        sweep.see([key(n) for n in range(10)])
        other.see([key("x")])
        store.commits.commit("w", seen("late"))
        for page in sweep.unseen(3):
            found += page
            store.commits.commit("w", Commit(gone=list(page)))
            store.commits.commit("v", seen("x", version=2))
        assert sweep.missing() == 0
    assert set(found) == {key(n) for n in range(10, 20)} | {key("late")}
    assert store.commits.known("w").count() == 10


def test_a_sweep_ends_with_its_error(store: SqlState) -> None:
    """An error inside is raised as it is, and the next sweep begins empty."""
    store.commits.commit("w", seen("a"))
    with pytest.raises(ZeroDivisionError), store.commits.known("w").sweep() as sweep:  # noqa: PT012 - it is about the context
        sweep.see([key("a")])
        1 / 0  # noqa: B018 - the error is the point
    with store.commits.known("w").sweep() as sweep:
        assert sweep.missing() == 1


def test_a_sweep_of_other_indices_needs_no_notes(store: SqlState) -> None:
    """What it met is kept as theirs by the time that it asks, so what is known of others did not turn up."""
    store.commits.commit("w", seen(*range(20)))
    store.commits.commit("v", seen(*range(20), uuid="new"))
    with store.commits.known("w").sweep(["new", "newer"]) as sweep:
        store.commits.commit("w", seen(*range(12), uuid="new"))
        store.commits.commit("w", seen(12, "late", uuid="newer"))
        store.commits.commit("v", seen("other"))
        assert sweep.missing() == 7
        pages = list(sweep.unseen(5))
    assert [len(page) for page in pages] == [5, 2]
    assert {k for page in pages for k in page} == {key(n) for n in range(13, 20)}
    with store.commits.known("empty").sweep(["new"]) as sweep:
        store.commits.commit("empty", seen(*range(3), uuid="new"))
        assert sweep.missing() == 0
        assert list(sweep.unseen(5)) == []


def test_a_sweep_that_was_broken_off_takes_notes_when_it_begins_anew(store: SqlState) -> None:
    """What the first one kept may be gone since, so being known as theirs proves nothing any more."""
    store.commits.commit("w", seen(*range(20)))
    with store.commits.known("w").sweep(["new"]):
        store.commits.commit("w", seen(*range(12), uuid="new"))
    with store.commits.known("w").sweep(["new"]) as sweep:
        sweep.see([key(n) for n in range(1, 12)])
        assert {k for page in sweep.unseen(50) for k in page} == {key(0), *(key(n) for n in range(12, 20))}


# --- sequence numbers

numbers = st.integers(0, 2**21)
moves = st.lists(st.tuples(st.integers(0, 6), st.none() | st.tuples(st.integers(0, 1), numbers)), max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves, st.sampled_from([20, 16, 12, 8, 0]))
def test_counts_by_sequence_number_are_always_right(
    store: SqlState, script: list[tuple[int, tuple[int, int] | None]], bits: int
) -> None:
    """Whatever comes, moves and goes: the kept counts are what counting anew gives."""
    watch = uuid.uuid4().hex
    at: dict[int, tuple[int, int]] = {}
    for doc, place in script:
        if place is None:
            at.pop(doc, None)
            store.commits.commit(watch, Commit(gone=[key(doc)]))
        else:
            at[doc] = place
            store.commits.commit(watch, Commit({key(doc): revision(1, shard=place[0], seq_no=place[1])}))
    known = store.commits.known(watch)
    for shard in (0, 1):
        there = {doc: number for doc, (where, number) in at.items() if where == shard}
        assert known.in_shard("u", shard) == len(there)
        assert known.histogram("u", shard, [(0, 2**22)], bits) == Counter(n >> bits for n in there.values())
        assert {k.id for k in known.at("u", shard, there.values())} == {str(doc) for doc in there}


# --- many at once


def test_threads_commit_and_read_at_once(store: SqlState) -> None:
    """Eight threads on one store: no commit is lost, none fails, and a reader never sees half of one."""
    faults: list[BaseException] = []

    def work(watch: str) -> None:
        try:
            for n in range(1, 21):
                batch = seen("a", "b", version=n)
                store.commits.commit(watch, msgspec.structs.replace(batch, checkpoint=Checkpoint("t", b"%d" % n)))
                found: Mapping[Key, Revision] = store.commits.known(watch).revisions([key("a"), key("b")])
                assert {one.version for one in found.values()} == {n}
                store.outbox.settle(watch, Settlement(n))
                store.notes.put("watch", watch, b"{}")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=[f"w{n}"]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [store.commits.checkpoint(f"w{n}") for n in range(8)] == [Checkpoint("t", b"20", 20)] * 8
    assert [row.position for row in store.log.read(0, 999)] == list(range(1, 8 * 20 * 2 + 1))


def test_two_processes_commit_at_once(tmp_path: Path) -> None:
    """A backfill beside a running feed: each begins on a state that is not there yet, and both get all through."""
    url = f"sqlite:///{tmp_path}/state.db"
    code = (
        "import sys; from tests.store.test_sql import *\n"
        f"store = SqlState({url!r})\n"
        "for n in range(40): store.commits.commit(sys.argv[1], seen(n))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, watch], cwd=ROOT, stderr=subprocess.PIPE) for watch in ("a", "b")
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0)] * 2
    store = SqlState(url)
    assert [store.commits.known(watch).count() for watch in ("a", "b")] == [40, 40]
    assert [row.position for row in store.log.read(0, 999)] == list(range(1, 81))
    store.close()


def test_notes(store: SqlState) -> None:
    """The latest word on each part, by kind."""
    store.notes.put("watch", "a", b"1")
    store.notes.put("watch", "a", b"2")
    store.notes.put("sink", "a", b"3")
    assert store.notes.all("watch") == {"a": b"2"}
    assert store.notes.all("sink") == {"a": b"3"}
