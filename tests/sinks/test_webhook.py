"""The webhook sink, against real servers on 127.0.0.1."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.net import bounds
from esfeed.ports import OK, Outcome, waits
from esfeed.sinks.common import restricted_http
from esfeed.sinks.common.http_status import wait_of
from esfeed.sinks.webhook.settings import WebhookSettings
from esfeed.sinks.webhook.sink import WebhookSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract
from tests.support.receiver import Answer, Request, Server

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Serves one connection after another with a function over the bare socket, and gives the url."""
    opened: list[socket.socket] = []

    def serve(talk: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    opened.append(connection)
                    with connection:
                        talk(connection)
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=loop, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield serve
    for one in opened:
        one.close()


def read_request(connection: socket.socket) -> None:
    """Reads one whole request off a bare socket."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-le"))
    while len(body) < length:
        body += connection.recv(65536)


def make(url: str, **keys: Any) -> WebhookSink:
    return WebhookSink(WebhookSettings.model_validate({"url": url, "allow_private": True} | keys), clock=lambda: NOW)


def post(url: str, **keys: Any) -> Outcome:
    """The outcome of one event at a new sink."""
    sink = make(url, **keys)
    sink.open()
    try:
        return sink.send([sample_event()])[0]
    finally:
        sink.close()


class _WebhookContract(SinkContract):
    @pytest.fixture(autouse=True)
    def _target(self, server: Server) -> None:
        self.server = server

    def make_sink(self) -> WebhookSink:
        return make(self.server.url)

    def received(self) -> list[tuple[str, int]]:
        return [(request.event["id"], request.event["data"]["position"]) for request in self.server.requests]

    def restore_target(self) -> None:
        self.server.answer = lambda _: Answer()

    def refuse(self, doc_ids: Collection[str]) -> None:
        refused = frozenset(doc_ids)
        self.server.answer = lambda request: Answer(500 if request.event["data"]["id"] in refused else 204)


class TestServerInTrouble(_WebhookContract):
    """The contract, with a target that answers 503."""

    def break_target(self) -> None:
        self.server.answer = lambda _: Answer(503)


class TestServerHangsUp(_WebhookContract):
    """The contract, with a target that closes each connection without a word."""

    def break_target(self) -> None:
        self.server.answer = lambda _: None

    def refuse(self, doc_ids: Collection[str]) -> None:
        refused = frozenset(doc_ids)
        self.server.answer = lambda request: Answer(400 if request.event["data"]["id"] in refused else 204)


class TestFourAtATime(TestServerInTrouble):
    """The contract, over four connections."""

    def make_sink(self) -> WebhookSink:
        return make(self.server.url, concurrency=4)


class TestBatches(_WebhookContract):
    """The contract, with many events a request, over two connections."""

    def make_sink(self) -> WebhookSink:
        return make(self.server.url, mode="batch", concurrency=2)

    def received(self) -> list[tuple[str, int]]:
        return [(event["id"], event["data"]["position"]) for request in self.server.requests for event in request.event]

    def break_target(self) -> None:
        self.server.answer = lambda _: Answer(502)

    def refuse(self, doc_ids: Collection[str]) -> None:
        refused = frozenset(doc_ids)

        def answer(request: Request) -> Answer:
            return Answer(422 if any(event["data"]["id"] in refused for event in request.event) else 204)

        self.server.answer = answer


# --- what is sent


def test_request(server: Server) -> None:
    """One POST an event over one connection, which the SDK of CloudEvents reads as that event."""
    sink = make(server.url + "?a=b", headers={"Authorization": "Bearer t"})
    sink.open()
    assert list(sink.send([sample_event(position=n) for n in (1, 2, 3)])) == [OK] * 3
    sink.close()
    assert server.connections == 1
    request = server.requests[1]
    assert request.path == "/hook?a=b"
    assert request.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert request.headers["user-agent"].startswith("esfeed/")
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    message = HTTPMessage(dict(request.headers), json.dumps(request.event).encode())
    data = from_structured_event(message).get_data()
    assert isinstance(data, dict)
    assert data["position"] == 2


def test_user_in_the_url(server: Server) -> None:
    """A user and password in the url are sent as basic authentication, and shown nowhere."""
    server.answer = lambda _: Answer(401)
    url = server.url.replace("//", "//me:s%40crt@")
    outcome = post(url)
    assert outcome == Outcome("retry", "401 Unauthorized")
    server.answer = lambda _: Answer()
    post(url)
    assert server.requests[0].headers["authorization"] == "Basic bWU6c0BjcnQ="


def test_closed_while_idle(server: Server) -> None:
    """A connection that the server closed while nothing was sent costs no fault: a new one is made."""
    server.answer = lambda _: Answer(200, {"Connection": "close"})
    sink = make(server.url)
    sink.open()
    assert list(sink.send([sample_event(position=n) for n in (1, 2)])) == [OK, OK]
    sink.close()
    assert server.connections == 2


# --- what is answered


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_taken(server: Server, status: int) -> None:
    """Any 2xx means that the event was taken."""
    server.answer = lambda _: Answer(status)
    assert post(server.url) == OK


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 408, 410, 425, 429, 500, 501, 502, 503, 504, 599])
def test_later(server: Server, status: int) -> None:
    """Statuses that may pass are ``retry``, and those that are no fault of the event."""
    server.answer = lambda _: Answer(status, body=b"busy")
    outcome = post(server.url)
    assert (outcome.kind, outcome.wait) == ("retry", None)
    assert outcome.reason.startswith(str(status))
    assert outcome.reason.endswith(": busy")


@pytest.mark.parametrize("status", [400, 402, 406, 409, 413, 415, 422, 451])
def test_never(server: Server, status: int) -> None:
    """Other client errors are ``rejected``, with what the server said, fit for a terminal."""
    server.answer = lambda _: Answer(status, body=b"no\x1b[31m\r\n way\x00 \xe2\x80\xae" + b"x" * 100_000)
    outcome = post(server.url)
    assert outcome.kind == "rejected"
    assert outcome.reason.startswith(str(status))
    assert ": no [31m way xxx" in outcome.reason
    assert outcome.reason.count("x") < 200
    assert outcome.reason.isprintable()


def test_redirect_is_not_followed(server: Server) -> None:
    """A redirect is ``retry``, since the url can be corrected, and the error names where it leads."""
    server.answer = lambda _: Answer(307, {"Location": "http://169.254.169.254/latest"})
    expected = "307 Temporary Redirect: esfeed does not follow redirects; its location is http://169.254.169.254/latest"
    assert post(server.url) == Outcome("retry", expected)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (format_datetime(NOW.replace(minute=2), usegmt=True), 120.0),
        (format_datetime(NOW.replace(hour=9), usegmt=True), 0.0),
        ("Tue, 24 Nov 2026 10:00:30 -0000", 30.0),
        ("999999999999", 3600.0),
        ("9" * 5000, 3600.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("³", None),
    ],
)
def test_retry_after(text: str | None, wait: float | None) -> None:
    """Seconds and HTTP dates are understood, an hour is the most that is believed, nonsense is no wait at all."""
    assert wait_of({} if text is None else {"retry-after": text}, NOW) == wait


def test_retry_after_on_the_wire(server: Server) -> None:
    """The wait that a server asks for reaches the outcome."""
    server.answer = lambda _: Answer(429, {"Retry-After": "7"})
    assert post(server.url) == Outcome("retry", "429 Too Many Requests", 7.0)


def test_later_events_of_a_document_wait(server: Server) -> None:
    """After a fault, later events of that document are not sent, those of others are."""
    tried: list[int] = []

    def answer(request: Request) -> Answer:
        tried.append(request.event["data"]["position"])
        return Answer({1: 500, 3: 400}.get(tried[-1], 204))

    server.answer = answer
    sink = make(server.url)
    sink.open()
    docs = {1: "a", 2: "b", 3: "c", 4: "a", 5: "c", 6: "b"}
    outcomes = sink.send([sample_event(position=n, doc_id=doc) for n, doc in docs.items()])
    sink.close()
    assert tried == [1, 2, 3, 6]
    assert [outcome.kind for outcome in outcomes] == ["retry", "ok", "rejected", "retry", "retry", "ok"]
    assert outcomes[3].reason == outcomes[4].reason == waits().reason


# --- faults of the connection


def test_nobody_listens() -> None:
    """A refused connection is ``retry``, named."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert post(f"http://u:pw@127.0.0.1:{port}/x?token=1") == Outcome(
        "retry", f"http://127.0.0.1:{port}: Connection refused"
    )


