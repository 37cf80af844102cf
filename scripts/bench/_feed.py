"""A feed to measure: in this process, poll by poll, or as its users run it, with somebody who reads its file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from esfeed.config.load import build
from esfeed.runtime.factory import App
from tests.support.clients import Raw, eventually

_REST = 62.0
"""Seconds without a write, after which a feed by dates takes its last look for final."""
_LOOK_EVERY = 0.001
TOUCHED = "touched"
"""The id of the document that is written to bring a feed's mark to the end."""


def app(folder: Path, url: str, **watch: Any) -> App:
    """A feed with one watch ``w`` and a sink ``none``, which delivers when asked."""
    return App(
        build(
            {
                "state": f"sqlite:///{folder}/state.db",
                "clusters": {"main": {"hosts": [url], "timeout": "120s"}},
                "watches": {"w": watch},
                "sinks": {"none": {"type": "file", "path": f"{folder}/none"}},
            }
        ),
        "bench",
    )


def settle(feed: App, raw: Raw, index: str) -> None:
    """Polls until the feed has nothing left to make sure of: two refreshes with a write before each, and a rest."""
    feed.runner.poll("w")
    for number in range(4):
        raw.put(index, TOUCHED, {"updated_at": "2026-11-24T00:00:00Z", "n": number})
        raw.refresh(index)
        feed.runner.poll("w")
    if feed.trackers["w"].name != "seq_no":
        time.sleep(_REST)
    feed.runner.poll("w")


def cost(feed: App) -> dict[str, Any]:
    """One poll: requests, bytes, milliseconds, events."""
    meter = feed.clusters["w"].meter
    requests, received = meter.totals()
    began = time.perf_counter()
    poll = feed.runner.poll("w")
    took = time.perf_counter() - began
    now = meter.totals()
    return {"requests": now[0] - requests, "bytes": now[1] - received, "ms": took * 1000, "events": dict(poll.events)}


class Running:
    """``esfeed run`` on one index, with ``on_line`` called for each match of ``pattern`` in its file, at once."""

    def __init__(
        self, folder: Path, url: str, index: str, interval: str, pattern: bytes, on_match: Callable[[bytes, int], None]
    ) -> None:
        self._folder = folder
        self._pattern = re.compile(pattern)
        self._on_match = on_match
        self._path = folder / "events.jsonl"
        self._config = folder / "esfeed.toml"
        keys = {"index": index, "interval": interval}
        self._config.write_text(
            f'state = "sqlite:///{folder}/state.db"\n[clusters.main]\nhosts = ["{url}"]\n[watches.w]\n'
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            + f'[sinks.audit]\ntype = "file"\npath = "{self._path}"\n'
        )
        self._over = threading.Event()
        self._tail = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Running:
        command = [str(Path(sys.executable).with_name("esfeed")), "--config", str(self._config), "run"]
        self._log = (self._folder / "log.jsonl").open("wb")
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=self._log, stderr=self._log)
        self._tail.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._over.set()
        self._tail.join()
        self._log.close()

    @property
    def pid(self) -> int:
        """Of the feed's process."""
        return self._process.pid

    def _follow(self) -> None:
        while not self._over.is_set() and not self._path.exists():
            time.sleep(_LOOK_EVERY)
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            rest = b""
            while not self._over.is_set():
                data = file.read()
                now = time.monotonic_ns()
                if not data:
                    time.sleep(_LOOK_EVERY)
                    continue
                whole, _, rest = (rest + data).rpartition(b"\n")
                for match in self._pattern.finditer(whole):
                    self._on_match(match[1], now)


def esfeed(folder: Path) -> list[str]:
    """The command, with the settings in ``folder``."""
    return [sys.executable, "-m", "esfeed.cli.main", "--config", str(folder / "esfeed.toml")]


@contextmanager
def serving(folder: Path, settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """``esfeed run --http`` with those settings, which logs to ``log.jsonl``; and its address."""
    log = folder / "log.jsonl"
    (folder / "esfeed.toml").write_text(settings)
    with log.open("wb") as file:
        command = [*esfeed(folder), "run", "--http", "127.0.0.1:0"]
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)

    def listens() -> str:
        assert process.poll() is None, log.read_text()[-2000:]
        lines = [line for line in log.read_text().splitlines() if '"web.listening"' in line]
        return str(json.loads(lines[0])["url"]) if lines else ""

    try:
        yield process, eventually(listens, 60.0)
    finally:
        process.terminate()
        process.wait(30)
