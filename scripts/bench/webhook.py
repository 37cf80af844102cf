#!/usr/bin/env python3
"""Events a second through the webhook sink, beside a bare urllib3 loop that posts ready-made bodies, in the same run.

    .venv-test/bin/python scripts/bench/webhook.py --events 20000

The receiver is a process of its own that reads requests and answers 204, and does nothing else. Rounds take turns, so
that whatever else the machine does is everybody's; the median of the rounds is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from esfeed.envelopes import envelope
from esfeed.event import Event
from esfeed.sinks.webhook import WebhookSink
from esfeed.sinks.webhook_settings import WebhookSettings
from esfeed.testing.events import sample_event

_BATCH = 100
_SECRET = "whsec_" + "QUJD" * 8
_DOCUMENT = {"name": "web-1", "status": "ACTIVE", "project_id": "6c41f0aa" * 4, "metadata": {"note": "x" * 300}}


class _Receiver(asyncio.Protocol):
    """Reads requests with a Content-Length and answers each."""

    def __init__(self) -> None:
        self._data = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._data) < end + 4 + length:
                return
            del self._data[: end + 4 + length]
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def _receive(tell: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Receiver, "127.0.0.1", 0)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def _bare(url: str, events: Sequence[Event]) -> Callable[[], None]:
    pool = urllib3.connectionpool.connection_from_url(url, maxsize=1)
    headers = {"content-type": "application/cloudevents+json; charset=utf-8", "user-agent": "bare"}
    bodies = [envelope("cloudevents").encode(event) for event in events]

    def run() -> None:
        for body in bodies:
            assert pool.request("POST", "/hook", body=body, headers=headers).status == 204

    return run


def _sink(url: str, events: Sequence[Event], **keys: Any) -> Callable[[], None]:
    settings = WebhookSettings.model_validate({"url": f"{url}/hook", "allow_private": True} | keys)
    sink = WebhookSink(settings)
    sink.open()

    def run() -> None:
        for start in range(0, len(events), _BATCH):
            assert all(outcome.ok for outcome in sink.send(events[start : start + _BATCH]))

    return run


def main() -> None:
    """Measures, and prints a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=_receive, args=(theirs,), daemon=True)
    receiver.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    events = [
        sample_event(position=n, doc_id=f"doc-{n % 997}", before=_DOCUMENT, after=_DOCUMENT)
        for n in range(asked.events)
    ]
    runs = {
        "bare urllib3 loop, one connection": _bare(url, events),
        "structured": _sink(url, events),
        "structured, signed": _sink(url, events, secrets=[_SECRET]),
        "binary": _sink(url, events, mode="binary"),
        "structured, concurrency = 4": _sink(url, events, concurrency=4),
        f"batch of {_BATCH}, signed": _sink(url, events, mode="batch", secrets=[_SECRET]),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(asked.rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    receiver.terminate()
    bare = statistics.median(times["bare urllib3 loop, one connection"])
    print(f"{'':36}events/s   of bare")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:36}{asked.events / median:8,.0f}   {bare / median:6.2f}")


if __name__ == "__main__":
    main()
