"""How a webhook sends: its modes, signatures, redirects, several requests at a time, and how many a second."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import trustme
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_structured_event
from pydantic import ValidationError

from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.event import Event
from esfeed.ports import OK, Outcome
from esfeed.sinks import guarded
from esfeed.sinks.rate import Rate
from esfeed.sinks.signatures import key_of, signed
from esfeed.sinks.webhook import WebhookSink
from esfeed.sinks.webhook_settings import WebhookSettings
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import ODD_IDS

from .test_webhook import Answer, Request, Server

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def second() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def make(url: str, **keys: Any) -> WebhookSink:
    """An open sink."""
    sink = WebhookSink(WebhookSettings.model_validate({"url": url, "allow_private": True} | keys))
    sink.open()
    return sink


def send(url: str, events: Sequence[Event], **keys: Any) -> Sequence[Outcome]:
    """The outcomes at a new sink."""
    sink = make(url, **keys)
    try:
        return sink.send(events)
    finally:
        sink.close()


def lower(request: Request) -> dict[str, str]:
    """The headers, their names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}


def of_documents(count: int, documents: int) -> list[Event]:
    """Events in turn of so many documents."""
    return [sample_event(position=n, doc_id=f"doc-{n % documents}") for n in range(1, count + 1)]


# --- modes


@pytest.mark.parametrize("doc_id", ["6c41", 'größe 1%/"x"', *ODD_IDS])
def test_binary(server: Server, doc_id: str) -> None:
    """What is about the event goes in headers, its data in the body; the SDK of CloudEvents puts it together."""
    event = sample_event(doc_id=doc_id)
    assert send(server.url, [event], mode="binary") == [OK]
    request = server.requests[0]
    assert request.headers["content-type"] == "application/json"
    read = from_binary_event(
        HTTPMessage({name.lower(): value for name, value in request.headers.items()}, request.body)
    )
    whole = json.loads(envelope("cloudevents").encode(event))
    assert read.get_id() == event.id
    assert (read.get_subject(), read.get_source(), read.get_type()) == tuple(
        whole[name] for name in ("subject", "source", "type")
    )
    assert read.get_data() == whole["data"]


def test_batch(server: Server) -> None:
    """All events of a batch go in one request, an array of what structured mode sends, each one to the SDK's taste."""
    events = of_documents(7, 3)
    assert send(server.url, events, mode="batch") == [OK] * 7
    (request,) = server.requests
    assert request.headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert request.body == b"[" + b",".join(map(envelope("cloudevents").encode, events)) + b"]"
    for one, event in zip(request.event, events, strict=True):
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, json.dumps(one).encode())
        assert from_structured_event(message).get_id() == event.id


@pytest.mark.parametrize("form", ["debezium", "searchlight", "raw"])
@pytest.mark.parametrize("mode", ["structured", "batch"])
def test_other_forms(server: Server, form: Any, mode: str) -> None:
    """They go as the JSON that they are."""
    event = sample_event()
    send(server.url, [event], format=form, mode=mode)
    (request,) = server.requests
    assert request.headers["content-type"] == "application/json"
    body = envelope(form).encode(event)
    assert request.body == (b"[" + body + b"]" if mode == "batch" else body)
    assert request.headers["webhook-id"]


def test_one_bad_event_in_a_batch(server: Server) -> None:
    """A refused batch is halved until the refusal is of one event; the others are taken, in order."""

    def answer(request: Request) -> Answer:
        return Answer(413 if any(one["data"]["position"] in (3, 6) for one in request.event) else 204)

    server.answer = answer
    outcomes = send(server.url, [sample_event(position=n, doc_id=f"d{n}") for n in range(1, 9)], mode="batch")
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 2 + ["rejected"] + ["ok"] * 2 + ["rejected"] + ["ok"] * 2
    taken = [one["data"]["position"] for request in server.requests for one in request.event]
    assert taken == [1, 2, 4, 5, 7, 8]


def test_a_batch_that_fails_counts_as_one_try(server: Server) -> None:
    """Nobody knows which event a 500 is about: the first is the one that was tried, the others wait."""
    server.answer = lambda _: Answer(500, body=b"oops")
    outcomes = send(server.url, of_documents(4, 4), mode="batch")
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [("retry", True)] + [("retry", False)] * 3
    assert "500 Internal Server Error: oops" in outcomes[1].reason


