"""The MQTT sink, against a real mosquitto."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import Outcome
from esfeed.sinks.mqtt.settings import MqttSettings
from esfeed.sinks.mqtt.sink import MqttSink, legal_topic
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import REFUSING, SinkContract
from tests.sinks.servers import Server, kill_amid

ALL_MAY = "pattern readwrite #\n"


@pytest.fixture(scope="module")
def rules() -> Iterator[Path]:
    """Who may write what, in mosquitto's words; it runs as another user, so all may read it."""
    with tempfile.TemporaryDirectory(prefix="esfeed-mqtt-") as folder:
        Path(folder).chmod(0o755)
        rules = Path(folder, "acl")
        rules.write_text(ALL_MAY)
        rules.chmod(0o644)
        yield rules


@pytest.fixture(scope="module")
def server(rules: Path) -> Iterator[Server]:
    settings = {"max_packet_size": "600000", "set_tcp_nodelay": "true", "acl_file": str(rules)}
    server = Server("mosquitto", settings)
    yield server
    server.close()


class Subscriber:
    """Subscribed to all topics in a session that the broker keeps, so that it misses nothing while it is away."""

    def __init__(self, server: Server, topics: str = "#") -> None:
        self.messages: list[paho.MQTTMessage] = []
        self.ready = threading.Event()
        self._filter = topics
        self.client = paho.Client(CallbackAPIVersion.VERSION2, f"test-{time.monotonic_ns()}", protocol=paho.MQTTv5)
        self.client.username_pw_set(server.username, server.password)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe(topics, 1)  # type: ignore[assignment,return-value]
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _, __, message: self.messages.append(message)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        self.client.connect("127.0.0.1", server.port, properties=properties)
        self.client.loop_start()
        assert self.ready.wait(10)

    def wait(self, count: int, seconds: float = 10) -> list[paho.MQTTMessage]:
        end = time.monotonic() + seconds
        while len(self.messages) < count:
            assert time.monotonic() < end, f"{len(self.messages)} of {count} messages"
            time.sleep(0.01)
        return self.messages

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def subscriber(server: Server) -> Iterator[Subscriber]:
    subscriber = Subscriber(server)
    yield subscriber
    for topic in {message.topic for message in subscriber.messages}:
        subscriber.client.publish(topic, b"", 1, retain=True)
    subscriber.close()


def make(server: Server, **keys: Any) -> MqttSink:
    keys = {"url": f"mqtt://127.0.0.1:{server.port}", "topic": "esfeed/{watch}"} | keys
    if "user" not in keys and "@" not in keys["url"]:
        keys |= {"user": server.username, "password": server.password}
    return MqttSink(MqttSettings.model_validate(keys))


def some(*numbers: int, **keys: Any) -> list[Event]:
    return [sample_event(position=n, doc_id=f"doc-{n}", **keys) for n in numbers]


def kinds(outcomes: Any) -> list[tuple[str, bool]]:
    return [(outcome.kind, outcome.tried) for outcome in outcomes]


def seen(messages: list[paho.MQTTMessage]) -> list[tuple[str, int]]:
    events = [json.loads(message.payload) for message in messages if message.payload]
    return [(event["id"], event["data"]["position"]) for event in events]


class _MqttContract(SinkContract):
    patience = 20.0

    @pytest.fixture(autouse=True)
    def _target(
        self, server: Server, subscriber: Subscriber, rules: Path, request: pytest.FixtureRequest
    ) -> Iterator[None]:
        self.server, self.subscriber, self.rules = server, subscriber, rules
        self.refusing = False
        # A broker refuses by topic, so each document has its own.
        self.topic = "esfeed/{id}" if request.function.__name__ in REFUSING else "esfeed/{watch}"
        yield
        self._allow_all()

    def received(self) -> list[tuple[str, int]]:
        return seen(self.subscriber.messages)

    def refuse(self, doc_ids: Collection[str]) -> None:
        """Nobody may write to their topics."""
        self.refusing = True
        self._rule("".join(f"pattern deny esfeed/{doc_id}\n" for doc_id in doc_ids) + ALL_MAY)

    def _allow_all(self) -> None:
        if self.refusing:
            self._rule(ALL_MAY)
            self.refusing = False

    def _rule(self, text: str) -> None:
        self.rules.write_text(text)
        os.kill(self.server.pid, signal.SIGHUP)
        time.sleep(0.3)  # it reads them in its own time, and tells nobody


class TestKilled(_MqttContract):
    """The contract, with a broker that is killed and started again."""

    def make_sink(self) -> MqttSink:
        return make(self.server, topic=self.topic, timeout="5s")

    def break_target(self) -> None:
        time.sleep(0.3)  # mosquitto acknowledges before it passes on, and writes to its disk only now and then
        self.subscriber.ready.clear()
        self.server.kill()

    def restore_target(self) -> None:
        if self.refusing:
            self._allow_all()
            return
        self.server.start()
        assert self.subscriber.ready.wait(20)  # what comes before it is there again would be for nobody


