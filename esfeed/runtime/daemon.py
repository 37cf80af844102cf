"""``esfeed run``: polls on schedule, delivers continuously, and stops cleanly on a signal.

APScheduler decides when watches are polled, ``rounds`` which thread polls them. Each sink has its own thread, so a slow
sink delays no other. On SIGTERM or SIGINT no new poll begins, and running polls stop at their next commit. The sinks
deliver what is logged as far as that fits into ten seconds in all; the rest waits in the log for the next start.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog

from esfeed.delivery.dispatcher import Delivery
from esfeed.errors import ConfigError, EsfeedError, MassDelete, ReaderGone, Unforeseen
from esfeed.runtime.factory import App
from esfeed.runtime.heaps import share_heaps
from esfeed.runtime.left import HINT, left
from esfeed.runtime.rounds import Rounds
from esfeed.runtime.scheduler import NO_THREAD, Schedule
from esfeed.runtime.signals import StopSignal

log = structlog.get_logger("esfeed")

_POLLS_MAY_TAKE = 4.0
_DRAIN_UNTIL = 8.0
_LOOK_AGAIN = 0.5
_SAY_AGAIN = 60.0
_WISHES_EVERY = 1.0
_LISTEN_EVERY = 0.1
_PRUNE_EVERY = 5.0
_STATE_AGAIN = 5.0
_CORRECTED_AFTER = 60.0
_SWITCH_AFTER = 0.0005


class Daemon:
    """Runs a feed until it must stop. ``companion`` is entered once the feed holds the state, and exited last."""

    def __init__(self, app: App, companion: AbstractContextManager[object] | None = None) -> None:
        self._app = app
        self._companion = companion or nullcontext()
        self.stopping = threading.Event()
        self._drained = threading.Event()
        self._busy = threading.Semaphore(0)
        self._said: dict[str, tuple[str, float]] = {}
        self._schedule = Schedule(app.clock)
        self._began: dict[str, int] = {}

    def run(self) -> None:
        """Runs until SIGTERM or SIGINT, and returns within ten seconds of it. Raises the errors of a start."""
        share_heaps()
        self._app.hold()
        # A poll takes the GIL some twenty times. During the snapshot of another watch, or next to a loop that serves
        # hundreds of readers, it would wait the default five milliseconds each time.
        sys.setswitchinterval(_SWITCH_AFTER)
        stop_signal = StopSignal()
        with self._companion:
            self._run(stop_signal)

    def _run(self, stop_signal: StopSignal) -> None:
        self._app.runner.begin()
        self._app.runner.health.patient = True
        self._rounds = Rounds(self._app, self._poll, self._app.store.watches.followed())
        sinks = [self._start(f"sink {name}", self._deliver, name) for name in self._app.dispatchers]
        # One job for all watches that are due together: APScheduler takes a tenth of a millisecond per job and run.
        for (cron, interval), names in self._turns().items():
            if cron is None:
                self._schedule.every(interval, f"every {interval:g} s", self._rounds.due, names, at_once=True)
            else:
                self._schedule.cron(cron, f"cron {cron}", self._rounds.due, names)
        self._schedule.every(_WISHES_EVERY, " wishes", self._take_requests)
        self._schedule.every(_PRUNE_EVERY, " prune", self._prune)
        for name, one in left(self._app).items():
            log.warning("sink.left", sink=name, what=f"it is not in the settings: {one}", hint=HINT)
        self._schedule.start()
        log.info("feed.started", watches=[*self._app.config.watches], sinks=[*self._app.config.sinks])
        while not (stop_signal() or self.stopping.is_set()):
            time.sleep(_LISTEN_EVERY)
            if step := self._schedule.look():
                log.warning("clock.stepped", seconds=round(step, 1), what="esfeed polls every watch now")
                self._note_step()
        self.stopping.set()
        self._end(sinks)

    def _turns(self) -> dict[tuple[str | None, float], list[str]]:
        """The watches by their schedule: (cron expression, 0), or (``None``, interval in seconds)."""
        turns: dict[tuple[str | None, float], list[str]] = {}
        for name, settings in self._app.config.watches.items():
            turns.setdefault((settings.cron, 0.0 if settings.cron else settings.interval), []).append(name)
        return turns

    def _take_requests(self) -> None:
        """Executes requests of ``esfeed reconcile`` in another process. A watch that stopped polls again."""
        try:
            self._app.runner.health.flush()
            self._note_long_polls()
            if not self._app.store.control.waiting():
                return
            for name, request in self._app.store.control.take().items():
                if name in self._app.config.watches:
                    self._app.runner.reconcile(name, request.allow_mass_delete)
                    self._rounds.resume(name)
                    if self._app.config.watches[name].cron is None:
                        self._rounds.due([name])
                    log.info("watch.reconciling", watch=name)
        except EsfeedError as error:
            self._failed("state.failed", "state", error)

    def _note_step(self) -> None:
        try:
            self._app.ages.look()
        except EsfeedError as error:
            self._failed("state.failed", "state", error)

    def _note_long_polls(self) -> None:
        """Notes each long poll whose cluster still answers: it is not stalled."""
        for name, before in [*self._began.items()]:
            answered, _ = self._app.clusters[name].meter.totals()
            if answered != before:
                self._began[name] = answered
                self._app.runner.alive(name)

    def _poll(self, name: str) -> None:
        if self.stopping.is_set():
            return
        try:
            self._began[name], _ = self._app.clusters[name].meter.totals()
            tracker = self._app.trackers[name]
            before = tracker.name
            poll = self._app.runner.poll(name, stop=self.stopping.is_set)
            if not poll.stopped:
                self._rounds.followed(name)
            if tracker.name != before:
                log.info("watch.followed_by", watch=name, tracker=tracker.name, why=tracker.why)
            if poll.events:
                log.info("watch.polled", watch=name, events=poll.events)
            self._recovered(f"watch {name}")
        except MassDelete as error:
            self._rounds.pause(name)
            log.error("watch.stopped", watch=name, error=error.message, hint=error.hint)
        except EsfeedError as error:
            if not self.stopping.is_set():
                self._failed("watch.failed", f"watch {name}", error)
        except Exception as error:
            self._failed("watch.failed", f"watch {name}", error)
        finally:
            self._began.pop(name, None)

    def _deliver(self, name: str) -> None:
        while not self._drained.is_set():
            try:
                delivery = self._app.runner.deliver(name)
            except ReaderGone as error:
                log.info("sink.reader_gone", sink=name, what=error.message)
                self.stopping.set()
                return
            except ConfigError as error:
                # Only a person can correct it. Other sinks continue, and this one is tried again at intervals.
                self._failed("sink.stopped", f"sink {name}", error)
                if self.stopping.wait(_CORRECTED_AFTER):
                    return
                continue
            except Exception as error:
                self._failed("sink.failed", f"sink {name}", error)
                if self.stopping.wait(_STATE_AGAIN):
                    return
                continue
            self._rest(name, delivery)
            if self.stopping.is_set() and (delivery.idle or (delivery.wait and not delivery.sent)):
                return

    def _rest(self, name: str, delivery: Delivery) -> None:
        """Logs the result, and waits until another step makes sense."""
        wait = _LOOK_AGAIN if delivery.wait is None else delivery.wait
        if delivery.error and delivery.wait and not delivery.idle:
            self._failed("sink.failed", f"sink {name}", delivery.error)
        elif not delivery.error and (delivery.sent or delivery.idle):
            self._recovered(f"sink {name}")
        if self.stopping.is_set() or not wait:
            return
        if delivery.idle or delivery.wake:
            self._app.notifier.wait(min(wait, _LOOK_AGAIN))
        else:
            self.stopping.wait(wait)

    def _prune(self) -> None:
        try:
            self._app.runner.prune(self.stopping.is_set)
            self._recovered("log")
        except EsfeedError as error:
            self._failed("log.not_pruned", "log", error)

    def _end(self, sinks: list[threading.Thread]) -> None:
        log.info("feed.stopping")
        began = self._app.clock.monotonic()
        self._schedule.stop()
        self._rounds.stop()
        self._rounds.wait(lambda: began + _POLLS_MAY_TAKE - self._app.clock.monotonic())
        for thread in sinks:
            thread.join(timeout=max(0.0, began + _DRAIN_UNTIL - self._app.clock.monotonic()))
        self._drained.set()
        self._app.runner.health.flush()
        left = {name: self._app.backlog(name) for name in self._app.dispatchers}
        log.info("feed.stopped", undelivered={name: count for name, count in left.items() if count})

    def _start(self, name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise EsfeedError(f"cannot start a thread for {name}: {error}", NO_THREAD) from error
        return thread

    def _failed(self, event: str, part: str, error: object) -> None:
        """Logs a failure once, and again after a minute if it lasts, not at every try."""
        text, now = str(error), self._app.clock.monotonic()
        said, at = self._said.get(part, ("", 0.0))
        if text == said and now - at < _SAY_AGAIN:
            return
        self._said[part] = text, now
        known = error is None or isinstance(error, EsfeedError | str)
        cause = error.__cause__ if isinstance(error, Unforeseen) else None if known else error
        log.error(event, part=part, error=text, exc_info=cause)

    def _recovered(self, part: str) -> None:
        if self._said.pop(part, None) is not None:
            log.info("part.recovered", part=part)
