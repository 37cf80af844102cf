"""The AMQP sink at a real RabbitMQ: order, repeats, size, restarts, hangs, idle connections, logins and TLS."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import pika
import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.sinks.amqp.settings import AmqpSettings
from esfeed.sinks.amqp.sink import AmqpSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import REFUSING, Received, SinkContract
from tests.support.disturbance import expected, first_seen, send_through
from tests.support.fixtures_services import Services
from tests.support.services import OwnService, Service
from tests.support.wire import Wire

pytestmark = pytest.mark.services("rabbitmq")


def make(server: Service, routing_key: str, **keys: Any) -> AmqpSink:
    return AmqpSink(AmqpSettings.model_validate({"url": server.url, "routing_key": routing_key, "timeout": 10, **keys}))


@contextlib.contextmanager
def channel_of(server: Service) -> Iterator[Any]:
    """A channel of pika's own, the other side of the tests."""
    connection = pika.BlockingConnection(pika.URLParameters(server.url))
    try:
        yield connection.channel()
    finally:
        connection.close()


def declare(server: Service, queue: str, **arguments: Any) -> None:
    with channel_of(server) as channel:
        channel.queue_declare(queue, durable=True, arguments=arguments)


def messages(server: Service, queue: str) -> list[tuple[Any, dict[str, Any]]]:
    """What a queue holds, in order: (properties, event); it stays there."""
    found: list[tuple[Any, dict[str, Any]]] = []
    with channel_of(server) as channel:
        while True:
            method, properties, body = channel.basic_get(queue)
            if method is None:
                return found
            found.append((properties, json.loads(body)))


def positions(server: Service, queue: str) -> list[int]:
    return [event["data"]["position"] for _, event in messages(server, queue)]


@pytest.fixture(scope="module")
def own(module_services: Services) -> OwnService:
    """A server for the tests that stop it, with a limit on the size of messages."""
    return module_services.own("rabbitmq", max_message_size="1000000")


@pytest.fixture
def shared(services: Services) -> Service:
    return services("rabbitmq")


@pytest.fixture
def queue() -> str:
    return f"qa-{secrets.token_hex(6)}"


@pytest.fixture
def bound(shared: Service, queue: str) -> Iterator[str]:
    """A queue at the shared server."""
    declare(shared, queue)
    yield queue
    with channel_of(shared) as channel:
        channel.queue_delete(queue)


class TestContract(SinkContract):
    """The contract, at a server that to the sink is gone and comes back; others below really stop and kill it."""

    patience = 30.0

    @pytest.fixture(autouse=True)
    def _server(self, own: OwnService, queue: str, request: pytest.FixtureRequest) -> Iterator[None]:
        self.own, self.queue, self.down, self.wire = own, queue, False, Wire(own.port)
        self.queues = [queue]
        if request.function.__name__ in REFUSING:  # RabbitMQ refuses by queue, so each document has its own
            self.queue = f"{queue}-{{id}}"
            self.queues = [f"{queue}-{doc}" for doc in (*(f"doc-{n}" for n in range(7)), "refused")]
        self.full: list[str] = []
        for each in self.queues:
            declare(own.now, each)
        yield
        self.restore_target()
        self.wire.close()

    def make_sink(self) -> AmqpSink:
        url = self.own.now.url.replace(f":{self.own.port}/", f":{self.wire.port}/")
        return make(replace(self.own.now, port=self.wire.port, url=url), self.queue)

    def received(self) -> Received:
        found = [event for queue in self.queues for _, event in messages(self.own.now, queue)]
        return [(event["id"], event["data"]["position"]) for event in found]

    def break_target(self) -> None:
        self.wire.shut()
        self.down = True

    def restore_target(self) -> None:
        if self.down:
            self.wire.open()
            self.down = False
        self._anew(self.full)
        self.full = []

    def refuse(self, doc_ids: Collection[str]) -> None:
        """Their queues have no room for a single message."""
        self.full = [queue for queue in self.queues if queue.endswith(tuple(f"-{doc_id}" for doc_id in doc_ids))]
        self._anew(self.full, **{"x-max-length": 0, "x-overflow": "reject-publish"})

    def _anew(self, queues: Collection[str], **arguments: Any) -> None:
        for queue in queues:
            with channel_of(self.own.now) as channel:
                channel.queue_delete(queue)
                channel.queue_declare(queue, durable=True, arguments=arguments)


# --- what is written


def test_message(shared: Service, bound: str) -> None:
    """It is persistent, its id is the event's, and its headers are the event's attributes."""
    event = sample_event(doc_id="ä")
    sink = make(shared, bound)
    sink.open()
    assert sink.send([event])[0].ok
    sink.close()
    ((properties, body),) = messages(shared, bound)
    assert (properties.message_id, properties.delivery_mode, properties.type) == (event.id, 2, "esfeed.updated")
    assert (properties.app_id, properties.content_type) == ("esfeed", "application/cloudevents+json")
    assert properties.headers == {
        "ce-specversion": "1.0",
        "ce-id": event.id,
        "ce-source": "esfeed://main/servers",
        "ce-type": "esfeed.updated",
        "ce-subject": "OS::Nova::Server/ä",
        "ce-time": event.time,
    }
    assert body["id"] == event.id
    message = RabbitMQMessage(properties.headers, properties.content_type, json.dumps(body).encode())
    assert from_rabbitmq_event(message).get_id() == event.id, "to CloudEvents' own SDK it is another event"


