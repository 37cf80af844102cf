"""How hosts may be written, and what is said where one leads somewhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection, leads_to
from esfeed.config.load import Config, build
from esfeed.errors import ClusterError, ConfigError

ROOT = b'{"version":{"number":"9.2.0","build_type":"tar"}}'


def _settings(host: str) -> Config:
    sink = {"type": "stdout"}
    return build({"clusters": {"main": {"hosts": [host]}}, "watches": {"w": {"index": "i"}}, "sinks": {"s": sink}})


class _Six(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    location: ClassVar[tuple[int, str] | None] = None
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        status, where = self.location or (200, "")
        self.send_response(status)
        if where:
            self.send_header("location", where)
        body = ROOT if status == 200 else b"<html>Moved</html>"
        self.send_header("content-type", "application/json" if status == 200 else "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def handler() -> type[_Handler]:
    return type("Handler", (_Handler,), {"paths": []})


@pytest.fixture
def port(handler: type[_Handler]) -> Iterator[int]:
    yield from _serving(ThreadingHTTPServer(("127.0.0.1", 0), handler))


@pytest.fixture
def port6(handler: type[_Handler]) -> Iterator[int]:
    try:
        server = _Six(("::1", 0), handler)
    except OSError:
        pytest.skip("there is no IPv6 here")
    yield from _serving(server)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("http://localhost", "http://localhost:9200"),
        ("https://localhost", "https://localhost:9200"),
        ("http://localhost:", "http://localhost:9200"),
        ("http://127.0.0.1/es", "http://127.0.0.1:9200/es"),
        ("http://[::1]", "http://[::1]:9200"),
        ("http://[::1]/es/one", "http://[::1]:9200/es/one"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("HTTP://es:443/", "http://es:443"),
    ],
)
def test_a_host_without_a_port_has_the_usual_one(host: str, address: str) -> None:
    """A cluster that cannot be reached is named by where it was looked for; the settings stay as they were written."""
    config = _settings(host)
    connection = config.clusters["main"].connection("main")
    assert [one.lower() for one in connection.addresses] == [address]
    Client(connection).close()


@pytest.mark.parametrize(
    "host", ["http://user:secret@localhost", "http://:secret@[::1]/es", "http://[::1", "http://a:x"]
)
def test_what_no_host_is(host: str) -> None:
    """Says what to write, and never what may be secret."""
    with pytest.raises(ConfigError, match=r"basic_auth|not a url") as refused:
        _settings(host)
    assert "secret" not in str(refused.value)


def test_a_path_before_the_cluster(port: int, handler: type[_Handler]) -> None:
    client = Client(Connection("main", [f"http://127.0.0.1:{port}/es/one"]))
    assert str(client.engine) == "Elasticsearch 9.2.0"
    assert handler.paths == ["/es/one/"]
    client.close()


def test_ipv6(port6: int, handler: type[_Handler]) -> None:
    client = Client(Connection("main", [f"http://[::1]:{port6}/es"]))
    assert str(client.engine) == "Elasticsearch 9.2.0"
    assert handler.paths == ["/es/"]
    client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_named(port: int, handler: type[_Handler], status: int) -> None:
    """Where it leads, and that `hosts` is to be corrected; no query and no user, and nothing of Python's own."""
    handler.location = status, "https://user:secret@sso.example.org/login?next=secret#secret"
    client = Client(Connection("main", [f"http://127.0.0.1:{port}"]))
    with pytest.raises(ClusterError) as refused:
        client.request("GET", "/index/_stats")
    told = str(refused.value)
    assert f"redirects /index/_stats to https://sso.example.org/login ({status})" in told
    assert "clusters.main.hosts" in told
    assert "secret" not in told
    assert "b'" not in told
    with pytest.raises(ClusterError, match="redirects / to"):
        _ = client.engine
    client.close()


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/login?next=/", "http://es:9200/login"),
        ("login", "http://es:9200/es/login"),
        ("//other/x", "http://other/x"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
        ("https://other/\x1b[31mx\r\n", "https://other/[31mx"),
        ("", "http://es:9200/es/_stats"),
        ("https://[::1/", ""),
        ("https://host:port/", ""),
        ("https://user:pass@/", ""),
        ("mailto:a@b", ""),
    ],
)
def test_where_a_redirect_leads(location: str, shown: str) -> None:
    assert leads_to(location, "http://es:9200/es/_stats?level=shards") == shown
