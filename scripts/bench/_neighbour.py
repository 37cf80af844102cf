"""How long a watch waits for its events while another one, of the same feed, reads a large index for the first time."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from _measure import Failed

from tests.support.clients import Raw, eventually

_SECONDS = 8.0
_PAUSE = 0.05
_LOOK_EVERY = 0.001
_GIVEN_UP = 10.0


def delays(command: list[str], environment: Mapping[str, str], raw: Raw, large: str, folder: Path) -> dict[str, float]:
    """Seconds from the refresh that shows a document to its event in a file: ``p50`` and ``max``; how ``many`` there
    were, and how many documents of the large index were ``read`` meanwhile. ``command`` is esfeed's, without arguments.
    """
    small = f"{large}-small"
    raw.create(small, {"n": {"type": "long"}}, {"refresh_interval": "-1"})
    try:
        raw.fill(small, 1)
        with (folder / "neighbour.log").open("wb") as log:
            arguments = ["-c", str(_settings(folder, raw.engine.url, small, large)), "run"]
            feed = subprocess.Popen(
                [*command, *arguments], cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log
            )
            try:
                return _measure(raw, small, folder)
            finally:
                feed.kill()
                feed.wait()
    finally:
        raw.drop(small)


def _measure(raw: Raw, small: str, folder: Path) -> dict[str, float]:
    path = folder / "small.jsonl"
    eventually(lambda: path.exists() and path.stat().st_size > 0, seconds=60.0)
    found: list[float] = []
    until = time.monotonic() + _SECONDS
    with path.open("rb") as file:
        file.read()
        while time.monotonic() < until:
            name = f"d{len(found)}"
            raw.put(small, name, {"n": len(found)})
            raw.refresh(small)
            found.append(_until_told(file.read, f'"{name}"'.encode()))
            time.sleep(_PAUSE)
    with (folder / "large.jsonl").open("rb") as file:
        read = sum(1 for _ in file)
    print(f"beside {read:,} documents: {len(found)} events", file=sys.stderr, flush=True)
    return {"p50": statistics.median(found), "max": max(found), "many": len(found), "read": read}


def _until_told(read: Callable[[], bytes], name: bytes) -> float:
    began, text = time.monotonic(), b""
    while name not in text:
        if time.monotonic() - began > _GIVEN_UP:
            raise Failed(f"no event of {name.decode()} within {_GIVEN_UP:g} s")
        text += read()
        time.sleep(_LOOK_EVERY)
    return time.monotonic() - began


def _settings(folder: Path, url: str, small: str, large: str) -> Path:
    path = folder / "neighbour.toml"
    lines = [f'state = "sqlite:///{folder}/neighbour.db"', "[clusters.main]", f'hosts = ["{url}"]']
    for name, index, interval in (("small", small, "10ms"), ("large", large, "1s")):
        lines += [f"[watches.{name}]", f'index = "{index}"', f'interval = "{interval}"']
        lines += [f"[sinks.{name}]", 'type = "file"', f'path = "{folder}/{name}.jsonl"']
        lines += ["[[routes]]", f'watches = ["{name}"]', f'sinks = ["{name}"]']
    path.write_text("\n".join(lines))
    return path
