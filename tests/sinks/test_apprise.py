"""The Apprise sink, against a real SMTP server and a real HTTP target."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from pydantic import ValidationError

from esfeed.errors import ConfigError
from esfeed.model.event import Event
from esfeed.sinks.apprise.sink import AppriseSettings, AppriseSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract

WHOLE = "overflow=split"  # so that a whole event is no matter of what a message usually holds


def make(*urls: str, **keys: Any) -> AppriseSink:
    return AppriseSink(AppriseSettings.model_validate({"urls": list(urls), "timeout": "20s", "interval": "0s"} | keys))


def some(*numbers: int, **keys: Any) -> list[Event]:
    return [sample_event(position=n, doc_id=f"doc-{n}", **keys) for n in numbers]


def kinds(outcomes: Any) -> list[tuple[str, bool]]:
    return [(outcome.kind, outcome.tried) for outcome in outcomes]


class Target:
    """An HTTP server for ``json://``, that can be ended and started again at its port."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.refused: Collection[str] = ()
        self.port = 0
        self.start()

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = (
                    400 if any(f'"id":"{doc_id}"' in message["message"] for doc_id in outer.refused) else outer.status
                )
                if status == 200:
                    outer.messages.append(message)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def url(self, path: str = "hook") -> str:
        return f"json://u:s3cretpw@127.0.0.1:{self.port}/{path}?{WHOLE}"


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.stop()


