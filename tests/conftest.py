"""Fixtures over real engines. ESFEED_TEST_ENGINES narrows which; what did not run is told at the end, never hidden."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.clients import Raw
from tests.support.engines import NAMES, SCRIPT, VARIABLE, Engine, selected, shared, start, stop
from tests.support.grouping import Grouped
from tests.support.proxy import Proxy

# In the background of a shell SIGINT is ignored, and so it would be by all that is started here.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.fixtures_services"]

SECURED = "es8"


# How long an example takes to make says nothing on a busy machine.
settings.register_profile("esfeed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("esfeed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Grouped | None:
    """``--dist loadgroup`` is this project's own."""
    return Grouped(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the engines that did not run because somebody asked so."""
    left_out = [name for name in NAMES if name not in selected()]
    if left_out:
        terminalreporter.write_line(f"engines NOT run, since {VARIABLE} leaves them out: {', '.join(left_out)}")


def _up() -> set[str]:
    told = subprocess.run(
        [sys.executable, str(SCRIPT), "status", "--json", "--instance=main"], capture_output=True, check=True
    )
    return {record["name"] for record in json.loads(told.stdout) if record["state"] == "up"}


@pytest.fixture(scope="session")
def started() -> Iterator[Callable[[str], Engine]]:
    """Starts an engine by name, once; at the end those are stopped that were not up before."""
    engines: dict[str, Engine] = {}
    before: set[str] = set()

    def need(name: str) -> Engine:
        if name not in selected():
            pytest.skip(f"{VARIABLE} leaves out {name}")
        if not engines:
            before.update(_up())
        if name not in engines:
            engines[name] = start([name])[0]
        return engines[name]

    yield need
    stop(name for name in engines if name not in before)


@pytest.fixture(scope="session", params=selected())
def engine(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    """Each selected engine in turn, up; a test that needs certain ones parametrizes it indirectly by name."""
    return started(request.param)


@pytest.fixture(scope="session")
def secured() -> Iterator[Engine]:
    """An engine with TLS and passwords, the same for all workers; the last who uses it ends it."""
    if SECURED not in selected():
        pytest.skip(f"{VARIABLE} leaves out {SECURED}")
    with shared(SECURED, "qa-tls", security=True) as engine:
        yield engine


@pytest.fixture
def raw(engine: Engine) -> Raw:
    """The engine in its own words."""
    return Raw(engine)


@pytest.fixture
def index(raw: Raw) -> Iterator[str]:
    """A name for an index that is not there yet; it and whatever begins with it is deleted afterwards."""
    name = f"qa-{secrets.token_hex(5)}"
    yield name
    raw.drop(name)


@pytest.fixture
def proxy(engine: Engine) -> Iterator[Proxy]:
    """A wire proxy in front of the engine."""
    with Proxy(engine.url) as proxy:
        yield proxy
