"""Events to queues of OpenStack's Zaqar: as many in a request as its size allows, each tenant's in its own queue.

``client`` sends the requests, ``http_status`` interprets the answers. This module decides what goes into which request,
and what an answer to many messages means for each. https://docs.openstack.org/api-ref/message/
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from esfeed.envelopes import envelope
from esfeed.errors import Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry, waits
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.common.http_status import judge
from esfeed.sinks.common.ordering import DocumentKey
from esfeed.sinks.common.ordering import document as document_of
from esfeed.sinks.zaqar.client import Answer, Denied, Unreachable, ZaqarClient
from esfeed.sinks.zaqar.settings import ZaqarSettings, legal
from esfeed.text.jsontext import exact_number, may_be_inexact

_HEAD, _TAIL = b'{"messages":[', b"]}"
_AROUND = len(_HEAD) + len(_TAIL)
_DEEPEST = 100
_LARGEST = (1 << 63) - 1
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_NUMBER = re.compile(rb"[:,\[\s]-?(\d{19,}|\d+(?:\.\d+)?[eE])")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Queue(NamedTuple):
    project: str | None
    name: str


class _Item(NamedTuple):
    number: int
    document: DocumentKey
    message: bytes


class _Run:
    """The state of one batch: the open requests, the outcomes so far, and the documents that wait."""

    def __init__(self, size: int) -> None:
        self.outcomes: list[Outcome] = [OK] * size
        self.open: dict[_Queue, list[_Item]] = {}
        self.size: dict[_Queue, int] = {}
        self.where: dict[DocumentKey, _Queue] = {}
        self.stuck: set[DocumentKey] = set()
        self.down: Outcome | None = None

    def answer(self, item: _Item, outcome: Outcome) -> None:
        self.outcomes[item.number] = outcome
        if outcome.kind == "retry":
            self.stuck.add(item.document)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ZaqarSink:
    """Posts events in the order of each document; a queue that refuses messages does not affect other queues.

    ``ok`` means that Zaqar answered 201: it keeps the messages for up to ``ttl``. If Zaqar does not answer, the sink
    tries it once per batch.
    """

    Settings = ZaqarSettings

    def __init__(self, settings: ZaqarSettings, clock: Callable[[], datetime] = _utc_now) -> None:
        self._settings = settings
        self._clock = clock
        self._encode = envelope(settings.format).encode
        self._client = ZaqarClient(settings)
        self._limits: dict[_Queue, int] = {}

    def open(self) -> None:
        """Gets a token and checks that Zaqar answers, as far as that needs no event. Posts nothing.

        Raises ``ConfigError`` for wrong credentials, certificates or addresses, ``Retryable`` if there is no answer.
        """
        self._limits.clear()
        try:
            self._client.open()
        except Unreachable as error:
            raise Retryable(str(error)) from error

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Posts the events. Raises only ``ConfigError``.

        201 is ok. ``retry``: every fault of the connection, a refused token, and each answer that may change without
        the event, with the requested wait. Any other answer is ``rejected`` (see
        :func:`esfeed.sinks.common.http_status.judge`).
        """
        run = _Run(len(events))
        for index, event in enumerate(events):
            self._take(run, index, event)
        for queue in list(run.open):
            self._flush(run, queue)
        return run.outcomes

    def close(self) -> None:
        """Closes the connections and forgets all tokens."""
        self._client.close()

    # --- what goes out together

    def _take(self, run: _Run, index: int, event: Event) -> None:
        document = document_of(event)
        try:
            project = None if self._settings.project is None else self._settings.project.render(event)
            queue = _Queue(project, legal(self._settings.queue.render(event)))
        except TemplateFailed as error:
            run.outcomes[index] = waits() if document in run.stuck else rejected(str(error))
            return
        last = run.where.get(document)
        if last is not None and last != queue:
            self._flush(run, last)  # earlier events of that document must go out first
        message = b'{"ttl":%d,"body":%b}' % (self._settings.ttl, body(self._encode(event)))
        run.where[document] = queue
        self._put(run, queue, _Item(index, document, message))

    def _put(self, run: _Run, queue: _Queue, item: _Item) -> None:
        if item.document in run.stuck:
            run.answer(item, waits())
            return
        if run.down is not None:
            run.answer(item, run.down)
            return
        limit = self._limits.get(queue, self._settings.max_post_bytes)
        if _AROUND + len(item.message) > limit:
            # Flush first: whether it is too big for the current limit of the queue needs a request.
            self._flush(run, queue)
            self._oversized(run, queue, item)
            return
        waiting = run.open.setdefault(queue, [])
        size = run.size[queue] if waiting else _AROUND - 1
        if waiting and size + len(item.message) + 1 > limit:
            self._flush(run, queue)
            self._put(run, queue, item)
            return
        waiting.append(item)
        run.size[queue] = size + len(item.message) + 1

    def _oversized(self, run: _Run, queue: _Queue, item: _Item) -> None:
        known = self._limits.get(queue)
        if known is not None and not run.down and item.document not in run.stuck:
            self._learn(run, queue, [item])
            if self._limits.get(queue, self._settings.max_post_bytes) > known:
                self._put(run, queue, item)
                return
        if run.down or item.document in run.stuck:
            run.answer(item, run.down or waits())
            return
        limit = self._limits.get(queue, self._settings.max_post_bytes)
        size = _AROUND + len(item.message)
        which = "max_post_bytes" if known is None else f"the limit of queue {queue.name}"
        run.answer(item, rejected(f"too large for Zaqar: {size:,} bytes, {which} is {limit:,}"))

    # --- what an answer means

    def _flush(self, run: _Run, queue: _Queue) -> None:
        items = run.open.pop(queue, [])
        if not items:
            return
        if run.down is not None:
            for item in items:
                run.answer(item, run.down)
            return
        answer = self._post(run, queue, items)
        if answer is None:
            return
        if answer.status in (400, 413) and self._shrunk(run, queue, items):
            for item in items:
                self._put(run, queue, item)
            self._flush(run, queue)
        elif len(items) > 1 and _may_be_one(answer):
            self._one_by_one(run, queue, items)
        else:
            self._refused(run, queue, items, answer)

    def _post(self, run: _Run, queue: _Queue, items: Sequence[_Item]) -> Answer | None:
        """Posts ``items``. Returns an answer that needs interpretation; everything else is settled here."""
        content = _HEAD + b",".join(item.message for item in items) + _TAIL
        try:
            self._client.post(queue.project, queue.name, content)
        except Answer as answer:
            return answer
        except (Unreachable, Denied) as error:
            self._failed(run, items, error)
        return None

    def _failed(self, run: _Run, items: Sequence[_Item], error: Unreachable | Denied) -> None:
        """The first counts as tried, the others wait for it: one fault is not many."""
        reason = str(error)
        if isinstance(error, Unreachable):
            run.down = not_tried(reason)
        for number, item in enumerate(items):
            run.answer(item, retry(reason) if number == 0 else waits(f"waits: {reason}"))

    def _refused(self, run: _Run, queue: _Queue, items: Sequence[_Item], answer: Answer) -> None:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        outcome = judge(answer.status, headers, _said(answer.body), self._clock())
        if answer.status == 401:
            # The event is not at fault: an expired token is replaced, and an operator must replace a configured one.
            self._client.forget(queue.project)
            outcome = retry(outcome.reason)
        elif outcome.kind == "retry" and (answer.status in (408, 425, 429) or answer.status >= 500):
            run.down = not_tried(outcome.reason)
        for number, item in enumerate(items):
            first = number == 0 or outcome.kind == "rejected"
            run.answer(item, outcome if first else waits(f"waits: {outcome.reason}"))

    def _one_by_one(self, run: _Run, queue: _Queue, items: Sequence[_Item]) -> None:
        """Isolates the message that Zaqar fails on; two failures in a row mean that Zaqar itself fails."""
        failed = 0
        for item in items:
            if run.down is not None or item.document in run.stuck:
                run.answer(item, run.down or waits())
                continue
            answer = self._post(run, queue, [item])
            if answer is None:
                failed = 0
                continue
            self._refused(run, queue, [item], answer)
            failed += answer.status >= 500
            if run.down is not None and failed < 2 and not _asks_to_wait(answer):
                run.down = None

    def _shrunk(self, run: _Run, queue: _Queue, items: Sequence[_Item]) -> bool:
        """Whether the limit of the queue is lower than what was just posted; from now on it applies."""
        self._learn(run, queue, items)
        return run.down is None and self._limits.get(queue, math.inf) < _size(items)

    def _learn(self, run: _Run, queue: _Queue, items: Sequence[_Item]) -> None:
        try:
            limit = self._client.limit(queue.project, queue.name)
        except Answer:
            return
        except (Unreachable, Denied) as error:
            run.down = not_tried(error)
            return
        if limit is not None:
            self._limits[queue] = min(limit, self._settings.max_post_bytes)


