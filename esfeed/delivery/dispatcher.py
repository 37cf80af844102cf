"""One delivery step of one sink, from the log to its target.

A sink has a cursor in the log, and parked events. A step sends what lies behind the cursor, or the parked
events of one document that is due. ``decide`` finds out whether a document or the target failed, and one transaction
stores the result. The dispatcher remembers what the target took before that transaction, so a failed write of the state
causes no repeats.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from esfeed.delivery.backoff import for_document, for_target
from esfeed.delivery.failures import Decision, FailureState, decide
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.page import DeliveryPage, Item, pick
from esfeed.delivery.reader import LogReader, left_of
from esfeed.delivery.retry_queue import RetryQueue
from esfeed.delivery.target import Target
from esfeed.errors import Retryable
from esfeed.ports import Clock, Doc, Log, Outbox, Outcome, Parked, ParkedState, Settlement, retry
from esfeed.routing.router import Router

_WISHES_EVERY = 0.5
_SAID = 2000

_replace = msgspec.structs.replace


class Delivery(msgspec.Struct, frozen=True):
    """The result of a step. ``wait``: seconds until the next step makes sense, 0 to continue at once.

    ``idle``: nothing lies behind the cursor; then ``wait`` is the time until a parked document is due, ``None`` if
    nothing is parked. ``wake``: new entries in the log justify an earlier step. ``parked`` counts newly parked
    documents, ``dead`` and ``dropped`` count events. ``error``: why the sink did not take something, empty if it took
    everything; ``parked_error`` and ``dead_error``: the error of the first counted one.
    """

    sent: int = 0
    skipped: int = 0
    parked: int = 0
    dead: int = 0
    dropped: int = 0
    wait: float | None = 0.0
    idle: bool = False
    wake: bool = False
    error: str = ""
    parked_error: str = ""
    dead_error: str = ""


class _Step:
    """What a step collects for its transaction. ``over``: positions that need nothing more.

    ``now`` is the time of day, comparable with event times. ``steady`` schedules retries; setting the clock does not
    move it.
    """

    def __init__(self, now: float, steady: float) -> None:
        self.now = now
        self.steady = steady
        self.parked: dict[int, Parked] = {}
        self.over: dict[int, Doc] = {}
        self.sent = self.dropped = 0


class Dispatcher:
    """Delivers to one sink. For one thread at a time. ``chance`` returns a new random number in [0, 1), for jitter."""

    def __init__(
        self,
        name: str,
        target: Target,
        router: Router,
        event_log: Log,
        outbox: Outbox,
        options: DeliveryOptions,
        clock: Clock,
        chance: Callable[[], float] = random.random,
        steady: Clock | None = None,
    ) -> None:
        self.name = name
        self._target = target
        self._reader = LogReader(name, router, event_log, options)
        self._log = event_log
        self._outbox = outbox
        self._options = options
        self._clock = clock
        self._steady = steady or clock
        self._chance = chance
        self._loaded = False
        self._retry_queue = RetryQueue()
        self._dead: set[Doc] = set()
        self._taken: set[int] = set()
        self._owed: dict[int, Doc] = {}
        self._newer: dict[Doc, int] = {}
        self._failing = FailureState()
        self._limit = options.batch
        self._retry_at = self._asked_at = float("-inf")
        self._probe_now = self._parked_last = False
        self._why = ""

    def start(self) -> None:
        """Sets the cursor of a new sink to the current end of the log. Call it before the first poll."""
        if self._outbox.cursor(self.name) is None:
            self._outbox.settle(self.name, Settlement(self._log.head()))

    def close(self) -> None:
        """Closes the target; the next ``run_once`` opens it again."""
        self._target.close()

    def run_once(self) -> Delivery:
        """Sends one batch. Raises ``StateError``, ``ConfigError``, ``ReaderGone``; other faults are in the result."""
        self._load()
        step = _Step(self._clock.now().timestamp(), self._steady.now().timestamp())
        left = self._left()
        if left and not self._probe_now:
            return Delivery(wait=left, error=self._why)
        due = None if left else self._retry_queue.due(step.steady)
        if due and not (self._parked_last or self._failing.suspects):
            self._parked_last = True
            return self._send_parked(step, due)
        self._parked_last = False
        found = self._send_logged(step, left)
        if due and (found.idle or (found.wait and not found.error)):
            return self._send_parked(_Step(step.now, step.steady), due)
        return found

    def _left(self) -> float:
        return max(0.0, self._retry_at - self._clock.monotonic())

    def _load(self) -> None:
        """Reads the parked events once, and at intervals the events that an operator wants to redrive."""
        if not self._loaded:
            parked = self._outbox.parked(self.name)
            self._retry_queue = RetryQueue(parked)
            self._dead = {one.document for one in parked if one.state not in ("retry", "waiting")}
            at = self._outbox.cursor(self.name) or 0
            self._taken |= {one.position for one in parked if one.position > at}
            self._loaded = True
        if self._clock.monotonic() - self._asked_at < _WISHES_EVERY:
            return
        now = self._steady.now().timestamp()
        # The target may have taken a newer state since the request: only this thread knows for sure.
        again = [
            _replace(one, state="retry", attempts=0, next_try=now)
            if one.newer is None or one.state == "forced"
            else _replace(one, state="dead")
            for one in self._outbox.redriven(self.name)
        ]
        if again:
            self._outbox.settle(self.name, Settlement(0, again))
        for one in again:
            if one.state == "retry":
                self._retry_queue.put(one)
        self._asked_at = self._clock.monotonic()

    # --- two kinds of step

    def _send_logged(self, step: _Step, left: float) -> Delivery:
        """Sends what lies behind the cursor. ``left``: seconds that the suspects still have to wait."""
        at = self._outbox.cursor(self.name) or 0
        page = self._reader.page(at, step.now, self._retry_queue, self._taken, bool(self._failing.suspects))
        if page is None:
            waits = self._retry_queue.next_in(step.steady)
            return Delivery(idle=True, wait=waits if waits is None else max(waits, left), error=self._why)
        batch, full = pick(page.items, self._limit, self._options.batch_bytes, self._failing.suspects)
        wait = page.wait
        if batch and batch[0].document in self._failing.suspects:
            wait = left
        elif batch and not (full or page.more):
            wait = left_of(self._options.linger, batch[0].raw, step.now)
        if wait or not batch:
            return self._pass(step, page, at, wait)
        results, raised = self._send(batch)
        decision = self._decided(results, raised)
        self._account(step, results, decision, {})
        failed = {item.document for item, outcome in results if not outcome.ok}
        for document in decision.isolate:
            self._convict(step, page, document, None)
        for document, said in decision.document_failures.items():
            if document not in failed:
                self._convict(step, page, document, said)
        return self._settle(step, page, at)

    def _pass(self, step: _Step, page: DeliveryPage, at: int, wait: float) -> Delivery:
        """Sends nothing, but moves the cursor past events that need no sending."""
        if page.waiting or page.broken or page.late or self._cursor(step, page, at) > at:
            return _replace(self._settle(step, page, at), wait=wait, wake=True)
        if not page.items and not wait:
            return Delivery(idle=True, wait=self._retry_queue.next_in(step.steady), error=self._why)
        return Delivery(wait=wait, wake=True, error=self._why)

    def _send_parked(self, step: _Step, document: Doc) -> Delivery:
        """Sends the parked events of one document, and no others, so any failure is due to that document."""
        queue = {one.position: one for one in self._retry_queue.queue(document) if one.position not in self._owed}
        wanted = [*queue][: self._options.batch]
        rows = self._outbox.parked_events(self.name, wanted, self._options.batch_bytes) if wanted else ()
        page = DeliveryPage(0)
        for row in rows:
            page.add(row.event, [row], self._reader.shape, self._options.oldest(step.now), parked=False)
        found = {row.position for row in rows}
        lost = [position for position in wanted if position not in found and (not rows or position < rows[-1].position)]
        for position in (*lost, *page.done, *(item.position for item in page.late)):
            step.over[position] = document
        step.dropped += len(page.late)
        for item, why in page.broken:
            step.parked[item.position] = _replace(queue[item.position], state="dead", error=why[:_SAID])
        if page.items:
            results, raised = self._send(page.items)
            self._account(step, results, self._decided(results, raised), queue)
        return self._settle(step, None, 0)

    # --- sending, and what the answers mean

    def _send(self, items: Sequence[Item]) -> tuple[list[tuple[Item, Outcome]], bool]:
        """Each item with its outcome, and whether the sink raised. No results if the target could not be reached."""
        try:
            self._target.open()
        except Retryable as error:
            self._failing = _replace(self._failing, failures=self._failing.failures + 1)
            self._pause(error.wait, str(error), probe_now=False)
            return [], True
        try:
            outcomes = self._target.send([item.event for item in items])
        except Retryable as error:
            return [(item, retry(str(error), error.wait)) for item in items], True
        return list(zip(items, outcomes, strict=True)), False

    def _decided(self, results: Sequence[tuple[Item, Outcome]], raised: bool) -> Decision:
        if not results:
            return Decision({}, (), self._failing, True)
        known_failing = {item.document for item, _ in results if self._tried(item.document)}
        decision = decide(self._failing, [(item.document, outcome) for item, outcome in results], known_failing, raised)
        self._failing = decision.state
        if decision.pause:
            said = next((outcome.reason for _, outcome in results if outcome.kind == "retry"), "")
            self._pause(decision.asked, said, decision.probe_now)
        else:
            self._limit = min(self._options.batch, self._limit * 2)
            self._retry_at, self._probe_now, self._why = float("-inf"), False, ""
        return decision

    def _tried(self, document: Doc) -> bool:
        queue = self._retry_queue.queue(document)
        return bool(queue and queue[0].attempts)

    def _pause(self, asked: float | None, why: str, probe_now: bool) -> None:
        """Pauses the whole sink; the next try sends one event."""
        self._limit = 1
        self._retry_at = self._clock.monotonic() + for_target(self._failing.failures, asked, self._chance())
        self._probe_now, self._why = probe_now, why

    # --- what becomes of events

    def _account(
        self, step: _Step, results: Sequence[tuple[Item, Outcome]], decision: Decision, queue: Mapping[int, Parked]
    ) -> None:
        """Sorts the sent events: taken, dead, to retry, or left for later. ``queue``: those that were parked before."""
        met: set[Doc] = set()
        for item, outcome in results:
            document = item.document
            before = queue.get(item.position)
            if outcome.ok:
                step.sent += 1
                self._taken.update(item.positions)
                step.over[item.position] = document
                if document in self._dead:
                    self._newer[document] = item.position
            elif outcome.kind == "rejected":
                before = before or self._new(step, item, "dead")
                step.parked[item.position] = _replace(
                    before, state="dead", attempts=before.attempts + 1, error=outcome.reason[:_SAID]
                )
            elif document not in met and outcome.tried and document in decision.document_failures:
                met.add(document)
                step.parked[item.position] = self._failed(step, before or self._new(step, item, "retry"), outcome)
            elif document not in met and before is not None:
                met.add(document)
                error = outcome.reason[:_SAID]
                step.parked[item.position] = _replace(before, state="retry", error=error, next_try=step.steady)

    def _convict(self, step: _Step, page: DeliveryPage, document: Doc, said: Outcome | None) -> None:
        """Parks the first event of a document that this step did not send. Without ``said``, it is then tried alone."""
        queue = self._retry_queue.queue(document)
        first = next((item for item in page.items if item.document == document), None)
        one = queue[0] if queue else None
        if one is None and first is not None:
            one = self._new(step, first, "retry", "waits for a try on its own")
        if one is not None and (said is not None or not queue):
            step.parked[one.position] = one if said is None else self._failed(step, one, said)

    def _hold_back(self, step: _Step, page: DeliveryPage) -> None:
        """Parks what is behind a parked event of its document. What no route can decide or build is a dead letter."""
        stuck = {one.document for one in step.parked.values() if one.state == "retry"}
        behind = [item for item in page.items if item.document in stuck and item.position not in self._taken]
        for item in (*page.waiting, *behind):
            step.parked.setdefault(item.position, self._new(step, item, "waiting"))
        for item, why in page.broken:
            step.parked[item.position] = _replace(self._new(step, item, "dead", why), attempts=1)
        step.dropped += len(page.late)
        step.over |= {position: item.document for item in page.late for position in item.positions}

    def _new(self, step: _Step, item: Item, state: ParkedState, why: str = "") -> Parked:
        raw = item.raw if item.merged else None
        return Parked(self.name, item.position, 0, why[:_SAID], item.document, state, step.now, step.steady, None, raw)

    def _failed(self, step: _Step, one: Parked, said: Outcome) -> Parked:
        """The event after one more failed attempt; a dead letter if that was the last one."""
        attempts, error = one.attempts + 1, said.reason[:_SAID]
        if attempts >= self._options.attempts:
            return _replace(one, state="dead", attempts=attempts, error=error)
        until = step.steady + for_document(attempts, said.wait, self._chance())
        return _replace(one, state="retry", attempts=attempts, error=error, next_try=until)

    def _cursor(self, step: _Step, page: DeliveryPage, at: int) -> int:
        """The position before the first event that is neither taken nor parked; never inside a coalescing window."""
        left = [item for item in page.items if item.position not in self._taken and item.position not in step.parked]
        if not left:
            return page.last
        return at if self._reader.in_window else min(item.positions[0] for item in left) - 1

    def _settle(self, step: _Step, page: DeliveryPage | None, at: int) -> Delivery:
        """Stores the result of the step. If that fails, only what the target took stays remembered, in memory."""
        if page is not None:
            self._hold_back(step, page)
        position = at if page is None else self._cursor(step, page, at)
        self._owed |= {over: document for over, document in step.over.items() if document in self._retry_queue}
        parked = [*step.parked.values()]
        self._outbox.settle(self.name, Settlement(position, parked, [*self._owed], self._newer, step.dropped))
        for owed, document in self._owed.items():
            self._retry_queue.take(document, [owed])
        self._owed, self._newer = {}, {}
        new = [one for one in parked if one.state != "dead" and one.document not in self._retry_queue]
        waits = {one.document for one in new}
        for one in parked:
            if one.state == "dead":
                self._retry_queue.take(one.document, [one.position])
                self._dead.add(one.document)
            else:
                self._retry_queue.put(one)
        if page is not None:
            self._taken = {each for each in {*self._taken, *step.over, *step.parked} if each > position}
            self._reader.settled(position, page)
        left = self._left()
        error = self._why if left else next((one.error for one in parked if one.error), "")
        dead = [one.error for one in parked if one.state == "dead"]
        skipped = len(page.done) if page is not None else 0
        return Delivery(
            step.sent,
            skipped,
            len(waits),
            len(dead),
            step.dropped,
            left,
            wake=self._probe_now,
            error=error,
            parked_error=next((one.error for one in new if one.error), ""),
            dead_error=next(filter(None, dead), ""),
        )