def test_hang(raw_server: Callable[[Callable[[socket.socket], None]], str]) -> None:
    """A server that never answers costs one time-out a batch, not one an event."""
    url = raw_server(lambda connection: time.sleep(30))
    sink = make(url, timeout=0.3)
    sink.open()
    outcomes = sink.send([sample_event(position=n, doc_id=str(n)) for n in range(50)])
    sink.close()
    assert {outcome.kind for outcome in outcomes} == {"retry"}
    assert [outcome.tried for outcome in outcomes] == [True, *[False] * 49]
    assert outcomes[0].reason == f"{url[:-1]}: no complete answer within 0.3 s"
    assert outcomes[1].reason.startswith("not tried after an earlier fault: ")


@pytest.mark.parametrize("where", ["status line", "headers", "body", "chunks", "continue"])
def test_drip(raw_server: Callable[[Callable[[socket.socket], None]], str], where: str) -> None:
    """A server that sends a byte at a time, for ever, is held to the same time-out."""
    begin, drip = {
        "status line": (b"", b"H"),
        "headers": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),
        "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    }[where]

    def talk(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(drip)
            time.sleep(0.01)

    outcome = post(raw_server(talk), timeout=0.4)
    assert outcome.kind == "retry"
    assert outcome.reason.endswith("no complete answer within 0.4 s")


def test_server_that_does_not_read(raw_server: Callable[[Callable[[socket.socket], None]], str]) -> None:
    """A server that takes nothing off the wire is held to the time-out while we send, too."""
    sink = make(raw_server(lambda connection: time.sleep(30)), timeout=0.4)
    sink.open()
    outcomes = sink.send([sample_event(after={"x": "y" * (32 << 20)})])
    assert outcomes[0].kind == "retry"
    assert outcomes[0].reason.endswith("no complete answer within 0.4 s")
    sink.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "the connection was closed in the middle of the answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
            "the connection was closed in the middle of the answer",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer (BadStatusLine)"),
    ],
)
def test_broken_answer(
    raw_server: Callable[[Callable[[socket.socket], None]], str], answer: bytes, reason: str
) -> None:
    """An answer that is cut off or no HTTP is ``retry``, even where it began with 200."""

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    outcome = post(raw_server(talk))
    assert outcome.kind == "retry"
    assert outcome.reason.endswith(reason)


