"""Fixtures of the tests over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.web.support import Desk

Open = Callable[..., Desk]


@pytest.fixture
def desk(open_desk: Open) -> Desk:
    """A server over an empty log."""
    return open_desk()


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Open]:
    """Makes servers; each with lines of its own for ``[http]``, and what follows that section."""
    opened: list[Desk] = []

    def make(http: str = "", more: str = "") -> Desk:
        folder = tmp_path / f"desk{len(opened)}"
        folder.mkdir()
        opened.append(Desk(folder, http, more))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()
