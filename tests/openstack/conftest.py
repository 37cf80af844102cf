"""The real stack, one for the whole run, and a feed beside its Searchlight."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.openstack.cloud import Cloud
from tests.openstack.feed import OpenStackFeed
from tests.support.engines import VARIABLE, selected
from tests.support.stack import Stack

LOCKS = Path(f"/tmp/esfeed-stack-tests-{os.geteuid()}")


@contextlib.contextmanager
def locked(name: str, how: int) -> Iterator[IO[str]]:
    """Holds a lock of all workers."""
    LOCKS.mkdir(exist_ok=True)
    with (LOCKS / name).open("w") as file:
        fcntl.flock(file, how)
        yield file


@pytest.fixture(scope="session")
def _stack() -> Iterator[Stack]:
    """The stack, one for all workers; who is the last to need it ends it."""
    if "es2" not in selected():
        pytest.skip(f"{VARIABLE} leaves out es2, which Searchlight needs")
    stack = Stack("tests")
    with locked("users", fcntl.LOCK_SH) as users:
        yield stack
        fcntl.flock(users, fcntl.LOCK_UN)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack.down()


@pytest.fixture
def _turn() -> Iterator[None]:
    """Some of these tests change the index for all, so they come one by one, whichever workers they are dealt to."""
    with locked("turn", fcntl.LOCK_EX):
        yield


@pytest.fixture
def cloud(_stack: Stack, _turn: None) -> Cloud:
    """The cloud whose notifications Searchlight hears, all parts of the stack up."""
    return Cloud(_stack.up())


@pytest.fixture
def on_five(_turn: None) -> Iterator[Cloud]:
    """A stack on 5.6.16, for one test."""
    if "es5" not in selected():
        pytest.skip(f"{VARIABLE} leaves out es5")
    stack = Stack("tests-es5", engine="es5").up()
    yield Cloud(stack)
    stack.down()


@pytest.fixture
def feed(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., OpenStackFeed]]:
    """Makes feeds; whatever happens, none goes on running."""
    made: list[OpenStackFeed] = []

    def make(**keys: str) -> OpenStackFeed:
        folder = tmp_path / f"feed{len(made)}"
        folder.mkdir()
        made.append(OpenStackFeed(folder, cloud, **keys))
        return made[-1]

    yield make
    for each in made:
        each.clean_up()