def test_refusal_in_the_middle_of_a_large_body(
    raw_server: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    """A server that has seen enough, answers 413 and hangs up, is understood: rejected, not tried for ever."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    sink = make(raw_server(talk))
    sink.open()
    outcome = sink.send([sample_event(after={"x": "y" * (32 << 20)})])[0]
    assert outcome.kind == "rejected"
    assert outcome.reason.startswith("413")
    sink.close()


def test_endless_answer(raw_server: Callable[[Callable[[socket.socket], None]], str]) -> None:
    """Of an answer without end only a part is read, so that it ends at all; its status counts."""

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    assert post(raw_server(talk)) == OK


def test_unknown_host() -> None:
    """A name without address is ``Retryable`` at ``open`` and ``retry`` at ``send``."""
    sink = make("http://u:pw@nonexistent.invalid/hook?token=1")
    with pytest.raises(Retryable, match=r"^http://nonexistent\.invalid:80: no address for nonexistent\.invalid \("):
        sink.open()
    assert sink.send([sample_event()])[0].reason.startswith("http://nonexistent.invalid:80: no address")


def test_slow_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking a name up counts against the time-out."""

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        time.sleep(6)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Retryable, match="no complete answer within"):
        make("http://example.org/", timeout=0.2).open()


# --- private addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"])
def test_private_host_is_refused(server: Server, host: str) -> None:
    """Without ``allow_private`` no spelling of this machine is connected to, and the error names the key."""
    sink = make(f"http://{host}:{server.port}/", allow_private=False)
    with pytest.raises(ConfigError, match=r"not a public address; set allow_private = true"):
        sink.open()
    outcome = sink.send([sample_event()])[0]
    assert outcome.kind == "retry"
    assert "allow_private" in outcome.reason
    assert server.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::2", "ff02::1"),
        *("::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
        *("::127.0.0.1", "64:ff9b:1::a00:1", "fec0::1", "2001:0:7f00:1::"),
    ],
)
def test_not_public(address: str) -> None:
    """Loopback, link-local, private, shared, multicast and reserved addresses are not public, in any wrapping."""
    assert not restricted_http.is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public(address: str) -> None:
    """Addresses of the open internet are public, in any wrapping."""
    assert restricted_http.is_public(address)


