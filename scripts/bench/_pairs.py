"""Each target twice, for ``delivery.py``: esfeed's sink, and the same library driven bare by messages made beforehand.

A bare client does what a careful program would: it sends a hundred messages, waits until the target has confirmed them
all, and sends the next hundred; each message is what the sink would send, byte for byte where the library takes bytes.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import nats
import paho.mqtt.client as paho
import pika
import psycopg
import redis
import urllib3
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from nats.js.api import StreamConfig
from paho.mqtt.enums import CallbackAPIVersion
from zaqarclient.queues import client as zaqarclient

from esfeed.config import plugins
from esfeed.envelopes import envelope
from esfeed.model.event import Event
from esfeed.sinks.elasticsearch import bulk
from esfeed.sinks.kafka.sink import key_of
from esfeed.sinks.mqtt.sink import properties
from esfeed.sinks.nats.settings import NatsSettings
from esfeed.sinks.nats.sink import NatsSink
from esfeed.sinks.postgresql.settings import PostgresqlSettings
from esfeed.sinks.postgresql.sql import parameters, statements
from tests.support import engines, services
from tests.support.stack import Stack

BATCH = 100
Run = Callable[[], None]
Prepare = Callable[[Sequence[Event]], Run]
_Thing = TypeVar("_Thing")
_encode = envelope("cloudevents").encode


class Pair(NamedTuple):
    """``bare`` and ``sink`` take events and give what is to be timed."""

    library: str
    bare: Prepare
    sink: Prepare


def batches(things: Sequence[_Thing]) -> list[Sequence[_Thing]]:
    """Things, a hundred at a time."""
    return [things[start : start + BATCH] for start in range(0, len(things), BATCH)]


def _sink(stack: ExitStack, kind: str, **keys: Any) -> Prepare:
    made: Any = plugins.sink_class(kind)
    sink = made(made.Settings.model_validate({"type": kind, **keys}))
    stack.callback(sink.close)
    sink.open()

    def prepare(events: Sequence[Event]) -> Run:
        def run() -> None:
            for batch in batches(events):
                bad = [outcome for outcome in sink.send(batch) if not outcome.ok]
                assert not bad, bad[0]

        return run

    return prepare


def _each(send: Callable[[Sequence[Any]], object], made: Callable[[Event], Any]) -> Prepare:
    """A bare client that ``send``s what was ``made`` of events beforehand, batch by batch."""

    def prepare(events: Sequence[Event]) -> Run:
        ready = batches([made(event) for event in events])

        def run() -> None:
            for batch in ready:
                send(batch)

        return run

    return prepare


class _Receiver(asyncio.Protocol):
    """Reads requests with a Content-Length and answers each."""

    def __init__(self) -> None:
        self._data = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._data) < end + 4 + length:
                return
            del self._data[: end + 4 + length]
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def _receive(tell: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Receiver, "127.0.0.1", 0)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def webhook(**keys: Any) -> Iterator[Pair]:
    """A receiver in a process of its own that answers 204; one connection, one request after the other."""
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=_receive, args=(theirs,), daemon=True)
    receiver.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    pool = urllib3.connectionpool.connection_from_url(url, maxsize=1)
    headers = {"content-type": "application/cloudevents+json; charset=utf-8", "user-agent": "bare"}

    def send(bodies: Sequence[bytes]) -> None:
        for body in bodies:
            assert pool.request("POST", "/hook", body=body, headers=headers).status == 204

    with ExitStack() as stack:
        stack.callback(receiver.terminate)
        sink = _sink(stack, "webhook", url=f"{url}/hook", allow_private=True, **keys)
        yield Pair("urllib3", _each(send, _encode), sink)


@contextmanager
def file() -> Iterator[Pair]:
    """Two files in one folder; a batch is there once fsync has returned."""
    with TemporaryDirectory(dir="/var/tmp") as folder, ExitStack() as stack:
        bare = os.open(f"{folder}/bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        stack.callback(os.close, bare)

        def send(lines: Sequence[bytes]) -> None:
            os.write(bare, b"".join(lines))
            os.fsync(bare)

        sink = _sink(stack, "file", path=f"{folder}/sink")
        yield Pair("os.write", _each(send, lambda event: _encode(event) + b"\n"), sink)


@contextmanager
def kafka() -> Iterator[Pair]:
    """A topic each, by an idempotent producer with acks=all."""
    hosts = services.service("kafka").url
    names = [f"bench-{secrets.token_hex(4)}-{which}" for which in ("bare", "sink")]
    producer = Producer({"bootstrap.servers": hosts, "enable.idempotence": True, "acks": "all"})
    faults: list[Any] = []

    def send(records: Sequence[tuple[bytes, bytes]]) -> None:
        for key, value in records:
            producer.produce(names[0], value, key, on_delivery=lambda error, _: faults.append(error) if error else None)
        assert producer.flush(30) == 0
        assert not faults, faults[0]

    with ExitStack() as stack:
        sink = _sink(stack, "kafka", hosts=[hosts], topic=names[1])
        yield Pair("confluent-kafka", _each(send, lambda event: (key_of(event), _encode(event))), sink)
        admin = AdminClient({"bootstrap.servers": hosts})
        for gone in admin.delete_topics(names).values():
            gone.result(20)


@contextmanager
def amqp() -> Iterator[Pair]:
    """A queue each. pika's blocking channel waits for the confirmation of each message before it sends the next."""
    url = services.service("rabbitmq").url
    names = [f"bench-{secrets.token_hex(4)}-{which}" for which in ("bare", "sink")]
    with ExitStack() as stack, closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_declare(name, durable=True)
        channel.confirm_delivery()
        properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)

        def send(bodies: Sequence[bytes]) -> None:
            for body in bodies:
                channel.basic_publish("", names[0], body, properties, mandatory=True)

        yield Pair("pika", _each(send, _encode), _sink(stack, "amqp", url=url, routing_key=names[1]))
        for name in names:
            channel.queue_delete(name)


