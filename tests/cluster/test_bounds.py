"""What a bad neighbour's answer may cost: a deadline for the whole of it, and a bound on its bytes."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.errors import ClusterError, Retryable
from esfeed.sinks.common.address import address_of
from esfeed.sinks.common.http_client import HttpClient

Answering = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@contextmanager
def neighbour(answer: Answering, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that reads a request and then does as ``answer`` says, until the other side has had enough."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(plain: socket.socket) -> None:
        with plain, plain if context is None else context.wrap_socket(plain, server_side=True) as sock:
            try:
                sock.recv(1 << 16)
                answer(sock)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http{'' if context is None else 's'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def drips(start: bytes) -> Answering:
    """Sends ``start``, and then a byte now and then, for as long as anybody listens."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(start)
        for _ in range(1200):
            sock.sendall(b" ")
            time.sleep(0.05)

    return answer


def pours(head: bytes, piece: bytes) -> Answering:
    """Sends ``head``, and then ``piece`` without end."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(head)
        while True:
            sock.sendall(piece)

    return answer


def client(url: str, **more: object) -> Client:
    return Client(Connection("main", [url], **{"timeout": 0.5, "tries": 2, **more}), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nx-",
        HEAD + b"content-length: 1000\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n",
    ],
    ids=["status", "head", "body", "chunked"],
)
def test_a_cluster_that_drips(start: bytes) -> None:
    """A byte every now and then keeps no request alive: it is as if there were no answer."""
    with neighbour(drips(start)) as url, pytest.raises(ClusterError, match=r"did not answer within 0.5 s"):
        client(url).request("GET", "/_cat/health")


def test_a_cluster_that_drips_over_tls(tmp_path: Path) -> None:
    """The deadline is the socket's own, below the encryption too; an answer in time comes through."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    whole = HEAD + b"content-length: 7\r\n\r\n" + b'{"a":1}'
    with neighbour(lambda sock: sock.sendall(whole), context) as url:
        assert client(url, ca_certs=str(tmp_path / "ca.pem")).request("GET", "/x") == b'{"a":1}'
    slow = drips(HEAD + b"content-length: 1000\r\n\r\n")
    with neighbour(slow, context) as url, pytest.raises(ClusterError, match=r"did not answer within 0.5 s"):
        client(url, ca_certs=str(tmp_path / "ca.pem")).request("GET", "/x")


def bomb() -> bytes:
    """A few dozen kilobytes that become 30 MB."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(30)), packer.flush()])


def test_answers_without_an_end() -> None:
    """Plain, or small until it is unpacked: read no further than the bound, and what was asked for is said."""
    packed = HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n" + bomb()
    for answer in (
        pours(HEAD + b"connection: close\r\n\r\n", b" " * (1 << 16)),
        pours(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * (1 << 16) + b"\r\n"),
        lambda sock: sock.sendall(packed),
    ):
        with neighbour(answer) as url:
            bounded = client(url, timeout=30, max_bytes=8 << 20)
            with pytest.raises(ClusterError, match=r"more than 8,388,608 bytes to /i/_search"):
                bounded.request("POST", "/i/_search", body={})
            with pytest.raises(ClusterError, match=r"more than 1,048,576 bytes to /"):
                bounded.request("GET", "/")


def test_what_is_compressed_is_read() -> None:
    """By a proxy that nobody asked to; what is not what it says is an error."""
    for coding, body, good in (
        ("gzip", gzip.compress(b'{"a":1}'), True),
        ("deflate", zlib.compress(b'{"a":1}'), True),
        ("gzip", b"no gzip", False),
        ("gzip", gzip.compress(b'{"a":1}')[:-6], False),
        ("br", b"x", False),
    ):
        head = HEAD + f"content-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        with neighbour(lambda sock, sent=head + body: sock.sendall(sent)) as url:  # type: ignore[misc]
            if good:
                assert json.loads(client(url).request("GET", "/x")) == {"a": 1}
            else:
                with pytest.raises(ClusterError, match=r"cannot be reached|answer"):
                    client(url).request("GET", "/x")


def test_a_sinks_target_that_pours() -> None:
    """The same bounds hold for a store that events are written to."""
    with neighbour(pours(HEAD + b"connection: close\r\n\r\n", b" " * (1 << 16))) as url:
        http = HttpClient([address_of(url, {"http": 80})], {}, None)
        http.start(30)
        with pytest.raises(Retryable, match=r"larger than 67,108,864 bytes"):
            http.call("GET", "/")
