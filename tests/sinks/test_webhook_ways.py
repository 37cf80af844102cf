"""How a webhook puts events into requests, and signs them; and what its settings refuse."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_structured_event
from pydantic import ValidationError

from esfeed.envelopes import envelope
from esfeed.ports import OK
from esfeed.sinks.webhook.settings import WebhookSettings
from esfeed.sinks.webhook.signatures import key_of, signed
from esfeed.sinks.webhook.sink import WebhookSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import ODD_IDS
from tests.support.receiver import Answer, Request, Server

from .webhooks import OTHER, SECRET, lower, of_documents, send


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


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
