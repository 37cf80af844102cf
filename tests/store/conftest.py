"""What the tests of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.store.state import SqlState


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlState]:
    """A new store."""
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()
