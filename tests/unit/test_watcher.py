"""A poll's way from a tracker's batches to commits: a real state, a tracker that is played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from esfeed.changes.profiles.plain import PlainProfile
from esfeed.changes.watcher import Watch, Watcher
from esfeed.errors import MassDelete
from esfeed.model.event import Document, Key, Revision
from esfeed.ports import Batch, Checkpoint, Commit, LogRow, Notifier
from esfeed.runtime.notifier import LocalNotifier
from esfeed.store.state import SqlState
from tests.delivery.fakes import FakeClock


class Played:
    """A tracker that finds the same batches at each poll."""

    def __init__(self, *batches: Batch) -> None:
        self.batches = batches

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        yield from self.batches


def docs(count: int, version: int = 1) -> list[Document]:
    return [
        Document(Key("_doc", str(n)), "i", "u", version, n + version, b'{"n":%d,"v":%d}' % (n, version), shard=0)
        for n in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlState]:
    made = SqlState(f"sqlite:///{tmp_path}/state.db")
    yield made
    made.close()


def watcher(store: SqlState, *batches: Batch, split_batches: bool = True) -> Watcher:
    return watching(store, Watch("w", "main", split_batches=split_batches), *batches)


def watching(store: SqlState, watch: Watch, *batches: Batch, notifier: Notifier | None = None) -> Watcher:
    notifier = notifier or LocalNotifier()
    return Watcher(watch, Played(*batches), PlainProfile(), store.commits, store.log, notifier, FakeClock())


def spied(store: SqlState, monkeypatch: pytest.MonkeyPatch) -> list[Commit]:
    """All commits from now on."""
    made: list[Commit] = []
    commit = store.commits.commit

    def keep(watch: str, batch: Commit) -> Sequence[LogRow]:
        made.append(batch)
        return commit(watch, batch)

    monkeypatch.setattr(store.commits, "commit", keep)
    return made


def known(store: SqlState, seen: Sequence[Document]) -> dict[Key, Revision]:
    return dict(store.commits.known("w").revisions([doc.key for doc in seen]))


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])]
)
def test_a_large_batch_is_kept_in_parts(
    store: SqlState, monkeypatch: pytest.MonkeyPatch, count: int, sizes: list[int]
) -> None:
    """No other watch waits for all of it; what must not be kept before the documents comes with the last of them."""
    made = spied(store, monkeypatch)
    last = Checkpoint("seq_no", b"{}")
    found = watcher(store, Batch(docs(count), checkpoint=last, snapshot=True, read=count)).run_once()
    assert [len(commit.revisions) for commit in made] == sizes
    assert [commit.checkpoint for commit in made] == [None] * (len(sizes) - 1) + [last]
    assert found.events == ({"read": count} if count else {})
    assert store.commits.known("w").count() == count
    assert [row.event.doc_id for row in store.log.read(0, 9999)] == [str(n) for n in range(count)]
    assert all(row.event.origin.snapshot for row in store.log.read(0, 9999))


def test_a_watch_that_is_alone_keeps_it_at_once(store: SqlState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts cost time, and nobody waits."""
    made = spied(store, monkeypatch)
    watcher(store, Batch(docs(2500), snapshot=True), split_batches=False).run_once()
    assert [len(commit.revisions) for commit in made] == [2500]


def test_changes_and_deletes_of_a_large_batch(store: SqlState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part knows what was known of its own documents; the counts of what is known stay right."""
    watcher(store, Batch(docs(2300), snapshot=True)).run_once()
    made = spied(store, monkeypatch)
    newer = docs(2100, version=2)
    gone = [(key, revision) for key, revision in known(store, docs(2300)[2100:]).items()]
    watcher(store, Batch(newer, known(store, newer), gone, checkpoint=Checkpoint("seq_no", b"{}"))).run_once()
    assert [(len(commit.revisions), len(commit.gone)) for commit in made] == [(1000, 0), (1000, 0), (100, 200)]
    assert all(commit.revisions.keys() <= (commit.known or {}).keys() for commit in made)
    assert [len(commit.known or {}) for commit in made[:2]] == [1000, 1000]
    ops = [row.event.op for row in store.log.read(2300, 9999)]
    assert ops == ["updated"] * 2100 + ["deleted"] * 200
    assert store.commits.known("w").in_shard("u", 0) == 2100
    assert store.commits.known("w").histogram("u", 0, [(0, 1 << 12)], 12) == {0: 2100}


def test_what_dies_between_two_parts_goes_on(store: SqlState, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept is kept, with its events; the next poll's tracker passes over it, and no event is lost."""
    real, left = store.commits.commit, [1]

    def dying(watch: str, batch: Commit) -> Sequence[LogRow]:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(watch, batch)

    monkeypatch.setattr(store.commits, "commit", dying)
    all_docs = docs(1500)
    with pytest.raises(KeyboardInterrupt):
        watcher(store, Batch(all_docs, snapshot=True, checkpoint=Checkpoint("seq_no", b"{}"))).run_once()
    assert (store.commits.known("w").count(), store.commits.checkpoint("w")) == (1000, None)
    monkeypatch.setattr(store.commits, "commit", real)
    met = known(store, all_docs)
    rest = [doc for doc in all_docs if doc.key not in met]
    watcher(store, Batch(rest, met, snapshot=True, checkpoint=Checkpoint("seq_no", b"{}"))).run_once()
    assert sorted(int(row.event.doc_id) for row in store.log.read(0, 9999)) == [*range(1500)]


def test_the_share_of_a_mass_delete_is_of_what_was_known_before(store: SqlState) -> None:
    """Gone in several batches: a share of what is left would grow with each, and stop a poll half-way."""
    seen = docs(3000)
    watcher(store, Batch(seen, checkpoint=Checkpoint("t", b""))).run_once()
    lost = [(key, one) for key, one in store.commits.known("w").revisions([doc.key for doc in seen[:1400]]).items()]
    batches = [Batch(gone=lost[start : start + 500], losing=len(lost)) for start in range(0, len(lost), 500)]
    watch = Watch("w", "main", mass_delete_limit=0.5)
    made = watching(store, watch, *batches)
    assert made.run_once().events == {"deleted": 1400}
    too_many = watching(store, watch, *batches)
    with pytest.raises(MassDelete, match="1,400 of 1,600"):
        too_many.run_once()


def test_what_is_committed_is_published(store: SqlState) -> None:
    """The rows as they are in the log, after they are there; nothing for a batch without events."""
    heard: list[list[int]] = []
    notifier = LocalNotifier()
    notifier.subscribe(lambda rows: heard.append([row.position for row in rows if row.position <= store.log.head()]))
    first = docs(3)
    watching(
        store, Watch("w", "main"), Batch(first), Batch(checkpoint=Checkpoint("t", b"")), notifier=notifier
    ).run_once()
    assert heard == [[1, 2, 3]]
