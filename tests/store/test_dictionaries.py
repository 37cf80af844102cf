"""Contents that are compressed with dictionaries: small, and read back to the byte whatever becomes of a dictionary."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Iterator, Mapping

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from esfeed.errors import StateError
from esfeed.model.event import Key
from esfeed.ports import Commit, Entry, Parked, Settlement
from esfeed.store.compression import Damaged, ZstdPacker, dictionary_of, trained
from esfeed.store.dictionaries import Dictionaries
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.store.test_sql import key, revision

Bodies = Mapping[Key, bytes]


def servers(first: int, count: int) -> dict[Key, bytes]:
    """Documents that resemble each other."""
    rng = random.Random(first)
    return {
        key(n): msgspec.json.encode(
            {"name": f"server-{n}", "status": "ACTIVE", "id": rng.randbytes(8).hex(), "flavor": {"vcpus": n % 8}}
        )
        for n in range(first, first + count)
    }


def volumes(first: int, count: int) -> dict[Key, bytes]:
    """Documents of another kind, that resemble each other as well."""
    words = [f"{random.Random(n).getrandbits(60):015x}" for n in range(40)]
    return {
        key(n): msgspec.json.encode({"attachments": words[n % 7 : n % 7 + 20], "volume": n, "tags": words[20:]})
        for n in range(first, first + count)
    }


def write(store: SqlState, bodies: Bodies) -> None:
    entries = [Entry(name, sample_event(doc_id=name.id, op="created", after=body)) for name, body in bodies.items()]
    store.commits.commit("w", Commit({name: revision(1) for name in bodies}, bodies, entries=entries))


def stored(store: SqlState) -> dict[Key, int]:
    """The dictionary of each stored content."""
    with store.sessions.reading() as connection:
        rows = connection.exec_driver_sql("SELECT body FROM document ORDER BY rowid").all()
    return {key(n): dictionary_of(row.body) for n, row in enumerate(rows)}


def numbers(store: SqlState) -> list[tuple[int, int]]:
    """The number and the size of each dictionary."""
    with store.sessions.reading() as connection:
        return [(row.id, len(row.body)) for row in connection.exec_driver_sql("SELECT id, body FROM dictionary")]


def told(store: SqlState) -> dict[Key, bytes]:
    return {key(row.event.doc_id): bytes(row.event.after or b"") for row in store.log.read(0, 100_000, 1 << 30)}


@pytest.fixture
def other(store: SqlState) -> Iterator[SqlState]:
    """Another process's view of the same state, which has nothing in memory."""
    made = SqlState(str(store.sessions.engine.url))
    yield made
    made.close()


def execute(store: SqlState, statement: str) -> None:
    with store.sessions.writing() as connection:
        connection.exec_driver_sql(statement)


def test_the_first_thousand_documents_train_one(store: SqlState, other: SqlState) -> None:
    """What is written after it is half as large, and another process reads it."""
    bodies = servers(0, 1000)
    write(store, bodies)
    plain = ZstdPacker().pack_all([*bodies.values()])
    assert {*stored(store).values()} == {1}
    assert store.log.size_bytes() < 0.9 * sum(map(len, plain)) + 220 * len(bodies)
    assert other.commits.documents("w", [*bodies]) == bodies
    assert told(other) == told(store) == bodies


def test_many_small_commits_train_one(store: SqlState) -> None:
    """A watch that grows slowly gets a dictionary as well."""
    for first in range(0, 1050, 50):
        write(store, servers(first, 50))
    assert len(numbers(store)) == 1
    assert (stored(store)[key(0)], stored(store)[key(1049)]) == (0, 1)
    assert store.commits.documents("w", [*servers(0, 50), *servers(1000, 50)]) == servers(0, 50) | servers(1000, 50)