@contextmanager
def nats_() -> Iterator[Pair]:
    """A stream each; a hundred publishes are awaited together. The bare one sends the sink's own messages."""
    server = services.service("nats")
    names = [f"bench-{secrets.token_hex(4)}-{which}" for which in ("bare", "sink")]
    loop = asyncio.new_event_loop()
    login = {"user": server.username, "password": server.password}
    client = loop.run_until_complete(nats.connect(server.url, **login))
    stream = client.jetstream()
    for name in names:
        loop.run_until_complete(stream.add_stream(StreamConfig(name=name, subjects=[name])))
    keys = {"hosts": [f"127.0.0.1:{server.port}"], "stream": names[1], "subject": names[1], **login}
    maker = NatsSink(NatsSettings.model_validate(keys))

    def made(event: Event) -> tuple[bytes, dict[str, str]]:
        message: Any = maker._message(event)
        return message.payload, dict(message.headers)

    async def publish(messages: Sequence[tuple[bytes, dict[str, str]]]) -> None:
        await asyncio.gather(
            *(stream.publish(names[0], payload, stream=names[0], headers=headers) for payload, headers in messages)
        )

    with ExitStack() as stack:
        sink = _sink(stack, "nats", **keys)
        yield Pair("nats-py", _each(lambda batch: loop.run_until_complete(publish(batch)), made), sink)
    for name in names:
        loop.run_until_complete(stream.delete_stream(name))
    loop.run_until_complete(client.close())
    loop.close()


@contextmanager
def redis_() -> Iterator[Pair]:
    """A stream each; a pipeline of a hundred XADD."""
    server = services.service("redis")
    names = [f"bench-{secrets.token_hex(4)}-{which}" for which in ("bare", "sink")]
    with redis.Redis.from_url(server.url) as client, ExitStack() as stack:

        def send(entries: Sequence[dict[Any, Any]]) -> None:
            pipeline = client.pipeline(transaction=False)
            for entry in entries:
                pipeline.xadd(names[0], entry)
            pipeline.execute()

        def made(event: Event) -> dict[Any, Any]:
            return {"id": event.id, "type": "esfeed.updated", "subject": event.subject, "data": _encode(event)}

        yield Pair("redis-py", _each(send, made), _sink(stack, "redis", url=server.url, stream=names[1]))
        client.delete(*names)


