"""Which redirects a webhook follows, and what it tells whom on the way."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import trustme

from esfeed.envelopes import envelope
from esfeed.ports import OK
from esfeed.sinks.common import restricted_http
from esfeed.testing.events import sample_event
from tests.support.receiver import Answer, Request, Server

from .webhooks import SECRET, lower, of_documents, send


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
        (303, "/there", "the status is not a redirect of a POST"),
        (300, "/there", "the status is not a redirect of a POST"),
        (307, "ftp://example.org/", "it has no url"),
        (307, "http://[x", "it has no url"),
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
    monkeypatch.setattr(restricted_http, "is_public", lambda address: address == "127.0.0.1")
    with socket.create_server(("127.0.0.2", 0)) as inner:
        inner.settimeout(0.2)
        port = inner.getsockname()[1]
        server.answer = lambda _: Answer(307, {"Location": f"http://127.0.0.2:{port}/latest/meta-data"})
        (outcome,) = send(server.url, [sample_event()], follow_redirects=True, allow_private=False)
        assert outcome.kind == "retry"
        assert f"http://127.0.0.2:{port}: 127.0.0.2 is 127.0.0.2, which is not a public address" in outcome.reason
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
    assert outcome.reason.startswith("307 Temporary Redirect: it leads from https to http; its location is http://")
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