def test_rebinding(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when asked first and private when asked again gains nothing.

    Each lookup is checked, and followed by a connection to exactly what it gave.
    """
    answers = iter(["93.184.215.14", "127.0.0.1", "93.184.215.14"])
    tried: list[object] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def connect(_: socket.socket, address: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(bounds.Bounded, "connect", connect)
    sink = make(f"http://rebind.example:{server.port}/", allow_private=False)
    sink.open()
    assert "127.0.0.1" in sink.send([sample_event()])[0].reason
    assert tried == []
    sink.send([sample_event()])
    assert tried == [("93.184.215.14", server.port)]


def test_second_address_is_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first address of a host does not answer, the next one gets its share of the time."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **keys: Any) -> list[tuple[Any, ...]]:
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        return [dead, *real("127.0.0.1", port, **keys)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert post(server.url.replace("127.0.0.1", "two.example")) == OK


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[Callable[..., Server]]:
    """Makes servers whose certificate is for the names given."""
    servers: list[Server] = []

    def make_server(*names: str, client_cert: bool = False) -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
        if client_cert:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        servers.append(Server(context))
        return servers[-1]

    yield make_server
    for server in servers:
        server.close()


def test_tls(tls_server: Callable[..., Server], ca_file: str) -> None:
    """A certificate that ``ca_certs`` vouches for and that names the host is good; one connection serves all."""
    server = tls_server("localhost")
    sink = make(f"https://localhost:{server.port}/", ca_certs=ca_file)
    sink.open()
    assert list(sink.send([sample_event(position=n) for n in (1, 2, 3)])) == [OK] * 3
    sink.close()
    assert server.connections == 1


def test_tls_wrong_name(tls_server: Callable[..., Server], ca_file: str) -> None:
    """A certificate for another host is ``retry``, with both names."""
    outcome = post(f"https://localhost:{tls_server('example.org').port}/", ca_certs=ca_file)
    assert outcome.kind == "retry"
    assert "TLS: Hostname mismatch, certificate is not valid for 'localhost'" in outcome.reason


def test_tls_unknown_authority(tls_server: Callable[..., Server]) -> None:
    """A certificate that nobody trusts is ``retry``, and taken all the same with ``verify_certs = false``."""
    server = tls_server("example.org")
    outcome = post(f"https://localhost:{server.port}/")
    assert outcome.kind == "retry"
    assert "TLS: unable to get local issuer certificate" in outcome.reason
    assert post(f"https://localhost:{server.port}/", verify_certs=False) == OK


def test_tls_client_certificate(
    tls_server: Callable[..., Server], authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    """A server that asks for a client's certificate gets the one of ``client_cert``; without, it is ``retry``."""
    server = tls_server("localhost", client_cert=True)
    url = f"https://localhost:{server.port}/"
    assert post(url, ca_certs=ca_file).kind == "retry"
    pem = tmp_path / "client.pem"
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(pem)
    assert post(url, ca_certs=ca_file, client_cert=str(pem)) == OK


@pytest.mark.parametrize("where", ["handshake", "answer"])
def test_tls_hang(tls_server: Callable[..., Server], raw_server: Any, ca_file: str, where: str) -> None:
    """The time-out holds for a handshake that never ends, and for a silent server behind TLS."""
    if where == "handshake":
        url = raw_server(lambda connection: time.sleep(30)).replace("http:", "https:")
    else:
        server = tls_server("127.0.0.1")
        server.answer = lambda _: time.sleep(6)
        url = f"https://127.0.0.1:{server.port}/"
    outcome = post(url, ca_certs=ca_file, timeout=0.4)
    assert outcome.reason.endswith("no complete answer within 0.4 s")


def test_tls_drip(
    authority: trustme.CA, raw_server: Callable[[Callable[[socket.socket], None]], str], ca_file: str
) -> None:
    """A server that drips behind TLS is held to the time-out, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            read_request(tls)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
            while True:
                tls.sendall(b"x")
                time.sleep(0.01)

    outcome = post(raw_server(talk).replace("http:", "https:"), ca_certs=ca_file, timeout=0.4)
    assert outcome.reason.endswith("no complete answer within 0.4 s")


def test_plain_http_at_a_tls_port(tls_server: Callable[..., Server], server: Server) -> None:
    """https to a server without TLS is ``retry``, and says TLS."""
    assert ": TLS: " in post(f"https://127.0.0.1:{server.port}/").reason


@pytest.mark.parametrize("key", ["ca_certs", "client_cert"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_certificate_file(tmp_path: Path, key: str, content: str | None) -> None:
    """A certificate file that is missing or none is an error of its key."""
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"^{key} = '{path}': cannot be used"):
        make("https://127.0.0.1/", **{key: str(path)}).open()


def test_encrypted_key_does_not_ask(tmp_path: Path, authority: trustme.CA) -> None:
    """An encrypted key is an error; a daemon must not stop to ask a terminal for a password."""
    from cryptography.hazmat.primitives import serialization

    cert = authority.issue_cert("client.example")
    key = serialization.load_pem_private_key(cert.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = {"client_cert": str(tmp_path / "cert.pem"), "client_key": str(tmp_path / "key.pem")}
    with pytest.raises(ConfigError, match="an unencrypted key"):
        make("https://127.0.0.1/", **files).open()


# --- settings


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": "ftp://u:s3cret@example.org/"}, "begins with http"),
        ({"url": "u:s3cret@example.org"}, "begins with http"),
        ({"url": "http://u:s3cret@/"}, "names a host"),
        ({"url": "http://u:s3cret@h:99999/"}, "write a url"),
        ({"url": "http://h/s3cret x"}, "spaces"),
        ({"url": "http://h/", "headers": {"x-a": "s3cret\r\nx-b: 1"}}, "x-a"),
        ({"url": "http://h/", "headers": {"x-a": "s3cret€"}}, "x-a"),
        ({"url": "http://h/", "headers": {"x a": "s3cret"}}, "'x a'"),
        ({"url": "http://h/", "headers": {"Content-Type": "s3cret"}}, "set by esfeed"),
        ({"url": "http://h/", "timeout": 0}, "greater than 0"),
        ({"url": "http://h/", "client_key": "k.pem"}, "set client_cert"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read, without showing what may be secret."""
    with pytest.raises(ValidationError, match=message) as caught:
        WebhookSettings.model_validate(keys)
    assert "s3cret" not in str(caught.value)


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the url nor the values of headers show in the settings or the sink; either may be env:NAME."""
    monkeypatch.setitem(os.environ, "HOOK_TOKEN", "s3cret")
    keys = {"url": "http://u:s3cret@h/s3cret", "headers": {"authorization": "env:HOOK_TOKEN"}}
    settings = WebhookSettings.model_validate(keys)
    assert settings.headers["authorization"].get_secret_value() == "s3cret"
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), repr(WebhookSink(settings))):
        assert "s3cret" not in shown
