#!/usr/bin/env python3
"""What a sink that hangs and one that answers 500 cost their eight neighbours. On an engine in memory; no network.

A feed (``esfeed run``) follows an index every 100 ms into ten webhooks while a writer writes at an even pace, each
document with the time of its writing. Runs take turns: in one, all ten receivers answer 204; in the other, the ninth
never answers and the tenth answers 500. Told are, for the first eight: the delay from the write until the request is
there, p50 and p99 of each run, their medians, and the ratio of the medians; and whether every one got every event.

    .venv-test/bin/python scripts/bench/neighbours.py [--rounds 3] [--seconds 20] [--rate 20]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from esfeed.demo.lookalike import lookalike

_SINKS, _HEALTHY = 10, 8
_HANGS, _FAILS = 8, 9
_INDEX = "bench"
_SETTINGS = """\
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{engine}"]
[watches.bench]
index = "bench"
interval = "100ms"
initial = "now"
"""
_SINK = """\
[sinks.s{number}]
type = "webhook"
url = "{url}/{number}"
allow_private = true
"""


class _Receiver(asyncio.Protocol):
    """Ten receivers behind one port, by path. ``delays`` are those of each, in milliseconds."""

    faulty = False
    delays: list[list[float]]

    def __init__(self) -> None:
        self._data = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._data) < end + 4 + length:
                return
            number = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
            written = json.loads(self._data[end + 4 : end + 4 + length])["data"]["after"]["written"]
            del self._data[: end + 4 + length]
            if number == _HANGS and self.faulty:
                return
            if number == _FAILS and self.faulty:
                self._transport.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
            else:
                self.delays[number].append((now - written) / 1e6)
                self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def _receive(pipe: Connection, faulty: bool) -> None:
    """A process of its own: says its port, and at the end the delays of each receiver."""
    _Receiver.faulty, _Receiver.delays = faulty, [[] for _ in range(_SINKS)]

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Receiver, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)
        pipe.send(_Receiver.delays)

    asyncio.run(serve())


def _put(pool: urllib3.PoolManager, url: str, body: Any) -> None:
    told = pool.request("PUT", url, body=json.dumps(body).encode(), headers={"content-type": "application/json"})
    assert told.status < 300, told.data


def _write(pool: urllib3.PoolManager, engine: str, seconds: float, rate: float) -> int:
    """Writes at an even pace; returns how many."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        body = {"written": time.time_ns(), "updated_at": int(time.time() * 1000), "pad": "x" * 300}
        _put(pool, f"{engine}/{_INDEX}/_doc/{count}", body)
        count += 1
        time.sleep(max(0.0, began + count / rate - time.monotonic()))
    return count


@contextlib.contextmanager
def _feed(folder: Path, engine: str, url: str) -> Iterator[None]:
    config = folder / "esfeed.toml"
    sinks = "".join(_SINK.format(number=number, url=url) for number in range(_SINKS))
    config.write_text(_SETTINGS.format(folder=folder, engine=engine) + sinks)
    command = [sys.executable, "-m", "esfeed.cli.main", "--config", str(config)]
    subprocess.run([*command, "poll"], check=True, capture_output=True)  # learns what is there, silently
    with (folder / "log").open("wb") as log:
        feed = subprocess.Popen([*command, "run"], stderr=log)
    try:
        while b"feed.started" not in (folder / "log").read_bytes():
            assert feed.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield
    finally:
        feed.terminate()
        feed.wait(20)


def run(faulty: bool, seconds: float, rate: float) -> tuple[float, float]:
    """One run: p50 and p99 of the eight, in milliseconds."""
    pipe, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=_receive, args=(theirs, faulty), daemon=True)
    receiver.start()
    url = f"http://127.0.0.1:{pipe.recv()}"
    with tempfile.TemporaryDirectory() as folder, lookalike() as engine, urllib3.PoolManager() as pool:
        mappings = {"properties": {"updated_at": {"type": "date"}}}
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        _put(pool, f"{engine}/{_INDEX}", {"settings": settings, "mappings": mappings})
        _put(pool, f"{engine}/{_INDEX}/_doc/first", {"updated_at": 1})
        with _feed(Path(folder), engine, url):
            count = _write(pool, engine, seconds, rate)
            time.sleep(3)
            pipe.send("enough")
            delays: list[list[float]] = pipe.recv()
    receiver.join()
    for number, found in enumerate(delays[:_HEALTHY]):
        assert len(found) == count, f"receiver {number} got {len(found)} of {count}"
    # What the first seconds of a process cost is nobody's neighbour.
    cuts = statistics.quantiles([each for found in delays[:_HEALTHY] for each in found[int(rate) :]], n=100)
    return cuts[49], cuts[98]


def main() -> None:
    """Measures, and prints a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--rate", type=float, default=20.0, help="writes a second")
    asked = options.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"all well": [], "one hangs, one fails": []}
    for number in range(asked.rounds):
        # Each goes first as often as the other.
        for name in [*found] if number % 2 == 0 else [*reversed(found)]:
            found[name].append(run(name != "all well", asked.seconds, asked.rate))
    print(f"{'':24}{'p50 ms':>8}{'p99 ms':>8}   p99 of each run")
    medians = {}
    for name, runs in found.items():
        medians[name] = [statistics.median(column) for column in zip(*runs, strict=True)]
        each = " ".join(f"{p99:.0f}" for _, p99 in runs)
        print(f"{name:24}{medians[name][0]:8.1f}{medians[name][1]:8.1f}   {each}")
    well, ill = medians.values()
    print(f"{'ratio':24}{ill[0] / well[0]:8.2f}{ill[1] / well[1]:8.2f}")


if __name__ == "__main__":
    main()