def test_exchange_and_routing_key(shared: Service, bound: str) -> None:
    """A template makes the routing key; what no queue is bound for is rejected with its key, unless ``mandatory`` is
    off; what has no key, or too long a one, is rejected.
    """
    exchange = f"{bound}-exchange"
    with channel_of(shared) as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_bind(bound, exchange, "servers.*.eu")
    events = [
        sample_event(position=1, doc_id="a", after={"zone": "eu"}),
        sample_event(position=2, doc_id="b", after={"zone": "us"}),
        sample_event(position=3, doc_id="c", after={"x": 1}),
        sample_event(position=4, doc_id="d", after={"zone": "ä" * 130}),
        sample_event(position=5, doc_id="e", op="deleted", before={"zone": "eu"}),
    ]
    sink = make(shared, "{watch}.{op}.{zone}", exchange=exchange)
    sink.open()
    outcomes = sink.send(events)
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "rejected", "rejected", "rejected", "ok"]
    assert "no queue is bound to exchange" in outcomes[1].reason
    assert "'servers.updated.us'" in outcomes[1].reason
    assert "{zone} is missing" in outcomes[2].reason
    assert "longer than the 255 bytes" in outcomes[3].reason
    lax = make(shared, "{watch}.{op}.{zone}", exchange=exchange, mandatory=False)
    lax.open()
    assert lax.send([events[1]])[0].ok
    lax.close()
    assert positions(shared, bound) == [1, 5]
    with channel_of(shared) as channel:
        channel.exchange_delete(exchange)


def test_exchange_that_is_not_there(shared: Service, queue: str) -> None:
    """It may be declared later, and the error says so."""
    with pytest.raises(Retryable, match=r"no exchange 'none'.*: declare the exchange"):
        make(shared, queue, exchange="none").open()


def test_exchange_that_goes(shared: Service, bound: str) -> None:
    """An exchange deleted meanwhile is the target's fault; once it is there again, all goes on."""
    exchange = f"{bound}-goes"

    def lay() -> None:
        with channel_of(shared) as channel:
            channel.exchange_declare(exchange, "fanout")
            channel.queue_bind(bound, exchange)

    lay()
    sink = make(shared, "x", exchange=exchange)
    sink.open()
    with channel_of(shared) as channel:
        channel.exchange_delete(exchange)
    outcomes = sink.send([sample_event(position=1), sample_event(position=2, doc_id="b")])
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [("retry", True), ("retry", False)]
    assert "declare the exchange" in outcomes[0].reason
    lay()
    assert all(outcome.ok for outcome in sink.send([sample_event(position=1), sample_event(position=2, doc_id="b")]))
    sink.close()
    with channel_of(shared) as channel:
        channel.exchange_delete(exchange)


# --- size, full queues


def test_too_large_for_the_server(own: OwnService, queue: str) -> None:
    """The server closes the channel over one message: that one is rejected, the others around it arrive, once."""
    declare(own.now, queue)
    sink = make(own.now, queue)
    sink.open()
    big = sample_event(position=3, doc_id="big", after={"x": "y" * 1_100_000})
    events = [sample_event(position=n, doc_id=str(n)) for n in (1, 2, 4, 5)]
    outcomes = sink.send([*events[:2], big, *events[2:]])
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "rejected", "ok", "ok"]
    assert "larger than configured max size" in outcomes[2].reason
    assert sink.send([sample_event(position=6)])[0].ok
    sink.close()
    assert sorted(set(positions(own.now, queue))) == [1, 2, 4, 5, 6]


def test_full_queue_holds_the_document(shared: Service, queue: str) -> None:
    """A queue that takes no more refuses, and later events of the document wait until there is room."""
    declare(shared, queue, **{"x-max-length": 2, "x-overflow": "reject-publish"})
    sink = make(shared, queue)
    sink.open()
    events = [sample_event(position=n) for n in range(1, 5)]
    outcomes = sink.send(events)
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [
        ("ok", True),
        ("ok", True),
        ("retry", True),
        ("retry", False),
    ]
    assert "a queue is full" in outcomes[2].reason
    with channel_of(shared) as channel:
        channel.queue_purge(queue)
    assert all(outcome.ok for outcome in sink.send(events[2:]))
    sink.close()
    assert positions(shared, queue) == [3, 4]


# --- faults


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_restart_in_the_middle(own: OwnService, queue: str, how: str) -> None:
    """A server that goes while batches are under way: nothing is lost, and each document keeps its order."""
    declare(own.now, queue)
    if how == "kill":
        # RabbitMQ itself forgets a queue, and all that it confirmed in it, where that comes soon after its declaration.
        own.restart()

    def disturb() -> None:
        own.stop() if how == "restart" else own.kill()
        own.start()

    sent = send_through(make(own.now, queue, timeout=5), disturb)
    assert first_seen(event for _, event in messages(own.now, queue)) == expected(sent)