# --- signatures


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
def test_signature(server: Server, mode: str) -> None:
    """The library of Standard Webhooks verifies each request with either secret, and not with another."""
    event = sample_event(after='{"name": "größe"}'.encode())
    send(server.url, [event, sample_event(position=2, doc_id="x")], mode=mode, secrets=[SECRET, OTHER])
    for request in server.requests:
        headers = lower(request)
        for secret in (SECRET, OTHER):
            standardwebhooks.Webhook(secret).verify(request.body, headers)
        third = standardwebhooks.Webhook(base64.b64encode(b"z" * 32).decode())
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            third.verify(request.body, headers)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(SECRET).verify(request.body.replace(b"1", b"2"), headers)
    if mode != "batch":
        assert server.requests[0].headers["webhook-id"] == event.id


def test_signature_is_what_the_library_makes() -> None:
    """To the byte."""
    now = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    headers = signed("msg", now, b'{"a":1}', [key_of(SECRET)])
    expected = standardwebhooks.Webhook(SECRET).sign("msg", now.replace(tzinfo=None), '{"a":1}')
    assert headers == {"webhook-id": "msg", "webhook-timestamp": "1795514400", "webhook-signature": expected}


def test_repeat_has_the_same_id_and_a_new_time(server: Server) -> None:
    """A receiver drops what it has had by ``webhook-id``; the signature is of the time of the repeat."""
    times = iter([datetime(2026, 11, 24, 10, minute, tzinfo=UTC) for minute in range(10) for _ in range(2)])
    settings = WebhookSettings.model_validate({"url": server.url, "allow_private": True, "secrets": [SECRET]})
    sink = WebhookSink(settings, clock=lambda: next(times))
    sink.open()
    for _ in range(2):
        assert sink.send([sample_event()]) == [OK]
    sink.close()
    one, other = (request.headers for request in server.requests)
    assert one["webhook-id"] == other["webhook-id"]
    assert one["webhook-timestamp"] != other["webhook-timestamp"]


def test_without_secrets(server: Server) -> None:
    """Requests have an id and a time, and no signature."""
    send(server.url, [sample_event()])
    headers = server.requests[0].headers
    assert headers["webhook-id"] == sample_event().id
    assert headers["webhook-timestamp"].isdigit()
    assert headers.get("webhook-signature") is None


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_receiver_in_node() -> None:
    """A receiver in another language, written after the specification, takes what is signed and nothing else."""
    script = Path(__file__).parents[1] / "support" / "receiver.js"
    receiver = subprocess.Popen(
        ["node", script], stdout=subprocess.PIPE, env={**os.environ, "SECRET": SECRET}, text=True
    )
    try:
        assert receiver.stdout is not None
        url = f"http://127.0.0.1:{int(receiver.stdout.readline())}/"
        events = [sample_event(after={"name": "größe 日本"}), sample_event(position=2, doc_id=ODD_IDS[4])]
        for mode in ("structured", "binary", "batch"):
            assert send(url, events, mode=mode, secrets=[OTHER, SECRET]) == [OK, OK]
        outcomes = send(url, events, secrets=[OTHER])
        assert {outcome.reason for outcome in outcomes} == {"400 Bad Request: no signature fits"}
        assert send(url, events[:1])[0].reason == "400 Bad Request: a header is missing"
    finally:
        receiver.kill()
        receiver.wait()


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["/there?a=b", "there?a=b", "{url}/there?a=b"])
def test_redirect_is_followed(server: Server, status: int, location: str) -> None:
    """Where that is allowed: the same POST, with all its headers where it is the same host."""
    base = server.url.removesuffix("/hook")

    def answer(request: Request) -> Answer:
        return Answer(204) if request.path == "/there?a=b" else Answer(status, {"Location": location.format(url=base)})

    server.answer = answer
    event = sample_event()
    keys = {"headers": {"x-token": "t"}, "secrets": [SECRET]}
    assert send(server.url, [event], follow_redirects=True, **keys) == [OK]
    (request,) = server.requests
    assert request.body == envelope("cloudevents").encode(event)
    assert request.headers["x-token"] == "t"
    standardwebhooks.Webhook(SECRET).verify(request.body, lower(request))
    assert server.connections == 1