class TestHanging(_MqttContract):
    """The contract, with a broker that is stopped (SIGSTOP) for a while."""

    def make_sink(self) -> MqttSink:
        return make(self.server, topic=self.topic, timeout="1500ms")

    def break_target(self) -> None:
        self._frozen = self.server.frozen()
        self._frozen.__enter__()

    def restore_target(self) -> None:
        if self.refusing:
            self._allow_all()
            return
        self._frozen.__exit__(None, None, None)


# --- messages


def test_message(server: Server, subscriber: Subscriber) -> None:
    """A message is a CloudEvent in structured mode, with its attributes as properties for who does not parse."""
    event = sample_event(position=7, doc_id="a\0b", op="deleted")
    sink = make(server, topic="t/{type}/{op}")
    sink.open()
    assert kinds(sink.send([event])) == [("ok", True)]
    (message,) = subscriber.wait(1)
    assert (message.topic, message.qos, message.retain) == ("t/OS::Nova::Server/deleted", 1, False)
    properties: Any = message.properties
    assert properties.ContentType == "application/cloudevents+json"
    assert dict(properties.UserProperty) == {
        "specversion": "1.0",
        "id": event.id,
        "source": "esfeed://main/servers",
        "type": "esfeed.deleted",
        "subject": "OS::Nova::Server/a%00b",
        "time": event.time,
    }
    assert json.loads(message.payload)["data"]["id"] == "a\0b"
    sink.close()


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("a/b c", "a/b c"),
        ("a+b#c%d", "a%2Bb%23c%25d"),
        ("$SYS/x", "%24SYS/x"),
        ("a$b", "a$b"),
        ("nul\0\n\x85", "nul%00%0A%C2%85"),
        ("\ufffe", "%EF%BF%BE"),
        ("日本", "日本"),
    ],
)
def test_topics_are_made_legal(server: Server, subscriber: Subscriber, text: str, topic: str) -> None:
    """What a topic may not hold is written as %XX, and the broker takes it."""
    assert legal_topic(text) == topic
    sink = make(server, topic="{id}")
    sink.open()
    assert kinds(sink.send([sample_event(doc_id=text)])) == [("ok", True)]
    assert subscriber.wait(1)[0].topic == topic
    sink.close()


def test_retained_last_state(server: Server, subscriber: Subscriber) -> None:
    """With ``retain`` a later subscriber gets the last event of each topic; a deleted document leaves nothing."""
    sink = make(server, topic="keep/{id}", retain=True, clear_deleted=True)
    sink.open()
    a = [sample_event(position=n, doc_id="a", op=op) for n, op in ((1, "created"), (2, "updated"))]  # type: ignore[arg-type]
    b = [sample_event(position=n, doc_id="b", op=op) for n, op in ((3, "created"), (4, "deleted"))]  # type: ignore[arg-type]
    assert kinds(sink.send([*a, *b])) == [("ok", True)] * 4
    assert [bool(m.payload) for m in subscriber.wait(5) if m.topic == "keep/b"] == [True, True, False]
    late = Subscriber(server, "keep/#")
    late.wait(1)
    time.sleep(0.2)
    assert [(m.topic, m.retain) for m in late.messages] == [("keep/a", True)]
    assert seen(late.messages) == [(a[1].id, 2)]
    late.close()
    sink.close()


# --- limits and faults


def test_too_large(server: Server, subscriber: Subscriber) -> None:
    """A message beyond the broker's Maximum Packet Size is rejected by size; one of just that size is taken."""
    sink = make(server)
    sink.open()
    empty = sink._messages(sample_event(position=2, after={"x": ""}), 1 << 30)
    room = 600_000 - empty[0].size  # type: ignore[index]  # it is no outcome
    outcomes = sink.send(
        [
            sample_event(position=1, doc_id="6c41f0ab", after={"x": "y" * (room + 1)}),
            sample_event(position=2, after={"x": "y" * room}),
        ]
    )
    assert kinds(outcomes) == [("rejected", True), ("ok", True)]
    assert "the message has 600001 bytes; the limit of the broker is 600000" in outcomes[0].reason
    assert seen(subscriber.wait(1))[0][1] == 2
    sink.close()


def test_topic_of_a_field_that_is_not_there(server: Server, subscriber: Subscriber) -> None:
    """An event that the topic has no text for is rejected alone."""
    sink = make(server, topic="t/{doc.p}")
    sink.open()
    outcomes = sink.send([*some(1), *some(2, after={"p": "x"})])
    assert kinds(outcomes) == [("rejected", True), ("ok", True)]
    assert "{doc.p} is missing" in outcomes[0].reason or "{p} is not there" in outcomes[0].reason
    sink.close()


