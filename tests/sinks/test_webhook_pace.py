"""How many requests a webhook makes at a time and in a second, and when it leaves a server alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK
from esfeed.sinks.webhook.messages import Message, Writer
from esfeed.sinks.webhook.settings import WebhookSettings
from esfeed.sinks.webhook.sink import WebhookSink
from esfeed.testing.events import sample_event
from tests.support.receiver import Answer, Request, Server

from .webhooks import make, of_documents, send


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Watched:
    """A server's answer that takes a while, and notes how many requests, and of which documents, are there at once.

    The first ``together`` requests are answered once all of them are there.
    """

    def __init__(self, server: Server, seconds: float = 0.02, together: int = 1) -> None:
        self.most = 0
        self.twice: list[str] = []
        self._now: list[str] = []
        self._lock = threading.Lock()
        self._seconds = seconds
        self._barrier = threading.Barrier(together)
        self._first = together
        server.answer = self

    def __call__(self, request: Request) -> Answer:
        events = request.event if isinstance(request.event, list) else [request.event]
        ids = {event["data"]["id"] for event in events}
        with self._lock:
            self.twice += [one for one in ids if one in self._now]
            self._now += ids
            self.most = max(self.most, len(self._now))
            self._first -= 1
            first = self._first >= 0
        if first:
            self._barrier.wait(60)
        time.sleep(self._seconds)
        with self._lock:
            for one in ids:
                self._now.remove(one)
        return Answer()


@pytest.mark.parametrize("mode", ["structured", "batch"])
def test_concurrency(server: Server, mode: str) -> None:
    """Requests go side by side; events of one document never do, and arrive in order."""
    watched = Watched(server, together=4)
    events = of_documents(60, 7)
    assert list(send(server.url, events, concurrency=4, mode=mode, timeout=90)) == [OK] * 60
    assert watched.twice == []
    assert server.connections == 4
    flat = [one for request in server.requests for one in (request.event if mode == "batch" else [request.event])]
    for document in range(7):
        positions = [one["data"]["position"] for one in flat if one["data"]["id"] == f"doc-{document}"]
        assert positions == [n for n in range(1, 61) if n % 7 == document]
    if mode == "structured":
        assert watched.most == 4
    else:
        assert len(server.requests) == 4
        for request in server.requests:
            positions = [one["data"]["position"] for one in request.event]
            assert positions == sorted(positions)


def test_concurrency_on_one_document(server: Server) -> None:
    """There is nothing to be done side by side."""
    watched = Watched(server, 0.005)
    assert list(send(server.url, of_documents(20, 1), concurrency=8)) == [OK] * 20
    assert (watched.most, server.connections) == (1, 1)


def test_concurrency_with_a_dead_server() -> None:
    """Costs one time-out, not one a document; and what was not tried counts no attempt."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        outcomes = send(url, of_documents(50, 50), concurrency=4, timeout=0.3)
    assert {outcome.kind for outcome in outcomes} == {"retry"}
    assert sum(outcome.tried for outcome in outcomes) == 4


def test_nothing_is_left_behind(server: Server) -> None:
    """No thread outlives its batch; open and close can take turns."""
    sink = make(server.url, concurrency=4)
    for _ in range(2):
        assert list(sink.send(of_documents(8, 8))) == [OK] * 8
        assert not [thread for thread in threading.enumerate() if "_help" in thread.name]
        sink.close()
        sink.open()
    sink.close()


