"""Fixtures over real servers. ESFEED_TEST_SERVICES narrows which; what did not run is told at the end, never hidden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.support.services import NAMES, VARIABLE, OwnService, Service, release, selected, service, sweep


class Services(Protocol):
    """Gives servers by name, or skips where ESFEED_TEST_SERVICES leaves them out."""

    def __call__(self, name: str) -> Service:
        """The one that all tests share."""

    def own(self, name: str, **settings: str) -> OwnService:
        """A new one, ended after the test, with lines of its own settings (``__`` in a name stands for a dot)."""


class _Services:
    def __init__(self) -> None:
        self._own: list[OwnService] = []

    def __call__(self, name: str) -> Service:
        _need(name)
        return service(name)

    def own(self, name: str, **settings: str) -> OwnService:
        _need(name)
        fresh = OwnService(name, {key.replace("__", "."): value for key, value in settings.items()})
        self._own.append(fresh)
        return fresh

    def discard(self) -> None:
        while self._own:
            self._own.pop().discard()


def _need(name: str) -> None:
    if name not in selected():
        pytest.skip(f"{VARIABLE} leaves out {name}")


@pytest.fixture
def services() -> Iterator[Services]:
    """Real servers: ``services("redis")`` the shared one, ``services.own("redis")`` one to stop, kill and start."""
    given = _Services()
    yield given
    given.discard()


@pytest.fixture(scope="module")
def module_services() -> Iterator[Services]:
    """The same for a whole module: a server of its own that several tests stop and start, one after another."""
    given = _Services()
    yield given
    given.discard()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.services("redis")``: left out where redis is."""
    for marker in item.iter_markers("services"):
        for name in marker.args:
            _need(name)


def pytest_sessionstart(session: pytest.Session) -> None:
    """What a killed run left behind is ended, once and not by each worker."""
    if not hasattr(session.config, "workerinput"):
        sweep()


def pytest_sessionfinish() -> None:
    """The shared ones that tests began are ended by the last who uses them."""
    release()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the services that did not run because somebody asked so."""
    if left_out := [name for name in NAMES if name not in selected()]:
        terminalreporter.write_line(f"services NOT run, since {VARIABLE} leaves them out: {', '.join(left_out)}")
