"""Real targets of a feed, to be read back whole: the lines of a sink's settings, and what has come to it."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support import zaqar
from tests.support.hook import Hook

Told = dict[str, Any]


class Target(Protocol):
    """``settings`` are the keys of its sink; ``merged``: it gets one event of many."""

    name: str
    merged: bool
    settings: dict[str, Any]

    def open(self) -> AbstractContextManager[object]:
        """Entered before the feed starts; on leaving, nothing of it is left anywhere."""

    def heal(self) -> None:
        """From now on it takes everything."""

    def events(self) -> Sequence[Told]:
        """All that it has, each document's in the order in which it came."""


class FileTarget:
    """A file of JSON lines."""

    def __init__(self, path: Path, name: str = "file", coalesce: str = "") -> None:
        self.name = name
        self.merged = bool(coalesce)
        self.settings = {"type": "file", "path": str(path), **({"coalesce": coalesce} if coalesce else {})}
        self._path = path

    def open(self) -> AbstractContextManager[object]:
        return nullcontext()

    def heal(self) -> None:
        pass

    def events(self) -> Sequence[Told]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]


class HookTarget:
    """A webhook in this process. Every event of the documents ``stubborn`` it refuses once or twice, by 500."""

    name = "webhook"
    merged = False

    def __init__(self, seed: int, stubborn: Sequence[str] = ()) -> None:
        self._rng = random.Random(seed)
        self._stubborn = frozenset(stubborn)
        self._refused: Counter[str] = Counter()
        self._hook = Hook(self._word)
        self.settings: dict[str, Any] = {"type": "webhook", "url": self._hook.url, "allow_private": True}
        self._lock = threading.Lock()

    def open(self) -> AbstractContextManager[object]:
        return self._hook

    def _word(self, event: Told) -> int | None:
        if event["data"]["id"] not in self._stubborn:
            return None
        with self._lock:
            most = 1 + self._rng.randrange(2)
            if self._refused[event["id"]] >= most:
                return None
            self._refused[event["id"]] += 1
            return 500

    def heal(self) -> None:
        self._stubborn = frozenset()

    def events(self) -> Sequence[Told]:
        with self._hook.lock:
            return list(self._hook.got)


class KafkaTarget:
    """A topic of its own at a real broker."""

    name = "kafka"
    merged = False

    def __init__(self, hosts: str) -> None:
        self._hosts = hosts
        self._topic = f"qa-kills-{secrets.token_hex(6)}"
        self.settings: dict[str, Any] = {"type": "kafka", "hosts": hosts.split(","), "topic": self._topic}

    def open(self) -> AbstractContextManager[object]:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        admin = AdminClient({"bootstrap.servers": self._hosts})
        for gone in admin.delete_topics([self._topic]).values():
            gone.result(20)

    def heal(self) -> None:
        pass

    def events(self) -> Sequence[Told]:
        return [json.loads(record.value()) for record in records(self._hosts, self._topic)]


class ZaqarTarget:
    """A queue in a project of its own at a real Zaqar without keystone."""

    name = "zaqar"
    merged = False

    def __init__(self, url: str) -> None:
        self._url, self._project = url, secrets.token_hex(16)
        self.settings = {"type": "zaqar", "url": url, "auth": "noauth", "project": self._project, "queue": "changes"}

    def open(self) -> AbstractContextManager[object]:
        return nullcontext()  # it goes with its server

    def heal(self) -> None:
        pass

    def events(self) -> Sequence[Told]:
        return zaqar.Consumer(self._url, self._project).messages("changes")


def records(hosts: str, *topics: str) -> list[Any]:
    """All records of some topics, partition by partition; none of a topic that is not there.

    A broker that has just started, or was stopped, answers before it leads its partitions. What a consumer heard then
    it may keep, so each attempt has one of its own.
    """
    end = time.monotonic() + 60
    while True:
        try:
            return _records(hosts, topics)
        except confluent_kafka.KafkaException:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _records(hosts: str, topics: Sequence[str]) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": hosts, "group.id": "qa", "enable.auto.commit": False})
    try:
        known = consumer.list_topics(timeout=20).topics
        found = []
        for topic, number in [(name, each) for name in topics if name in known for each in known[name].partitions]:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)
            if low < high:
                consumer.assign([TopicPartition(topic, number, low)])
            while low < high:
                message = consumer.poll(5)
                assert message is not None, f"no record {low} of {high} in {topic}/{number}"
                assert message.error() is None, message.error()
                found.append(message)
                low = message.offset() + 1
        return found
    finally:
        consumer.close()