def test_a_fault_of_our_own_in_a_thread_is_raised(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither swallowed nor taken for the server's."""

    def one(self: Writer, event: Event) -> Message:
        if event.doc_id == "doc-3":
            raise ZeroDivisionError("a mistake")
        time.sleep(0.01)
        return Message({"content-type": "application/json"}, envelope("cloudevents").encode(event))

    monkeypatch.setattr(Writer, "one", one)
    sink = make(server.url, concurrency=4)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        sink.send(of_documents(40, 8))
    sink.close()


def test_a_hanging_server_does_not_keep_the_process(tmp_path: Path) -> None:
    """While requests are on their way to a server that hangs, the process can end."""
    code = """
import socket, sys, threading, time
from esfeed.sinks.webhook.sink import WebhookSink, WebhookSettings
from esfeed.testing.events import sample_event
silent = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
sink = WebhookSink(WebhookSettings(url=url, allow_private=True, concurrency=4, timeout=600))
sink.open()
events = [sample_event(position=n, doc_id=str(n)) for n in range(8)]
threading.Thread(target=sink.send, args=(events,), daemon=True).start()
time.sleep(0.5)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, cwd=tmp_path)


# --- how many a second, and when to leave a server alone


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def paced(url: str, clock: Time, **keys: Any) -> WebhookSink:
    settings = WebhookSettings.model_validate({"url": url, "allow_private": True} | keys)
    sink = WebhookSink(settings, monotonic=clock.monotonic, sleep=clock.sleep)
    sink.open()
    return sink


def test_rate(server: Server) -> None:
    """Requests are spread evenly, also over batches."""
    clock = Time()
    sink = paced(server.url, clock, rate=50)
    for start in (0, 10):
        assert list(sink.send([sample_event(position=start + n) for n in range(10)])) == [OK] * 10
    sink.close()
    assert clock.slept == pytest.approx([0.02] * 19)


def test_rate_holds_back_what_would_take_too_long(server: Server) -> None:
    """Rather than sleep for ever the sink says how long it takes until the next may leave; that is no attempt."""
    clock = Time()
    sink = paced(server.url, clock, rate=0.5, timeout=5)
    outcomes = sink.send(of_documents(6, 6))
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 3 + ["retry"] * 3
    assert {(outcome.tried, outcome.wait) for outcome in outcomes[3:]} == {(False, 2.0)}
    assert outcomes[3].reason == "held back: rate = 0.5 a second"
    assert len(server.requests) == 3


def test_rate_counts_requests_of_all_connections(server: Server) -> None:
    """However many there are."""
    began = time.monotonic()
    send(server.url, of_documents(20, 20), concurrency=4, rate=100)
    assert time.monotonic() - began >= 0.19


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {}, None),
        (429, {"Retry-After": "7"}, 7.0),
        (503, {"Retry-After": "9"}, 9.0),
        (401, {}, None),
        (404, {}, None),
        (410, {}, None),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_answers_that_stop_a_batch(
    server: Server, status: int, headers: dict[str, str], wait: float | None, concurrency: int
) -> None:
    """A server that has had enough, or that is the wrong one, is left alone; what was not sent counts no attempt."""
    asked: list[int] = []

    def answer(_: Request) -> Answer:
        asked.append(1)
        return Answer(status, headers) if len(asked) > 3 else Answer()

    server.answer = answer
    outcomes = send(server.url, of_documents(40, 40), concurrency=concurrency)
    assert sum(outcome.ok for outcome in outcomes) == 3
    tried = [outcome for outcome in outcomes if outcome.kind == "retry" and outcome.tried]
    assert 1 <= len(tried) == len(asked) - 3 <= concurrency
    assert {outcome.wait for outcome in tried} == {wait}
    rest = [outcome for outcome in outcomes if not outcome.tried]
    assert len(rest) == 40 - len(asked)
    assert rest[0].reason.startswith(f"not tried after an earlier answer: {status} ")


@pytest.mark.parametrize("status", [500, 403, 400, 408])
def test_answers_that_do_not(server: Server, status: int) -> None:
    """Trouble with one event is no trouble of the next document's."""
    server.answer = lambda request: Answer(status if request.event["data"]["position"] == 1 else 204)
    outcomes = send(server.url, of_documents(3, 3))
    assert [outcome.ok for outcome in outcomes] == [False, True, True]


def test_gone(server: Server) -> None:
    """After a 410 the receiver is asked no more until esfeed starts again; nothing is lost or dead by it."""
    server.answer = lambda _: Answer(410)
    sink = make(server.url)
    (outcome,) = sink.send([sample_event()])
    assert (outcome.kind, outcome.reason) == ("retry", "410 Gone")
    server.answer = lambda _: Answer()
    with pytest.raises(Retryable, match="the receiver accepts no more events"):
        sink.send([sample_event()])
    sink.close()
    with pytest.raises(ConfigError, match=r"^url = .*410 Gone: .*remove the sink, or restart esfeed"):
        sink.open()
    assert server.requests == []
    assert send(server.url, [sample_event()]) == [OK]