def test_redirect_to_another_host_has_no_credentials(server: Server, second: Server) -> None:
    """Neither the user and password of the url nor the user's own headers; and the way back has them again."""
    server.answer = lambda request: Answer(204) if request.path == "/back" else Answer(307, {"Location": second.url})
    url = server.url.replace("//", "//me:pw@")
    keys = {"headers": {"x-token": "t", "Authorization": "Bearer x"}, "follow_redirects": True}
    assert send(url, [sample_event()], **keys) == [OK]
    (request,) = second.requests
    assert not {"authorization", "x-token"} & {name.lower() for name in request.headers}
    assert request.headers["webhook-id"]
    second.requests.clear()
    second.answer = lambda _: Answer(308, {"Location": server.url.replace("/hook", "/back")})
    assert send(url, [sample_event()], **keys) == [OK]
    assert server.requests[0].headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("status", "location", "why"),
    [
        (303, "/there", "it is no redirect of a POST"),
        (300, "/there", "it is no redirect of a POST"),
        (307, "ftp://example.org/", "it names no url"),
        (307, "http://[x", "it names no url"),
        (307, "/hook", "more than 5 redirects"),
    ],
)
def test_redirect_that_is_not_followed(server: Server, status: int, location: str, why: str) -> None:
    """Is ``retry`` and says why; and the rest of the batch waits."""
    server.answer = lambda _: Answer(status, {"Location": location})
    outcomes = send(server.url, of_documents(2, 2), follow_redirects=True)
    assert outcomes[0].kind == "retry"
    assert why in outcomes[0].reason
    assert not outcomes[1].tried


def test_redirect_to_a_forbidden_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that a redirect leads to is checked like the first one."""
    monkeypatch.setattr(guarded, "is_public", lambda address: address == "127.0.0.1")
    with socket.create_server(("127.0.0.2", 0)) as inner:
        inner.settimeout(0.2)
        port = inner.getsockname()[1]
        server.answer = lambda _: Answer(307, {"Location": f"http://127.0.0.2:{port}/latest/meta-data"})
        (outcome,) = send(server.url, [sample_event()], follow_redirects=True, allow_private=False)
        assert outcome.kind == "retry"
        assert f"http://127.0.0.2:{port}: 127.0.0.2 is 127.0.0.2, an address that is not of the open" in outcome.reason
        with pytest.raises(TimeoutError):
            inner.accept()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def make_server() -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        authority.configure_trust(context)
        servers.append(Server(context))
        return servers[-1]

    yield make_server
    for server in servers:
        server.close()


def test_redirect_never_leaves_tls(tls_server: Callable[[], Server], server: Server, authority: trustme.CA) -> None:
    """From https to http nothing is sent."""
    secure = tls_server()
    secure.answer = lambda _: Answer(307, {"Location": server.url})
    with authority.cert_pem.tempfile() as ca:
        (outcome,) = send(f"https://localhost:{secure.port}/", [sample_event()], follow_redirects=True, ca_certs=ca)
    assert outcome.reason.startswith("307 Temporary Redirect: it leads from https to http; it names http://")
    assert server.connections == 0


def test_redirect_to_another_host_shows_no_client_certificate(
    tls_server: Callable[[], Server], authority: trustme.CA, tmp_path: Path
) -> None:
    """A certificate is a credential, too."""
    one, other = tls_server(), tls_server()
    shown: list[Any] = []
    for place in (one, other):
        handler = place.http.RequestHandlerClass
        original = handler.do_POST  # type: ignore[attr-defined]

        def do_post(self: Any, original: Any = original) -> None:
            shown.append(self.connection.getpeercert())
            original(self)

        handler.do_POST = do_post  # type: ignore[attr-defined]
    one.answer = lambda _: Answer(308, {"Location": f"https://localhost:{other.port}/"})
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    keys = {"ca_certs": str(tmp_path / "ca.pem"), "client_cert": str(tmp_path / "client.pem")}
    assert send(f"https://localhost:{one.port}/", [sample_event()], follow_redirects=True, **keys) == [OK]
    assert [bool(certificate) for certificate in shown] == [True, False]


# --- several at a time


class Watched:
    """A server's answer that takes a while, and notes how many requests, and of which documents, are there at once."""

    def __init__(self, server: Server, seconds: float = 0.02) -> None:
        self.most = 0
        self.twice: list[str] = []
        self._now: list[str] = []
        self._lock = threading.Lock()
        self._seconds = seconds
        server.answer = self

    def __call__(self, request: Request) -> Answer:
        events = request.event if isinstance(request.event, list) else [request.event]
        ids = {event["data"]["id"] for event in events}
        with self._lock:
            self.twice += [one for one in ids if one in self._now]
            self._now += ids
            self.most = max(self.most, len(self._now))
        time.sleep(self._seconds)
        with self._lock:
            for one in ids:
                self._now.remove(one)
        return Answer()


