"""What was told deleted is remembered for as long as a failover may take the delete back, and no longer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from esfeed.model.event import Key, Revision
from esfeed.ports import Checkpoint, Commit, Passed
from esfeed.store.state import SqlState


def key(name: object) -> Key:
    return Key("_doc", str(name))


def know(store: SqlState, *names: int, uuid: str = "u", shard: int | None = 0, watch: str = "w") -> None:
    """Documents known at a sequence number like their name, where they have a shard."""
    numbered = shard is not None
    found = {key(n): Revision(uuid, "i", n + 1, n if numbered else None, b"d" * 16, shard) for n in names}
    store.commits.commit(watch, Commit(found))


def end(store: SqlState, counted: int, mark: int, uuid: str = "u", gone: tuple[int, ...] = ()) -> None:
    """The end of a poll that counted up to a number, and passed a mark in the only shard."""
    passed = {(uuid, 0): Passed(counted, mark)}
    store.commits.commit("w", Commit(gone=[key(n) for n in gone], checkpoint=Checkpoint("t", b""), passed=passed))


def left(store: SqlState, uuid: str = "u") -> list[str]:
    """The ids of all tombstones of a shard."""
    return [one.id for some in store.commits.known("w").tombstones(uuid, 0, 2) for one in some]


def test_a_tombstone_stays_until_the_next_count_is_passed(store: SqlState) -> None:
    """The poll that left it counted before the delete may have been done; the next one's number is above it."""
    know(store, 5, 6)
    store.commits.commit("w", Commit(gone=[key(5)]))
    assert store.commits.known("w").tombstoned([key(5), key(6)]) == {key(5): Revision("u", "i", 6, 5, b"", 0)}
    end(store, 9, 9)
    assert left(store) == ["5"]
    end(store, 12, 11)
    assert left(store) == ["5"]
    end(store, 20, 11)
    assert left(store) == ["5"]
    end(store, 20, 12)
    assert left(store) == []
    assert store.commits.known("w").tombstoned([key(5)]) == {}


def test_with_the_checkpoint_comes_after_it(store: SqlState) -> None:
    """What the last step of a poll tells deleted was not counted by that poll either."""
    know(store, 1)
    end(store, 9, 9, gone=(1,))
    assert left(store) == ["1"]
    end(store, 9, 8)
    assert left(store) == ["1"]
    end(store, 9, 9)
    assert left(store) == []


def test_a_poll_that_breaks_off_counts_for_nothing(store: SqlState) -> None:
    """A step without a checkpoint, and the same poll once more."""
    know(store, 1, 2)
    end(store, 3, 3)
    store.commits.commit("w", Commit(gone=[key(1)]))
    store.commits.commit("w", Commit(gone=[key(2)]))
    end(store, 9, 9)
    assert left(store) == ["1", "2"]
    end(store, 9, 9)
    assert left(store) == []


def test_a_document_that_goes_twice(store: SqlState) -> None:
    """Its last state counts, and from the last delete on."""
    know(store, 1)
    end(store, 2, 0, gone=(1,))
    end(store, 4, 0)
    store.commits.commit("w", Commit({key(1): Revision("u", "i", 9, 7, b"", 0)}))
    store.commits.commit("w", Commit(gone=[key(1)]))
    end(store, 8, 6)
    assert store.commits.known("w").tombstoned([key(1)]) == {key(1): Revision("u", "i", 9, 7, b"", 0)}
    end(store, 8, 7)
    assert left(store) == ["1"]
    end(store, 8, 8)
    assert left(store) == []


def test_only_what_has_a_number_leaves_one(store: SqlState, tmp_path: Path) -> None:
    """Where a watch is followed by dates, all is read after a failover, and nothing needs to be remembered."""
    know(store, 1, shard=None)
    store.commits.commit("w", Commit(gone=[key(1), key("never known")]))
    with sqlite3.connect(tmp_path / "state.db") as database:
        assert database.execute("SELECT count(*) FROM tombstone").fetchone() == (0,)


def test_other_shards_indices_and_watches(store: SqlState) -> None:
    """Each shard is passed by itself; what is of an index that is not followed any more goes."""
    know(store, 1)
    know(store, 2, shard=1)
    know(store, 3, uuid="old")
    know(store, 4, watch="other")
    store.commits.commit("w", Commit(gone=[key(1), key(2), key(3)]))
    store.commits.commit("other", Commit(gone=[key(4)]))
    end(store, 9, -1)
    assert left(store, "old") == []
    end(store, 9, 9)
    assert left(store) == []
    assert store.commits.known("w").tombstoned([key(2)]).keys() == {key(2)}
    assert store.commits.known("other").tombstoned([key(4)]).keys() == {key(4)}


def test_what_is_known_above_a_number(store: SqlState) -> None:
    """In the order of numbers, some at a time, while what was given is changed or forgotten."""
    know(store, *range(10))
    know(store, 11, shard=1)
    found = []
    for some in store.commits.known("w").above("u", 0, 3, 2):
        found += [one.id for one in some]
        assert all(revision.seq_no == int(one.id) for one, revision in some.items())
        store.commits.commit("w", Commit({one: Revision("u", "i", 1, 100 + int(one.id), b"", 1) for one in some}))
    assert found == ["4", "5", "6", "7", "8", "9"]
