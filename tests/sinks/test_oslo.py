"""The oslo sink, on a real RabbitMQ; what it sends is read as a service reads it, by oslo.messaging's listener."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg
from pydantic import ValidationError

from esfeed.errors import ConfigError
from esfeed.ports import Sink
from esfeed.routing.template import Template
from esfeed.sinks.oslo.sink import OsloSettings, OsloSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import Received, SinkContract
from tests.support.freezing import freeze, thaw
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def rabbit() -> Iterator[Stack]:
    """A RabbitMQ for this worker alone: tests end and start it."""
    stack = Stack(f"oslo-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}").up("rabbitmq")
    yield stack
    stack.down()


class Service:
    """A service that listens to a topic, as OpenStack's do: an endpoint with a method by level."""

    def __init__(self, url: str, topic: str, durable: bool = False) -> None:
        self.heard: list[tuple[str, str, Any, dict[str, Any]]] = []
        conf = cfg.ConfigOpts()
        conf([], project="service", default_config_files=[], default_config_dirs=[])
        transport = oslo_messaging.get_notification_transport(conf, url=url)
        conf.set_override("amqp_durable_queues", durable, group="oslo_messaging_rabbit")
        target = oslo_messaging.Target(topic=topic, exchange="durable" if durable else "esfeed")
        self._listener = oslo_messaging.get_notification_listener(transport, [target], [self], executor="threading")
        self._listener.start()

    def info(self, context: Any, publisher: str, event_type: str, payload: Any, metadata: dict[str, Any]) -> None:
        """Called for each notification of that level."""
        self.heard.append((publisher, event_type, payload, metadata))

    def stop(self) -> None:
        """Ends the listener."""
        self._listener.stop()
        self._listener.wait()


def make(stack: Stack, topic: str, **keys: Any) -> OsloSink:
    """A sink of that topic."""
    keys = {"url": stack.record["rabbitmq"], "topic": topic, "timeout": "5s", **keys}
    return OsloSink(OsloSettings(**keys))


class TestContract(SinkContract):
    """The contract; broken is: RabbitMQ ended (and not killed, as its queues are in memory until then)."""

    cannot_refuse = "RabbitMQ refuses by queue, and all events go to that of one topic here"
    patience = 60.0

    @pytest.fixture(autouse=True)
    def _target(self, rabbit: Stack) -> Iterator[None]:
        self.stack, self.topic = rabbit, f"t-{secrets.token_hex(6)}"
        self.service: Service | None = None
        yield
        if self.service:
            threading.Thread(target=self.service.stop, daemon=True).start()

    def make_sink(self) -> Sink:
        return make(self.stack, self.topic, durable=True, exchange="durable", timeout="2s")

    def received(self) -> Received:
        self.service = self.service or Service(self.stack.record["rabbitmq"], self.topic, durable=True)
        time.sleep(0.2)
        return [(payload["id"], payload["data"]["position"]) for _, _, payload, _ in list(self.service.heard)]

    def break_target(self) -> None:
        self.stack.down("rabbitmq")

    def restore_target(self) -> None:
        self.stack.up("rabbitmq")


def test_heard_as_a_notification(rabbit: Stack) -> None:
    """Publisher, event type, payload and id are where a service looks for them; each tenant may have its topic."""
    topic = f"t-{secrets.token_hex(6)}"
    sink = make(rabbit, topic + "-{project_id}", publisher_id="esfeed.cloud")
    event = sample_event(op="created", after={"project_id": "p1", "n": 2**60}, before={})
    service = Service(rabbit.record["rabbitmq"], f"{topic}-p1")
    assert [outcome.kind for outcome in sink.send([event, sample_event()])] == ["ok", "rejected"]
    end = time.monotonic() + 10
    while not service.heard and time.monotonic() < end:
        time.sleep(0.02)
    ((publisher, event_type, payload, metadata),) = service.heard
    assert (publisher, event_type) == ("esfeed.cloud", "esfeed.created")
    assert payload["data"]["after"] == {"project_id": "p1", "n": 2**60}
    assert metadata["message_id"] == event.id
    service.stop()
    sink.close()


def test_a_broker_that_hangs_is_not_waited_for(rabbit: Stack) -> None:
    """Stopped, it confirms nothing: the sink comes back in time, and sends all when it goes on."""
    sink = make(rabbit, f"t-{secrets.token_hex(6)}", timeout="1s")
    events = [sample_event(position=n, doc_id=str(n)) for n in range(3)]
    assert all(outcome.ok for outcome in sink.send(events))
    pid = rabbit.record["processes"]["rabbitmq"]["pid"]
    freeze(pid)
    try:
        began = time.monotonic()
        outcomes = sink.send(events)
        sink.close()
        assert time.monotonic() - began < 4
    finally:
        thaw(pid)
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [("retry", True), *[("retry", False)] * 2]
    end = time.monotonic() + 30
    while not all(outcome.ok for outcome in sink.send(events)):
        assert time.monotonic() < end
    sink.close()


def test_nobody_there_and_wrong_password(rabbit: Stack) -> None:
    """Both are retries that say why, without the password."""
    port = rabbit.record["ports"]["rabbitmq"]
    for url in ("rabbit://u:hunter2@127.0.0.1:9/", f"rabbit://u:hunter2@127.0.0.1:{port}/"):
        sink = make(rabbit, "t", url=url, timeout="3s")
        outcomes = sink.send([sample_event(), sample_event(position=2, doc_id="o")])
        assert [outcome.tried for outcome in outcomes] == [True, False]
        assert outcomes[0].kind == "retry"
        assert "hunter2" not in outcomes[0].reason
        sink.close()


def test_settings() -> None:
    """The url's secret is in no word; a transport that there is none of is told."""
    with pytest.raises(ValidationError, match="transport url") as told:
        OsloSettings.model_validate({"url": "hunter2"})
    assert "hunter2" not in str(told.value)
    with pytest.raises(ConfigError, match="not a usable transport url"):
        OsloSink(OsloSettings.model_validate({"url": "pigeon://u:hunter2@h/"})).open()
    assert isinstance(OsloSettings.model_validate({"url": "rabbit://h/"}).topic, Template)