@pytest.mark.parametrize("mode", ["structured", "batch"])
def test_concurrency(server: Server, mode: str) -> None:
    """Requests go side by side; events of one document never do, and arrive in order."""
    watched = Watched(server)
    events = of_documents(60, 7)
    began = time.monotonic()
    assert list(send(server.url, events, concurrency=4, mode=mode)) == [OK] * 60
    took = time.monotonic() - began
    assert watched.twice == []
    assert server.connections == 4
    flat = [one for request in server.requests for one in (request.event if mode == "batch" else [request.event])]
    for document in range(7):
        positions = [one["data"]["position"] for one in flat if one["data"]["id"] == f"doc-{document}"]
        assert positions == [n for n in range(1, 61) if n % 7 == document]
    if mode == "structured":
        assert watched.most == 4
        assert took < 60 * 0.02 * 0.7
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
        began = time.monotonic()
        outcomes = send(url, of_documents(50, 50), concurrency=4, timeout=0.3)
        assert time.monotonic() - began < 3
    assert {outcome.kind for outcome in outcomes} == {"retry"}
    assert sum(outcome.tried for outcome in outcomes) == 4


def test_close_ends_the_threads(server: Server) -> None:
    """And open makes new ones."""
    before = threading.active_count()
    sink = make(server.url, concurrency=4)
    sink.send(of_documents(8, 8))
    sink.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("esfeed-webhook")]
    sink.open()
    assert sink.send(of_documents(8, 8)) == [OK] * 8
    sink.close()
    assert threading.active_count() <= before + 4  # the server's own threads, which end with their connections


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
    rate = Rate(100)
    assert rate.take(1.0) == (0.0, True)
    waits = [rate.take(1.0)[0] for _ in range(5)]
    assert waits == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05], abs=0.005)
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
    with pytest.raises(Retryable, match="the receiver wants no more events"):
        sink.send([sample_event()])
    sink.close()
    with pytest.raises(ConfigError, match=r"^url = .*410 Gone: .*remove the sink, or restart esfeed"):
        sink.open()
    assert server.requests == []
    assert send(server.url, [sample_event()]) == [OK]


# --- settings


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "binary", "format": "raw"}, "binary"),
        ({"mode": "streamed"}, "structured"),
        ({"secrets": "whsec_x"}, "tuple"),
        ({"secrets": ["whsec_s3cret"]}, "24 to 64 random bytes"),
        ({"secrets": ["whsec_" + "!" * 40]}, "24 to 64 random bytes"),
        ({"secrets": [SECRET, "whsec_" + base64.b64encode(bytes(65)).decode()]}, "24 to 64 random bytes"),
        ({"secrets": ["env:NO_SUCH_SECRET"]}, "NO_SUCH_SECRET is not set"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"concurrency": 65}, "less than or equal to 64"),
        ({"rate": 0}, "greater than 0"),
        ({"headers": {"Webhook-Id": "x"}}, "set by esfeed"),
        ({"headers": {"CE-type": "x"}}, "set by esfeed"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read, and no secret is shown."""
    with pytest.raises(ValidationError, match=message) as caught:
        WebhookSettings.model_validate({"url": "http://h/", **keys})
    assert "s3cret" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """In no text of settings or sink; each may be env:NAME, with or without padding or whsec_."""
    monkeypatch.setenv("HOOK_SECRET", SECRET.rstrip("="))
    plain = OTHER.removeprefix("whsec_")
    settings = WebhookSettings.model_validate({"url": "http://h/", "secrets": ["env:HOOK_SECRET", plain]})
    assert [key_of(secret.get_secret_value()) for secret in settings.secrets] == [key_of(SECRET), key_of(OTHER)]
    for text in (repr(settings), str(settings.model_dump()), repr(WebhookSink(settings))):
        assert plain not in text
        assert SECRET[6:20] not in text
