"""The real stack, one for the whole run, and a feed beside its Searchlight."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.openstack.cloud import Cloud
from tests.openstack.feed import OpenStackFeed
from tests.support.engines import VARIABLE, selected
from tests.support.stack import Stack

LOCK = Path(f"/tmp/esfeed-stack-tests-{os.geteuid()}.lock")


@pytest.fixture(scope="session")
def _stack() -> Iterator[Stack]:
    if "es2" not in selected():
        pytest.skip(f"{VARIABLE} leaves out es2, which Searchlight needs")
    with LOCK.open("w") as file:
        # Some tests change the index of all; so one worker at a time, whoever deals out the tests.
        fcntl.flock(file, fcntl.LOCK_EX)
        stack = Stack("tests").up()
        yield stack
        stack.down()


@pytest.fixture
def on_five(_stack: Stack) -> Iterator[Cloud]:
    """A stack on 5.6.16, for one test."""
    if "es5" not in selected():
        pytest.skip(f"{VARIABLE} leaves out es5")
    stack = Stack("tests-es5", engine="es5").up()
    yield Cloud(stack)
    stack.down()


@pytest.fixture
def cloud(_stack: Stack) -> Cloud:
    """The cloud whose notifications Searchlight hears, all parts of the stack up."""
    _stack.up()
    return Cloud(_stack)


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
