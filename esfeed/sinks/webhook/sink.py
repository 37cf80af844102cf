"""Events to a URL: one POST each or many in one, signed, in order for each document.

``messages`` builds the requests, ``client`` sends them, ``http_status`` interprets the answers. This module decides
what to send when, and what an answer means for the events behind it.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.net.rate import Rate
from esfeed.ports import Outcome, not_tried, retry, waits
from esfeed.sinks.common.http_status import GONE, judge, stops
from esfeed.sinks.common.ordering import DocumentKey, document
from esfeed.sinks.webhook.client import Contexts, Unreachable, WebhookClient
from esfeed.sinks.webhook.messages import Message, Writer
from esfeed.sinks.webhook.settings import WebhookSettings, target_of
from esfeed.sinks.webhook.signatures import key_of


def _utc_now() -> datetime:
    return datetime.now(UTC)


class WebhookSink:
    """Posts events, those of one document in order and never two at a time.

    ``ok`` means that the server answered 2xx, completely. If the server does not answer, or asks to be left alone, the
    sink sends it nothing more within the batch.
    """

    Settings = WebhookSettings

    def __init__(
        self,
        settings: WebhookSettings,
        clock: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        keys = [key_of(secret.get_secret_value()) for secret in settings.secrets]
        self._writer = Writer(settings.format, settings.mode, keys, clock)
        self._target = target_of(settings.url.get_secret_value())
        self._rate = Rate(settings.rate, monotonic)
        self._couriers: list[WebhookClient] = []
        self._gone = False

    def open(self) -> None:
        """Reads certificates, looks the host up, and checks that its address is permitted; sends nothing.

        Raises ``ConfigError`` for an unreadable certificate, a forbidden address, or a server that answered 410 before;
        ``Retryable`` if the name has no address now.
        """
        self.close()
        if self._gone:
            raise ConfigError("url", self._target.origin, f"{GONE}; remove the sink, or restart esfeed to try again")
        self._make_couriers()
        self._couriers[0].look_up()

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Posts the events. See :func:`esfeed.sinks.common.http_status.judge` for what an answer means for its event.

        Raises ``Retryable`` after a 410, otherwise nothing.
        """
        if self._gone:
            raise Retryable(f"{self._target.origin}: {GONE}")
        if not self._couriers:
            self._make_couriers()
        run = _Run(events, self._monotonic() + self._settings.timeout)
        units = deque(self._units(events))
        first, *others = self._couriers[: max(1, len(units))]
        # Daemon threads, unlike those of an executor, do not keep the process alive while a server hangs.
        threads = [threading.Thread(target=self._help, args=(courier, units, run), daemon=True) for courier in others]
        for thread in threads:
            thread.start()
        try:
            self._work(first, units, run)
        finally:
            for thread in threads:
                thread.join()
        return run.outcomes()

    def close(self) -> None:
        """Closes the connections."""
        couriers, self._couriers = self._couriers, []
        for courier in couriers:
            courier.close()

    def _make_couriers(self) -> None:
        settings = self._settings
        contexts = Contexts(settings) if self._target.scheme == "https" or settings.follow_redirects else None
        self._couriers = [WebhookClient(settings, contexts) for _ in range(settings.concurrency)]

    def _units(self, events: Sequence[Event]) -> Iterable[list[int]]:
        """The indexes of the events, in parts that may be sent in parallel: no document is in two of them."""
        count = self._settings.concurrency
        if count == 1:
            return [[*range(len(events))]] if events else []
        documents: dict[DocumentKey, list[int]] = {}
        for index, event in enumerate(events):
            documents.setdefault(document(event), []).append(index)
        if self._settings.mode != "batch":
            return documents.values()
        parts: list[list[int]] = [[] for _ in range(min(count, len(documents)))]
        for number, indexes in enumerate(documents.values()):
            parts[number % len(parts)] += indexes
        return [sorted(part) for part in parts]

    def _help(self, courier: WebhookClient, units: deque[list[int]], run: _Run) -> None:
        try:
            self._work(courier, units, run)
        except BaseException as error:  # raised again by the calling thread
            run.failure = error

    def _work(self, courier: WebhookClient, units: deque[list[int]], run: _Run) -> None:
        while True:
            try:
                unit = units.popleft()
            except IndexError:
                return
            if self._settings.mode == "batch":
                self._send_together(courier, unit, run)
            else:
                self._send_each(courier, unit, run)

    def _send_each(self, courier: WebhookClient, indexes: Sequence[int], run: _Run) -> None:
        for index in indexes:
            run.answer(index, run.held(index) or self._post(courier, self._writer.one(run.events[index]), run))

    def _send_together(self, courier: WebhookClient, indexes: Sequence[int], run: _Run) -> None:
        """Sends the events in one request. A rejection is halved until it concerns one event alone."""
        for index in indexes:
            if held := run.held(index):
                run.answer(index, held)
        left = [index for index in indexes if not run.answered(index)]
        if not left:
            return
        outcome = self._post(courier, self._writer.many([run.events[index] for index in left]), run)
        if outcome.kind == "rejected" and len(left) > 1:
            half = len(left) // 2
            self._send_together(courier, left[:half], run)
            self._send_together(courier, left[half:], run)
            return
        run.answer(left[0], outcome)
        behind = waits(f"was in one request with an event that is sent again: {outcome.reason}")
        for index in left[1:]:
            run.answer(index, outcome if outcome.ok or not outcome.tried else behind)

    def _post(self, courier: WebhookClient, message: Message, run: _Run) -> Outcome:
        wait, may = self._rate.take(max(0.0, run.until - self._monotonic()))
        if not may:
            held = Outcome("retry", f"held back: rate = {self._settings.rate:g} a second", wait, tried=False)
            run.stop(held)
            return held
        if wait:
            self._sleep(wait)
        try:
            answer = courier.post(message)
        except Unreachable as error:
            run.stop(not_tried(error))
            return retry(str(error))
        outcome = judge(answer.status, answer.headers, answer.body, self._clock(), answer.redirect)
        if stops(answer.status, answer.headers):
            self._gone = self._gone or answer.status == 410
            run.stop(waits(f"not tried after an earlier answer: {outcome.reason}"))
        return outcome


class _Run:
    """The state of one batch: the outcomes so far, and what holds back the rest. For the threads of one sink."""

    def __init__(self, events: Sequence[Event], until: float) -> None:
        self.events = events
        self.until = until
        self._outcomes: list[Outcome | None] = [None] * len(events)
        self._stuck: set[DocumentKey] = set()
        self._stopped: Outcome | None = None
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def outcomes(self) -> Sequence[Outcome]:
        """One outcome for each event. Call it when all threads are done; raises the error of a failed thread."""
        if self.failure is not None:
            raise self.failure
        return [outcome for outcome in self._outcomes if outcome is not None]

    def held(self, index: int) -> Outcome | None:
        """Why the event at ``index`` must not be sent now; ``None`` if it may."""
        if document(self.events[index]) in self._stuck:
            return waits()
        return self._stopped

    def answered(self, index: int) -> bool:
        """Whether the event at ``index`` has its outcome."""
        return self._outcomes[index] is not None

    def answer(self, index: int, outcome: Outcome) -> None:
        """Stores an outcome. If it is not ok, later events of the document wait."""
        self._outcomes[index] = outcome
        if not outcome.ok:
            with self._lock:
                self._stuck.add(document(self.events[index]))

    def stop(self, outcome: Outcome) -> None:
        """Sends nothing more; the remaining events get ``outcome``."""
        self._stopped = self._stopped or outcome
