"""What an idle poll costs: one request, on every engine, whatever process makes it.

A poll begins with nothing but what is on the disk: a new ``App`` each, as each ``esfeed poll`` makes one. That the
command itself asks for nothing more is tried on one engine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from esfeed.config.load import load
from esfeed.runtime.factory import App
from tests.support.clients import Raw, esfeed
from tests.support.proxy import Proxy

STAMP = "2026-10-01T10:00:00Z"


@pytest.fixture(params=["auto", "updated_at"])
def tracker(request: pytest.FixtureRequest) -> str:
    """How changes are found: by what the engine has best, and by the date."""
    return str(request.param)


def settings(folder: Path, url: str, index: str, tracker: str) -> Path:
    path = folder / "esfeed.toml"
    path.write_text(f"""
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{url}"]
[watches.one]
index = "{index}"
tracker = "{tracker}"
[sinks.audit]
type = "file"
path = "{folder}/events.jsonl"
fsync = false
""")
    return path


def poll(config: Path, proxy: Proxy, command: bool = False) -> list[str]:
    """The requests that one poll made, of an app that knew nothing before; or that of one `esfeed poll`."""
    proxy.reset()
    if command:
        done = esfeed("poll", config=config)
        assert done.returncode == 0, done.stderr
    else:
        with App(load(config), "test") as app:
            dispatcher = app.dispatchers["audit"]  # before the first poll, so that it gets what that finds
            app.runner.poll("one")
            while not dispatcher.run_once().idle:
                pass
    lines = proxy.lines()
    # 2.x: a new process reads the version, and the recoveries before the counters.
    recoveries = [at for at, line in enumerate(lines) if "/_recovery" in line]
    return lines[recoveries[0] + 1 :] if recoveries and recoveries[0] <= 2 else lines


def settled(config: Path, proxy: Proxy) -> list[str]:
    """The requests of the first poll that made only one; there must be one soon."""
    for _ in range(6):
        lines = poll(config, proxy)
        if len(lines) == 1:
            return lines
    pytest.fail(f"still {len(lines)} requests a poll: {lines}")


def test_an_idle_poll_is_one_request(raw: Raw, index: str, proxy: Proxy, tmp_path: Path, tracker: str) -> None:
    """Once settled, every poll asks `_stats` and nothing else; so after later changes too."""
    config = settings(tmp_path, proxy.url, index, tracker)
    raw.create(index, {"updated_at": {"type": "date"}, "n": {"type": "integer"}})
    raw.fill(index, 25, updated_at=STAMP)
    poll(config, proxy)
    first = settled(config, proxy)
    again = poll(config, proxy)
    raw.put(index, "3", {"n": 3333, "updated_at": "2026-10-01T10:00:05Z"})
    raw.delete(index, "4")
    raw.refresh(index)
    busy = poll(config, proxy)
    later = settled(config, proxy), poll(config, proxy), poll(config, proxy)

    assert all("/_stats/" in lines[0] and len(lines) == 1 for lines in (first, again, *later))
    assert len(busy) > 1
    told = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [line.count('"op":"updated"') for line in told].count(1) == 1
    assert [line.count('"op":"deleted"') for line in told].count(1) == 1
    assert len(told) == 27


def test_an_idle_poll_of_an_empty_index_is_one_request(
    raw: Raw, index: str, proxy: Proxy, tmp_path: Path, tracker: str
) -> None:
    """An index without documents or mapping can be watched, at the same price."""
    config = settings(tmp_path, proxy.url, index, tracker)
    raw.create(index)
    poll(config, proxy)
    settled(config, proxy)
    assert len(poll(config, proxy)) == 1


@pytest.mark.parametrize("engine", ["es9"], indirect=True)
def test_an_idle_poll_of_the_command_is_one_request(
    raw: Raw, index: str, proxy: Proxy, tmp_path: Path, tracker: str
) -> None:
    """After polls of other processes, and after its own."""
    config = settings(tmp_path, proxy.url, index, tracker)
    raw.create(index, {"updated_at": {"type": "date"}, "n": {"type": "integer"}})
    raw.fill(index, 25, updated_at=STAMP)
    poll(config, proxy, command=True)
    settled(config, proxy)
    for _ in range(2):
        (line,) = poll(config, proxy, command=True)
        assert "/_stats/" in line
