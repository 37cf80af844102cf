"""What a feed stands between: writers at an even pace, a receiver of webhooks, and a reader of server-sent events."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from tests.support.clients import Raw

_BATCHES = 10
"""Bulk requests a second; each carries a tenth of the rate."""
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Writer(threading.Thread):
    """Creates, updates and deletes documents: ``rate`` operations a second, and ``live`` documents at a time.

    Three of five operations update; the others create and delete by turns, once there are enough. ``written`` counts;
    ``failure`` is what ended it, if anything did.
    """

    def __init__(self, raw: Raw, index: str, rate: int, live: int) -> None:
        super().__init__(name="writer", daemon=True)
        self._raw, self._index, self._rate, self._most = raw, index, rate, live
        self._rng = random.Random(index)
        self._live: list[int] = []
        self._next = 0
        self.written = 0
        self.failure: Exception | None = None
        self.over = threading.Event()

    def run(self) -> None:
        began, step = time.monotonic(), 0
        try:
            while not self.over.wait(max(0.0, began + step / _BATCHES - time.monotonic())):
                step += 1
                count = self._rate * step // _BATCHES - self.written
                self._raw.bulk(self._index, [self._operation() for _ in range(count)])
                self.written += count
        except Exception as error:
            self.failure = error

    def _operation(self) -> tuple[dict[str, Any], Any]:
        full = len(self._live) >= self._most
        dice = self._rng.random()
        if full and dice < 0.2:
            place = self._rng.randrange(len(self._live))
            number, self._live[place] = self._live[place], self._live[-1]
            self._live.pop()
            return {"delete": {"_id": f"d{number}"}}, None
        if not self._live or not full or dice < 0.4:
            number = self._next
            self._next += 1
            self._live.append(number)
        else:
            number = self._rng.choice(self._live)
        return {"index": {"_id": f"d{number}"}}, self._document(number)

    def _document(self, number: int) -> dict[str, Any]:
        return {
            "n": number,
            "updated_at": int(time.time() * 1000),
            "name": f"server {number}",
            "status": self._rng.choice(("ACTIVE", "BUILD", "ERROR", "SHUTOFF")),
            "tenant_id": f"{number % 97:032x}",
            "metadata": {f"key{n}": f"{self._rng.getrandbits(64):016x}" for n in range(8)},
        }


class _Receiver(asyncio.Protocol):
    """Answers each POST with 204, as soon as its body is there."""

    def __init__(self, count: list[int]) -> None:
        self._count = count
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while True:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
            length = int(fields.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            self._rest = rest[length:]
            self._count[0] += 1
            self._transport.write(_ANSWER)


@contextmanager
def receiver() -> Iterator[tuple[str, list[int]]]:
    """The URL of a webhook's other end, and a list whose only number counts its requests."""
    count, loop = [0], asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: _Receiver(count), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, name="receiver", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", count
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class Reader(threading.Thread):
    """Reads the feed's server-sent events from now on; ``events`` counts."""

    def __init__(self, url: str) -> None:
        super().__init__(name="reader", daemon=True)
        self._url = url
        self.events = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            address = f"{self._url}/v1/changes?since=now&feed=eventsource"
            answer = urllib3.PoolManager().request("GET", address, preload_content=False, timeout=600.0)
            last = b""
            for data in answer.stream(1 << 16):
                # A field's name may lie across two pieces.
                self.events += (last + data).count(b"\nid:")
                last = data[-3:]
        except Exception as error:
            self.failure = error