def test_hang(own: OwnService, queue: str) -> None:
    """A server that takes connections and answers nothing holds a sink no longer than ``timeout``."""
    declare(own.now, queue)
    sink = make(own.now, queue, timeout=2)
    sink.open()
    assert sink.send([sample_event(position=1)])[0].ok
    own.pause()
    try:
        started = time.monotonic()
        outcomes = sink.send(
            [sample_event(position=2), sample_event(position=3), sample_event(position=4, doc_id="other")]
        )
        took = time.monotonic() - started
        started = time.monotonic()
        with pytest.raises(Retryable, match=r"no answer in time|timed out"):
            make(own.now, queue, timeout=2).open()
        opening = time.monotonic() - started
    finally:
        own.resume()
    assert took < 3.5
    assert opening < 3.5
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [
        ("retry", True),
        ("retry", False),
        ("retry", False),
    ]
    assert "no confirmation in time" in outcomes[0].reason
    assert all(outcome.ok for outcome in sink.send([sample_event(position=2), sample_event(position=3)]))
    sink.close()
    found = [n for n in positions(own.now, queue) if n != 4]
    assert list(dict.fromkeys(found)) == [1, 2, 3]


def test_alarm(services: Services, queue: str) -> None:
    """A server that blocks publishers (no memory, no disk) is told as such, within ``timeout``."""
    own = services.own("rabbitmq", vm_memory_high_watermark__absolute="1MB")
    connection = pika.BlockingConnection(pika.URLParameters(own.now.url))
    connection.channel().queue_declare(queue, durable=True)
    sink = make(own.now, queue, timeout=2)
    sink.open()
    sink.send([sample_event(position=1)])  # it still takes the message over which it notices the publisher
    started = time.monotonic()
    (outcome,) = sink.send([sample_event(position=2)])
    assert time.monotonic() - started < 3.5
    assert outcome.kind == "retry"
    assert "the server takes no messages now (low on memory)" in outcome.reason
    sink.close()


def test_idle_connection_that_the_server_closed(shared: Service, bound: str) -> None:
    """Heartbeats are sent only during a batch; a connection that the server closed for it is opened again unseen."""
    sink = make(shared, bound, heartbeat=1)
    sink.open()
    assert sink.send([sample_event(position=1)])[0].ok
    link = sink._link
    time.sleep(4)
    assert sink.send([sample_event(position=2), sample_event(position=3)])[-1].ok
    assert sink._link is not link, "the server closed no connection, so this test proves nothing"
    sink.close()
    assert positions(shared, bound) == [1, 2, 3]


# --- login, TLS


def test_tls(shared: Service, bound: str) -> None:
    """With the right authority all is well; with the system's the error says why."""
    good = make(shared, bound, url=shared.tls_url, ca_certs=shared.ca_certs)
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    lax = make(shared, bound, url=shared.tls_url, verify_certs=False)
    lax.open()
    lax.close()
    with pytest.raises(Retryable, match=r"(?i)certificate"):
        make(shared, bound, url=shared.tls_url).open()
    with pytest.raises(ConfigError, match=r"ca_certs = '/none'"):
        make(shared, bound, url=shared.tls_url, ca_certs="/none").open()


def test_login(shared: Service, bound: str) -> None:
    """A wrong password is an error of the key ``password`` and not shown; an unknown vhost is one of ``url``."""
    url = f"amqp://127.0.0.1:{shared.port}"
    good = make(shared, bound, url=url, user=shared.username, password=shared.password)
    good.open()
    good.close()
    with pytest.raises(ConfigError, match="password: the server refuses user and password") as caught:
        make(shared, bound, url=url, user=shared.username, password="hunter2").open()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"url = 'amqp://127.0.0.1:\d+': the server refuses the vhost 'none'"):
        make(shared, bound, url=f"{url}/none", user=shared.username, password=shared.password).open()


def test_nobody_there(queue: str) -> None:
    """A server that is not there may come: ``Retryable``, which names it and why."""
    sink = AmqpSink(AmqpSettings.model_validate({"url": "amqp://u:hunter2@127.0.0.1:1", "routing_key": queue}))
    with pytest.raises(Retryable, match=r"amqp://127.0.0.1:1: .*refused") as caught:
        sink.open()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"url": "http://x"}, "begins with amqp:// or amqps://"),
        ({"url": "amqp://u:hunter2@x", "password": "other"}, "in both url and password"),
        ({"url": f"amqp://x/{'v' * 256}"}, "vhost of up to 255 bytes"),
        ({"exchange": "e" * 256}, "at most 255 characters"),
        ({"routing_key": "{"}, "is alone"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], words: str) -> None:
    """Loading finds them, and shows no password."""
    with pytest.raises(ValidationError, match=words) as caught:
        AmqpSettings.model_validate({"url": "amqp://x", "routing_key": "k", **keys})
    assert "hunter2" not in str(caught.value)
