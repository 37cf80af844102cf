"""A state whose file is removed or replaced under a running feed, and who may read it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from esfeed.errors import StateError
from esfeed.store.state import SqlState


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlState]:
    made = SqlState(f"sqlite:///{path}")
    made.notes.put("watch", "w", b"first")
    yield made
    made.close()


def modes(path: Path) -> dict[str, str]:
    return {file.name: f"{stat.S_IMODE(file.stat().st_mode):o}" for file in path.parent.iterdir()}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_reads_the_state(path: Path, umask: int) -> None:
    """Whatever the umask: not the database, nor what SQLite writes beside it."""
    before = os.umask(umask)
    try:
        store = SqlState(f"sqlite:///{path}")
        store.notes.put("watch", "w", b"x")
        assert modes(path) == {"state.db": "600", "state.db-wal": "600", "state.db-shm": "600"}
        store.close()
    finally:
        os.umask(before)


def test_one_that_others_could_read_is_corrected_and_said(store: SqlState, path: Path) -> None:
    """As an older esfeed, or a restore, left it."""
    for file in path.parent.iterdir():
        file.chmod(0o644)
    with capture_logs() as logs:
        SqlState(f"sqlite:///{path}").close()
    assert [(line["event"], line["was"]) for line in logs] == [("state.made_private", "0644")] * 3
    assert set(modes(path).values()) == {"600"}
    with capture_logs() as logs:
        SqlState(f"sqlite:///{path}").close()
    assert logs == []


def test_a_state_that_is_removed_is_not_made_anew(store: SqlState, path: Path, tmp_path: Path) -> None:
    """By reading nor by writing, with a connection that is open or a new one; put back, it goes on."""
    kept = tmp_path / "kept.db"
    path.rename(kept)
    for _ in range(2):
        with pytest.raises(StateError, match="is not there any more"):
            store.notes.all("watch")
        with pytest.raises(StateError, match="is not there any more"):
            store.notes.put("watch", "w", b"second")
        store.close()  # so that the next time needs a new connection
    assert not path.exists()
    kept.rename(path)
    assert store.notes.all("watch") == {"w": b"first"}


def test_a_state_that_is_replaced_is_left_alone(store: SqlState, path: Path, tmp_path: Path) -> None:
    """It is named, and nothing of the one is in the other."""
    path.rename(tmp_path / "kept.db")
    other = SqlState(f"sqlite:///{path}")
    other.notes.put("watch", "w", b"other")
    for _ in range(2):
        with pytest.raises(StateError, match="was replaced by another file"):
            store.notes.put("watch", "w", b"second")
        with pytest.raises(StateError, match="was replaced by another file"):
            store.tokens.all()
        store.close()
    assert other.notes.all("watch") == {"w": b"other"}
    other.close()