def test_killed_in_the_middle_of_batches(server: Server) -> None:
    """kill -9 of the broker under a stream of batches: unacknowledged events are ``retry``, in the document's order."""
    sink = make(server, timeout="5s")
    sink.open()

    def event(n: int) -> Event:
        return sample_event(position=n, doc_id=f"doc-{n % 7}", after={"x": "y" * 2000})

    def look(events: Sequence[Event], outcomes: Sequence[Outcome]) -> None:
        stuck: set[str] = set()
        for event, outcome in zip(events, outcomes, strict=True):
            assert not (outcome.ok and event.doc_id in stuck), "taken after a retry of the same document"
            stuck |= set() if outcome.ok else {event.doc_id}

    assert kill_amid(sink, event, server.kill, server.start, look)
    sink.close()


@pytest.mark.parametrize("size", [10, 500_000])
def test_hang(server: Server, size: int) -> None:
    """A broker that hangs is left after ``timeout``, before the connection or within it, whatever is under way."""
    sink = make(server, timeout="500ms")
    sink.open()
    with server.frozen():
        for _ in range(2):
            begin = time.monotonic()
            outcomes = sink.send(some(*range(1, 30), after={"x": "y" * size}))
            assert time.monotonic() - begin < 2
            assert kinds(outcomes) == [("retry", True), *[("retry", False)] * 28]
            assert "no answer within 0.5 s" in outcomes[0].reason
        begin = time.monotonic()
        with pytest.raises(Retryable, match=r"no answer within 0\.5 s"):
            sink.open()
        sink.close()
        assert time.monotonic() - begin < 3
    sink.open()
    assert sink.send(some(3))[0].ok
    sink.close()


def test_idle_connection_is_kept(server: Server) -> None:
    """A connection that the broker ended meanwhile is noticed, and made anew without a fault."""
    sink = make(server, client_id="one")
    sink.open()
    assert sink.send(some(1))[0].ok
    other = make(server, client_id="one")  # takes over the session: the broker ends the first
    other.open()
    assert sink._link is not None
    end = time.monotonic() + 5
    while not sink._link.lost:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert sink.send(some(2))[0].ok
    sink.close()
    other.close()


def test_nobody_there() -> None:
    """Where nobody listens, that is told with the address and without the password."""
    settings = {"url": "mqtt://u:s3cret@127.0.0.1:1", "topic": "t"}
    with pytest.raises(Retryable, match=r"mqtt://127\.0\.0\.1:1: .*refused") as caught:
        MqttSink(MqttSettings.model_validate(settings)).open()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"user": "esfeed", "password": "wr0ng"}, "password"),
        ({"user": "nobody", "password": "wr0ng"}, "password"),
        ({"url": "mqtt://esfeed:wr0ng@127.0.0.1:{port}"}, "url"),
    ],
)
def test_wrong_credentials(server: Server, keys: dict[str, str], key: str) -> None:
    """Refused credentials are an error of the key that holds them, and are not shown."""
    keys = {name: value.replace("{port}", str(server.port)) for name, value in keys.items()}
    with pytest.raises(ConfigError, match="does not accept it") as caught:
        make(server, **keys).open()
    assert caught.value.key == key
    assert "wr0ng" not in str(caught.value)


def test_topic_that_the_user_may_not_write() -> None:
    """A PUBACK that says no is read: that document waits, with the hint, and others are not harmed."""
    with tempfile.NamedTemporaryFile("w", dir="/var/tmp", prefix="esfeed-acl-") as acl:
        acl.write("user esfeed\ntopic write yes/#\n")
        acl.flush()
        os.chmod(acl.name, 0o644)  # the broker runs as somebody else
        server = Server("mosquitto", {"acl_file": acl.name})
    try:
        sink = make(server, topic="{watch}/x")
        sink.open()
        outcomes = sink.send(
            [sample_event(watch="yes"), sample_event(watch="no"), sample_event(watch="no", position=2)]
        )
        assert kinds(outcomes) == [("ok", True), ("retry", True), ("retry", False)]
        assert "Not authorized: allow this user to publish" in outcomes[1].reason
        sink.close()
    finally:
        server.close()


def test_tls(server: Server) -> None:
    """With mqtts:// the broker must be one that ``ca_certs`` vouches for."""
    keys = {"url": f"mqtts://127.0.0.1:{server.tls_port}", "user": server.username, "password": server.password}
    own = {"ca_certs": server.ca_certs, "client_cert": server.client_cert, "client_key": server.client_key}
    for more in ({"ca_certs": server.ca_certs}, own, {"verify_certs": False}):
        sink = make(server, **keys, **more)
        sink.open()
        assert sink.send(some(1))[0].ok
        sink.close()
    with pytest.raises(Retryable, match="certificate"):
        make(server, **keys).open()
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        make(server, **keys, ca_certs="/nowhere.pem").open()
    assert caught.value.key == "ca_certs"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": "http://u:s3cret@h"}, "begins with mqtt://"),
        ({"url": "mqtt://u:s3cret@h/t"}, "topic has its own key"),
        ({"topic": "a{"}, "is alone"),
        ({"clear_deleted": True}, "set retain = true"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read, without showing what may be secret."""
    with pytest.raises(ValidationError, match=message) as caught:
        MqttSettings.model_validate({"url": "mqtt://h", "topic": "t"} | keys)
    assert "s3cret" not in str(caught.value)