def test_processes_that_each_write_little_train_one(store: SqlState, other: SqlState) -> None:
    """A poll by cron finds the documents that earlier polls stored."""
    for first in (0, 350):
        write(store, servers(first, 350))
    assert numbers(store) == []
    bodies = servers(700, 350)
    store.commits.commit("w", Commit({name: revision(1) for name in bodies}, bodies))
    execute(store, "DELETE FROM dictionary")
    write(other, servers(2000, 1))
    assert len(numbers(other)) == 1


def test_documents_of_another_kind_get_another(store: SqlState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old contents stay readable, and nothing is trained while the present dictionary is good enough."""
    monkeypatch.setattr("esfeed.store.dictionaries._REVIEW", 1000)
    for first in range(0, 4000, 1000):
        write(store, servers(first, 1000))
    assert len(numbers(store)) == 1
    write(store, volumes(4000, 1000))
    assert len(numbers(store)) == 2
    places = stored(store)
    assert (places[key(0)], places[key(4000)]) == (1, 2)
    everything = servers(0, 1000) | volumes(4000, 1000)
    assert store.commits.documents("w", [*everything]) == everything


def test_documents_with_nothing_in_common(store: SqlState, other: SqlState) -> None:
    """No dictionary helps them; that is remembered, so that the next process does not try again at once."""
    rng = random.Random(1)
    bodies = {key(n): b'{"":"%s"}' % rng.randbytes(150).hex().encode() for n in range(1200)}
    write(store, bodies)
    assert numbers(store) == [(1, 0)]
    assert {*stored(store).values()} == {0}
    write(other, {key("next"): b"{}"})
    assert numbers(store) == [(1, 0)]
    assert other.commits.documents("w", [*bodies]) == bodies


def test_each_watch_has_its_own(store: SqlState) -> None:
    for name, bodies in (("a", servers(0, 1000)), ("b", volumes(0, 1000))):
        store.commits.commit(name, Commit({k: revision(1) for k in bodies}, bodies))
    assert [number for number, _ in numbers(store)] == [1, 2]
    assert store.commits.documents("a", [key(3)]) == {key(3): servers(0, 1000)[key(3)]}
    assert store.commits.documents("b", [key(3)]) == {key(3): volumes(0, 1000)[key(3)]}


LOST = {
    "missing": "DELETE FROM dictionary",
    "garbage": "UPDATE dictionary SET body = x'00112233445566778899'",
    "another": "UPDATE dictionary SET body = (SELECT body FROM dictionary WHERE id = 2) WHERE id = 1",
}


@pytest.mark.parametrize("statement", LOST.values(), ids=[*LOST])
def test_a_dictionary_that_is_lost(store: SqlState, other: SqlState, statement: str) -> None:
    """It is named; contents count as unknown and are stored anew with the next change; events are not made up."""
    write(store, servers(0, 1000))
    store.commits.commit("v", Commit({k: revision(1) for k in volumes(0, 1000)}, volumes(0, 1000)))
    execute(store, statement)
    with structlog.testing.capture_logs() as logs:
        assert other.commits.documents("w", [key(1)]) == {}
    assert [(one["event"], one["watch"], one["id"]) for one in logs] == [("state.content_unreadable", "w", "1")]
    assert "dictionary 1 is" in logs[0]["error"]
    with pytest.raises(StateError, match=r"cannot be read: dictionary 1 is (missing|damaged)"):
        other.log.read(0, 10)
    other.commits.commit("w", Commit({key(1): revision(2)}, {key(1): b'{"n":2}'}))
    assert other.commits.documents("w", [key(1)]) == {key(1): b'{"n":2}'}


@pytest.mark.parametrize("body", [b"(\xb5/\xfd", b"(\xb5/\xfd\x24\x10garbage", b"x\x01garbage"])
def test_a_damaged_content(store: SqlState, body: bytes) -> None:
    """It counts as unknown as well, whatever form it had."""
    write(store, servers(0, 1))
    execute(store, f"UPDATE document SET body = x'{body.hex()}'")
    with structlog.testing.capture_logs() as logs:
        assert store.commits.documents("w", [key(0)]) == {}
    assert [one["event"] for one in logs] == ["state.content_unreadable"]


def test_contents_of_older_states(store: SqlState) -> None:
    """They were deflated."""
    write(store, servers(0, 1))
    text = volumes(0, 1)[key(0)]
    execute(store, f"UPDATE document SET body = x'{zlib.compress(text, 1).hex()}'")
    assert store.commits.documents("w", [key(0)]) == {key(0): text}


def test_contents_that_do_not_compress_and_large_ones(store: SqlState) -> None:
    """They come back to the byte."""
    write(store, servers(0, 1000))
    rng = random.Random(1)
    odd = {
        key("noise"): b'"' + bytes(rng.choices(range(35, 127), k=300)) + b'"',
        key("tiny"): b"{}",
        key("large"): b'{"":"' + rng.randbytes(10_000_000).hex().encode() + b'"}',
    }
    write(store, odd)
    assert store.commits.documents("w", [*odd]) == odd
    rows = store.log.read(1000, 3, 1 << 30)
    assert {row.event.doc_id: bytes(row.event.after or b"") for row in rows} == {
        name.id: body for name, body in odd.items()
    }


def test_parked_events(store: SqlState, other: SqlState) -> None:
    """A changed event that waits for a sink is packed with the dictionary of its watch."""
    write(store, servers(0, 1000))
    event = sample_event(op="created", doc_id="1", after=servers(1, 1)[key(1)], position=2)
    store.outbox.settle("s", Settlement(2, parked=[Parked("s", 2, 1, "refused", (1, b"k"), event=event)]))
    (row,) = other.outbox.parked_events("s", [2])
    assert row.event == event


def test_two_processes_that_train_at_once(store: SqlState, other: SqlState, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them takes the number; the other goes on without a dictionary, and nothing is unreadable."""

    def beaten(number: int, samples: list[bytes], present: ZstdPacker) -> ZstdPacker | None:
        monkeypatch.setattr("esfeed.store.dictionaries.trained", trained)
        write(other, servers(5000, 1000))
        return trained(number, samples, present)

    monkeypatch.setattr("esfeed.store.dictionaries.trained", beaten)
    write(store, servers(0, 1000))
    assert [number for number, _ in numbers(store)] == [1]
    for each in (store, other):
        assert each.commits.documents("w", [*servers(0, 1000)]) == servers(0, 1000)
        assert each.commits.documents("w", [*servers(5000, 1000)]) == servers(5000, 1000)


def test_threads_share_a_dictionary(store: SqlState) -> None:
    """Each reads what it wrote."""
    write(store, servers(0, 1000))
    dictionaries = Dictionaries(store.sessions)
    faults: list[object] = []

    def run(number: int) -> None:
        texts = [*(servers if number % 2 else volumes)(number * 1000, 200).values()]
        for _ in range(20):
            packed = dictionaries.packer(1).pack_all(texts)
            faults.extend(raw for raw, text in zip(packed, texts, strict=True) if dictionaries.unpack(raw) != text)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@given(st.lists(st.binary(min_size=1, max_size=400).map(lambda raw: b'"' + raw + b'"'), max_size=8))
def test_any_text_comes_back(texts: list[bytes]) -> None:
    for packer in (_PLAIN, _TRAINED):
        packed = packer.pack_all(texts)
        assert [packer.unpack(raw) for raw in packed] == texts
        assert all(len(raw) <= len(text) for raw, text in zip(packed, texts, strict=True))


def test_a_packer_refuses_another_dictionary() -> None:
    with pytest.raises(Damaged, match="says that it is 7"):
        ZstdPacker(8, _TRAINED.raw)


_PLAIN = ZstdPacker()
_TRAINED = trained(7, [*servers(0, 1000).values()], _PLAIN) or pytest.fail("no dictionary was trained")
