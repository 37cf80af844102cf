"""What strangers send before anybody knows who they are: heads without end, slow ones, and many of them."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from esfeed.web import connections
from tests.support.clients import eventually
from tests.web.conftest import Open
from tests.web.support import Desk

HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
PIECE = 1 << 16


def connect(desk: Desk, source: str = "127.0.0.1") -> socket.socket:
    address = urlsplit(desk.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=60, source_address=(source, 0))


def answer(sock: socket.socket) -> bytes:
    """All that the server says until it ends the connection; some is lost where it was sent more than it took."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(PIECE):
            said += piece
    return said


def flood(sock: socket.socket, begin: bytes, piece: bytes, most: int) -> int:
    """Sends until it is not taken any more, or that many bytes are sent; returns how many."""
    sent = 0
    sock.setblocking(True)
    with contextlib.suppress(ConnectionError):
        sock.sendall(begin)
        while sent < most:
            sock.sendall(piece)
            sent += len(piece)
    return sent


def held() -> int:
    """Megabytes of memory that this process holds; the server is in it."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 10_000),
        (b"GET / HTTP/1.1\r\nx: ", b"y" * PIECE),
        (b"GET / HTTP/1.1\r\n", b"z" * PIECE),
        (b"GET /", b"a" * PIECE),
        (b"GET /?", b"a=b&" * 10_000),
    ],
    ids=["lines", "one value", "one name", "path", "query"],
)
def test_a_head_without_end_takes_no_memory(desk: Desk, begin: bytes, piece: bytes) -> None:
    """1 GB of head once took 1 GB of memory."""
    before = held()
    with connect(desk) as sock:
        sent = flood(sock, begin, piece, 256 << 20)
    assert sent < 64 << 20, "nobody stopped it"
    assert held() - before < 32
    assert desk.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz?" + b"a" * (8 << 10), b"414"),
        (b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * (16 << 10) + b"\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"x: y\r\n" * 4000, b"431"),
        (b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"x: " + b"y" * (15 << 10) + b"\r\n", b"200"),
        (b"GET /healthz?" + b"a" * (7 << 10) + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n", b"200"),
    ],
    ids=["url", "value", "lines", "a head as large as may be", "a url as long as may be"],
)
def test_a_head_that_is_too_large_is_answered(desk: Desk, head: bytes, status: bytes) -> None:
    """414 for the URL, 431 for all of it."""
    with connect(desk) as sock:
        sock.sendall(head + (b" HTTP/1.1\r\n\r\n" if status == b"414" else b"connection: close\r\n\r\n"))
        assert answer(sock).split()[1] == status


def test_a_body_without_end_is_not_taken(desk: Desk) -> None:
    """Neither with a length nor in chunks."""
    head = b"POST /v1/redrive HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000000\r\n\r\n"
    chunked = b"POST /v1/redrive HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    for begin, piece in ((head, b"x" * PIECE), (chunked, b"10000\r\n" + b"x" * PIECE + b"\r\n")):
        before = held()
        with connect(desk) as sock:
            assert flood(sock, begin, piece, 256 << 20) < 64 << 20
        assert held() - before < 32


def test_a_slow_head_is_ended(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it drips or says nothing at all; and so is a slow body."""
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.5)
    monkeypatch.setattr(connections, "BODY_WITHIN", 0.5)
    desk = open_desk()
    with connect(desk) as silent, connect(desk) as dripping, connect(desk) as body:
        body.sendall(
            b"POST /v1/redrive HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        dripping.sendall(HALF_A_HEAD)
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                dripping.sendall(b"x: y\r\n")
                time.sleep(0.05)
        assert answer(silent).split()[1] == b"408"
        assert b"HTTP/1.1 200" not in answer(dripping)
        assert answer(body) == b""


def test_requests_one_after_the_other_on_one_connection(desk: Desk) -> None:
    """Bounds are of each request, not of all that come on a connection."""
    request = HALF_A_HEAD + b"x: " + b"y" * (12 << 10) + b"\r\n\r\n"
    with connect(desk) as sock:
        for _ in range(4):
            sock.sendall(request)
            said = b""
            while not said.endswith(b"}"):
                said += sock.recv(PIECE)
            assert said.split()[1] == b"200"
        sock.sendall(request * 3)
        said = b""
        while said.count(b"HTTP/1.1 200") < 3:
            said += sock.recv(PIECE)


@pytest.fixture
def slow() -> Iterator[list[socket.socket]]:
    """Connections that a test opens; all are closed after it."""
    made: list[socket.socket] = []
    yield made
    for sock in made:
        sock.close()


def test_so_many_connections_and_no_more(open_desk: Open, slow: list[socket.socket]) -> None:
    """By address and in all; who comes beyond that is told so, and there is room for another address."""
    desk = open_desk("connections = 30\nconnections_of_one = 20")
    for _ in range(25):
        slow.append(connect(desk))
        with contextlib.suppress(ConnectionError):
            slow[-1].sendall(HALF_A_HEAD)
    refused = [sock for sock in slow[20:] if b" 503 " in answer(sock)]
    assert len(refused) == 5
    with connect(desk, "127.0.0.2") as other:
        other.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        assert b" 200 " in answer(other)
    for sock in slow[:20]:
        sock.close()
    eventually(lambda: desk.client.get(f"{desk.url}/healthz").status_code == 200)


def test_a_process_that_may_open_few_files_keeps_some_for_the_feed(
    open_desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes no more connections than leave the feed what it needs."""
    monkeypatch.setattr("esfeed.web.server.resource.getrlimit", lambda what: (600, 600))
    monkeypatch.setattr("esfeed.web.server.resource.setrlimit", lambda what, limits: None)
    desk = open_desk()
    assert desk.server._max_connections() == 600 - 512