def _undelayed(client: paho.Client, data: Any, sock: Any) -> None:
    """As the sink does it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def mqtt() -> Iterator[Pair]:
    """Topics that nobody subscribes to, at QoS 1; a hundred messages are under way at a time."""
    server = services.service("mosquitto")
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set(server.username, server.password)
    client.max_inflight_messages_set(BATCH)
    client.on_socket_open = _undelayed
    client.connect("127.0.0.1", server.port)
    client.loop_start()

    def send(messages: Sequence[tuple[bytes, Any]]) -> None:
        for told in [client.publish("bench/bare", payload, 1, False, kept) for payload, kept in messages]:
            told.wait_for_publish(30)

    def made(event: Event) -> tuple[bytes, Any]:
        return _encode(event), properties(event, "application/cloudevents+json")

    with ExitStack() as stack:
        url = f"mqtt://127.0.0.1:{server.port}"
        login = {"user": server.username, "password": server.password}
        yield Pair("paho-mqtt", _each(send, made), _sink(stack, "mqtt", url=url, topic="bench/sink", **login))
    client.disconnect()
    client.loop_stop()


@contextmanager
def postgresql() -> Iterator[Pair]:
    """A mirror each; the bare one runs the sink's own statement, a hundred in a pipeline and a transaction."""
    url = services.service("postgresql").url
    names = [f"bench_{secrets.token_hex(4)}_{which}" for which in ("bare", "sink")]
    with psycopg.connect(url, autocommit=True) as connection, ExitStack() as stack:
        settings = PostgresqlSettings.model_validate({"type": "postgresql", "url": url, "table": names[0]})
        run = statements(settings)
        for statement in run.create:
            connection.execute(statement)

        def send(rows: Sequence[dict[str, Any]]) -> None:
            with connection.transaction(), connection.pipeline():
                for row in rows:
                    connection.execute(run.put, row)

        def made(event: Event) -> dict[str, Any]:
            return parameters(event, settings, bytes(event.after or b""), as_text=False)

        yield Pair("psycopg", _each(send, made), _sink(stack, "postgresql", url=url, table=names[1]))
        for name in names:
            connection.execute(f"DROP TABLE {name}, {name}_gone")


@contextmanager
def elasticsearch() -> Iterator[Pair]:
    """An index each, with external versions; the bare one posts ready-made bodies to ``_bulk`` and reads the answer."""
    (engine,) = engines.start(["es9"])
    names = [f"bench-{secrets.token_hex(4)}-{which}" for which in ("bare", "sink")]
    pool = urllib3.connectionpool.connection_from_url(engine.url, maxsize=1)
    headers = {"content-type": "application/x-ndjson"}
    target = bulk.engine(engine.version, False)

    def send(lines: Sequence[bytes]) -> None:
        told = pool.request("POST", "/_bulk", body=b"".join(lines), headers=headers)
        assert not json.loads(told.data)["errors"]

    def made(event: Event) -> bytes:
        line = bulk.mirror(event, names[0], event.doc_id, target, 0, None)
        assert isinstance(line, bytes)
        return line

    body = json.dumps({"settings": {"number_of_shards": 1, "number_of_replicas": 0}})
    for name in names:
        assert pool.request("PUT", f"/{name}", body=body, headers={"content-type": "application/json"}).status == 200
    with ExitStack() as stack:
        sink = _sink(stack, "elasticsearch", hosts=[engine.url], index=names[1], template=False)
        yield Pair("urllib3", _each(send, made), sink)
    for name in names:
        pool.request("DELETE", f"/{name}")


@contextmanager
def zaqar() -> Iterator[Pair]:
    """A queue each of a Zaqar of its own, on Redis; a hundred messages to a post."""
    server = Stack(f"bench-{os.getpid()}").up("zaqar")
    url, project = server.record["zaqar"], secrets.token_hex(16)
    auth = {"backend": "noauth", "options": {"os_project_id": project}}
    queue = zaqarclient.Client(url, version=2, conf={"auth_opts": auth}).queue("bare")
    try:
        with ExitStack() as stack:
            keys = {"url": url, "auth": "noauth", "project": project, "queue": "sink"}

            def made(event: Event) -> dict[str, Any]:
                return {"ttl": 86400, "body": json.loads(_encode(event))}

            yield Pair("python-zaqarclient", _each(queue.post, made), _sink(stack, "zaqar", **keys))
    finally:
        server.down()


PAIRS = {
    "kafka": kafka,
    "amqp": amqp,
    "nats": nats_,
    "redis": redis_,
    "mqtt": mqtt,
    "postgresql": postgresql,
    "elasticsearch": elasticsearch,
    "webhook": webhook,
    "file": file,
    "zaqar": zaqar,
}
"""By name; each is a context, and takes away what it made."""