class Inbox:
    """A mail server; it keeps what it takes, and takes no mail about ``refused`` documents."""

    def __init__(self, **options: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._options = options
        self.mails: list[email.message.EmailMessage] = []
        self.refused: Collection[str] = ()
        self.start()

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = mail.get_body(("plain",)).get_content()  # type: ignore[attr-defined]  # the policy makes it one
        if any(f'"id":"{doc_id}"' in body for doc_id in self.refused):
            return "554 5.7.1 not this one"
        self.mails.append(mail)  # type: ignore[arg-type]  # the policy makes it one
        return "250 OK"

    def start(self) -> None:
        self._controller = Controller(self, "127.0.0.1", self.port, **self._options)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop(no_assert=True)

    @property
    def url(self) -> str:
        return f"mailto://example.org:{self.port}?smtp=127.0.0.1&from=feed@example.org&to=ops@example.org&mode=insecure&{WHOLE}"

    def texts(self) -> list[str]:
        bodies = [mail.get_body(("plain",)) for mail in self.mails]
        return [body.get_content() for body in bodies if body is not None]


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    # smtplib looks its own host's name up for each mail, which takes its time on a machine without a name server.
    monkeypatch.setattr(socket, "getfqdn", lambda *_: "localhost")
    inbox = Inbox()
    yield inbox
    inbox.stop()


class TestHttp(SinkContract):
    """The contract, with an HTTP target that is ended and started again."""

    @pytest.fixture(autouse=True)
    def _target(self, target: Target) -> None:
        self.target, self.stopped = target, False

    def make_sink(self) -> AppriseSink:
        return make(self.target.url().replace(WHOLE, "overflow=upstream"), title="{watch}")

    def received(self) -> list[tuple[str, int]]:
        events = [json.loads(message["message"]) for message in self.target.messages]
        return [(event["id"], event["data"]["position"]) for event in events]

    def break_target(self) -> None:
        self.target.stop()
        self.stopped = True

    def restore_target(self) -> None:
        self.target.refused = ()
        if self.stopped:
            self.target.start()
        self.stopped = False

    def refuse(self, doc_ids: Collection[str]) -> None:
        self.target.refused = doc_ids


class TestMail(SinkContract):
    """The contract, with a mail server that is ended and started again."""

    @pytest.fixture(autouse=True)
    def _target(self, inbox: Inbox) -> None:
        self.inbox = inbox

    def make_sink(self) -> AppriseSink:
        return make(self.inbox.url.replace(WHOLE, "overflow=upstream&format=text"), title="{watch}")

    def received(self) -> list[tuple[str, int]]:
        events = [json.loads(text) for text in self.inbox.texts()]
        return [(event["id"], event["data"]["position"]) for event in events]

    def break_target(self) -> None:
        self.inbox.stop()

    def restore_target(self) -> None:
        if self.inbox.refused:
            self.inbox.refused = ()
        else:
            self.inbox.start()

    def refuse(self, doc_ids: Collection[str]) -> None:
        self.inbox.refused = doc_ids


# --- messages


def test_message(target: Target, inbox: Inbox) -> None:
    """Title, text and type come from the templates and the op, at each service."""
    sink = make(target.url(), inbox.url, body="{name} is <{status}>", types={"updated": "failure"})
    sink.open()
    assert kinds(sink.send([sample_event(position=1), sample_event(position=2, op="deleted")])) == [("ok", True)] * 2
    sink.close()
    said = [(message["title"], message["message"], message["type"]) for message in target.messages]
    assert said == [
        ("OS::Nova::Server updated", "web-1 is <ACTIVE>", "failure"),
        ("OS::Nova::Server deleted", "web-1 is <BUILD>", "warning"),
    ]
    assert [mail["subject"] for mail in inbox.mails] == ["OS::Nova::Server updated", "OS::Nova::Server deleted"]
    assert inbox.texts()[0].strip() == "web-1 is <ACTIVE>"


def test_field_that_is_not_there(target: Target) -> None:
    """An event that the template has no text for is rejected alone."""
    sink = make(target.url(), body="{status}")
    sink.open()
    outcomes = sink.send([*some(1, after={"x": 1}), *some(2)])
    assert kinds(outcomes) == [("rejected", True), ("ok", True)]
    assert "{status} is missing" in outcomes[0].reason
    sink.close()


def test_too_long(target: Target) -> None:
    """A text longer than the service takes is rejected, not cut, unless the url says what to do with it."""
    for overflow, expected in (("upstream", ("rejected", True)), ("truncate", ("ok", True))):
        sink = make(target.url().replace("split", overflow), body="{x}")
        sink.open()
        outcomes = sink.send([*some(1, after={"x": "y" * 40_000}), *some(2, after={"x": "z"})])
        assert kinds(outcomes) == [expected, ("ok", True)]
        sink.close()
    assert [message["message"][0] for message in target.messages] == ["z", "y", "z"]


# --- faults


def test_failure_is_told_without_secrets(target: Target) -> None:
    """What Apprise logs about a failure is the reason; nothing of the url is in it."""
    target.status = 503
    sink = make(target.url("s3cretpath"))
    sink.open()
    outcomes = sink.send(some(1))
    assert outcomes[0].reason.startswith("urls[0] (JSON): ")
    assert "503" in outcomes[0].reason
    target.stop()
    outcomes = sink.send(some(1))
    assert "onnection" in outcomes[0].reason
    assert "s3cret" not in repr(outcomes) + repr(sink._settings)
    sink.close()
    target.start()


def test_only_those_that_failed_are_asked_again(target: Target) -> None:
    """Of two services one fails: the event is not ok, and when it comes again the other one is left in peace."""
    other = Target()
    other.status = 500
    sink = make(target.url(), other.url())
    sink.open()
    outcomes = sink.send(some(1))
    assert kinds(outcomes) == [("retry", True)]
    assert outcomes[0].reason.startswith("urls[1] (JSON)")
    other.status = 200
    assert kinds(sink.send(some(1))) == [("ok", True)]
    assert (len(target.messages), len(other.messages)) == (1, 1)
    sink.close()
    other.stop()


def test_order_and_patience(target: Target) -> None:
    """Behind a failure the document's later events wait; one more is tried, and after a second failure none."""
    sink = make(target.url())
    sink.open()
    target.status = 500
    events = [sample_event(position=n, doc_id=doc) for n, doc in enumerate("aabccd", 1)]
    outcomes = sink.send(events)
    assert kinds(outcomes) == [("retry", True), ("retry", False), ("retry", True), *[("retry", False)] * 3]
    target.status = 200
    assert kinds(sink.send(events)) == [("ok", True)] * 6
    sink.close()


@pytest.mark.parametrize("scheme", ["json", "mailto"])
def test_hang(scheme: str) -> None:
    """A service that takes the connection and says nothing is left after ``timeout``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"json://127.0.0.1:{port}"
        if scheme == "mailto":
            url = (
                f"mailto://example.org:{port}?smtp=127.0.0.1&from=a@example.org&to=b@example.org&mode=insecure&{WHOLE}"
            )
        sink = make(url, body="{name}", timeout="500ms")
        sink.open()
        begin = time.monotonic()
        outcomes = sink.send(some(1, 2, 3))
        assert time.monotonic() - begin < 2
        assert kinds(outcomes) == [("retry", True), ("retry", False), ("retry", False)]
        sink.close()


def test_wrong_password() -> None:
    """A mail server that refuses the login makes the event wait; the reason says so, and not the password."""

    def refuse(server: Any, session: Any, envelope: Any, mechanism: Any, data: Any) -> AuthResult:
        return AuthResult(success=False, handled=False)

    inbox = Inbox(authenticator=refuse, auth_required=True, auth_require_tls=False)
    sink = make(inbox.url.replace("//example.org", "//feed:wr0ngpw@example.org"))
    sink.open()
    outcomes = sink.send(some(1))
    assert kinds(outcomes) == [("retry", True)]
    assert "uthentication" in outcomes[0].reason
    assert "wr0ngpw" not in outcomes[0].reason
    sink.close()
    inbox.stop()


def test_tls() -> None:
    """A mail server whose certificate nobody vouches for gets nothing, unless the url says verify=no."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    inbox = Inbox(tls_context=context)
    url = inbox.url.replace("mode=insecure", "mode=starttls").replace("mailto:", "mailtos:")
    for more, kind in (("", "retry"), ("&verify=no", "ok")):
        sink = make(url + more)
        sink.open()
        outcomes = sink.send(some(1))
        assert outcomes[0].kind == kind, outcomes
        sink.close()
    assert len(inbox.mails) == 1
    inbox.stop()


def test_interval(target: Target) -> None:
    """Messages keep their distance; those that the time does not suffice for wait, untried."""
    sink = make(target.url(), interval="200ms", timeout="1s")
    sink.open()
    begin = time.monotonic()
    outcomes = sink.send(some(*range(10)))
    assert time.monotonic() - begin < 1.2
    taken = sum(outcome.ok for outcome in outcomes)
    assert 1 < taken < 5
    assert kinds(outcomes)[taken:] == [("retry", False)] * (10 - taken)
    assert len(target.messages) == taken
    sink.close()


# --- settings


@pytest.mark.parametrize("url", ["nonsense://s3cret", "slack://s3cret", "s3cret"])
def test_url_that_apprise_cannot_use(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A url that means nothing to Apprise is an error of ``urls`` that names its number and shows none of it."""
    with pytest.raises(ConfigError, match=r"number 2.*cannot use this URL") as caught:
        make("json://127.0.0.1", url).open()
    assert caught.value.key == "urls"
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"urls": []}, "at least 1"),
        ({"types": {"updated": "loud"}}, "types.updated"),
        ({"types": {"gone": "info"}}, "types.gone"),
        ({"body": "{"}, "is alone"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read, without showing what may be secret."""
    with pytest.raises(ValidationError, match=message) as caught:
        AppriseSettings.model_validate({"urls": ["json://u:s3cret@h"]} | keys)
    assert "s3cret" not in str(caught.value)
