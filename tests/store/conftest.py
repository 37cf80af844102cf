"""What the tests of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.store.sql import SqlStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """A new store."""
    store = SqlStore(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()
