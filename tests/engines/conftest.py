"""Fixtures of several modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_oracle import Feed
from tests.support.clients import Raw


@pytest.fixture
def follow(raw: Raw, tmp_path: Path) -> Iterator[Callable[..., Feed]]:
    """Makes a feed on a name of this engine."""
    made: list[Feed] = []

    def on(name: str, **watch: Any) -> Feed:
        made.append(Feed(raw.engine.url, name, tmp_path, **watch))
        return made[-1]

    yield on
    for feed in made:
        feed.close()