def _size(items: Sequence[_Item]) -> int:
    return _AROUND + sum(len(item.message) + 1 for item in items) - 1


def _may_be_one(answer: Answer) -> bool:
    """Whether one message may be the cause: Zaqar answers 400 if it refuses one, 503 if it cannot store one.

    With Retry-After, 503 is about all of them. On a 4xx that header says nothing: the same messages would be refused.
    """
    return answer.status in (400, 413, 422) or (answer.status >= 500 and not _asks_to_wait(answer))


def _asks_to_wait(answer: Answer) -> bool:
    return "retry-after" in {name.lower() for name in answer.headers}


def _said(body: bytes) -> bytes:
    """The text of Zaqar: its own errors are objects with a description."""
    try:
        found = json.loads(body)
        return str(found["description"]).encode()
    except (ValueError, KeyError, TypeError):
        return body


def body(event: bytes) -> bytes:
    """An encoded event as the body of a message: the object itself, or its text if Zaqar could not store the object.

    Zaqar accepts no integers beyond 64 bits (signed), and stores bodies as MessagePack, which has no lone surrogates,
    no decimals but doubles, and limited nesting. To such a message it would answer 400, or 503 forever, or store
    another number. The few events that contain one are sent as a JSON text, whole.
    """
    if not _suspect(event):
        return event
    try:
        if _storable(json.loads(event, parse_float=exact_number), 0):
            return event
    except (ValueError, RecursionError):
        pass
    return msgspec.json.encode(event.decode(errors="replace"))


def _suspect(event: bytes) -> bool:
    """Whether a closer look is worth the time. A number stands behind a colon, a comma, a bracket or a space."""
    if event.count(b"{") + event.count(b"[") > _DEEPEST or (b"\\u" in event and _HALF.search(event)):
        return True
    if may_be_inexact(event):
        return True
    return any(len(it) > 19 or not it.isdigit() or int(it) > _LARGEST for it in _NUMBER.findall(event))


def _storable(value: Any, depth: int) -> bool:
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(_storable(name, depth) and _storable(part, depth + 1) for name, part in value.items())
    if isinstance(value, list):
        return all(_storable(part, depth + 1) for part in value)
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(1 << 63) <= value <= _LARGEST
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Decimal):
        return False
    return not _SURROGATE.search(value)
