"""Delivery by a command that ends: a thread for each sink, during the polls and after them until nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from esfeed.cli.output import fail
from esfeed.errors import EsfeedError
from esfeed.runtime.factory import App

_LOOK_AGAIN = 0.3
_ENDS = 5.0


@contextmanager
def delivering(app: App, names: Iterable[str], timeout: float) -> Iterator[list[str]]:
    """Delivers during the block, and then until nothing is left, or for ``timeout`` seconds.

    Yields a list that is empty at first, and names the sinks that are not done after the block. If the block raises,
    delivery ends at once, and what is logged waits for the next call.
    """
    work = _Deliveries(app)
    threads = [threading.Thread(target=work.drain, args=[name], name=f"sink {name}", daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield work.stuck
    except BaseException:
        work.give_up()
        for thread in threads:
            thread.join(_ENDS)
        raise
    work.finish(timeout)
    for thread in threads:
        thread.join(max(0.0, work.until + 1 - app.clock.monotonic()))
    for thread in threads:
        if thread.is_alive():
            fail(f"the sink did not answer within {timeout:g} s; the next run delivers the logged events", thread.name)
            work.stuck.append(thread.name.removeprefix("sink "))


def deliver(app: App, names: Iterable[str], timeout: float) -> list[str]:
    """Delivers until nothing is left, or for ``timeout`` seconds; returns the sinks that are not done."""
    with delivering(app, names, timeout) as stuck:
        pass
    return stuck


class _Deliveries:
    """``stuck``: the sinks that are not done, already reported to the user. ``until`` is set by ``finish``."""

    def __init__(self, app: App) -> None:
        self.stuck: list[str] = []
        self.until = float("inf")
        self._app = app
        self._given_up = False
        self._over = threading.Event()
        self._lock = threading.Lock()

    def finish(self, timeout: float) -> None:
        """Call it when nothing more is logged; the rest gets ``timeout`` seconds."""
        self.until = self._app.clock.monotonic() + timeout
        self._over.set()
        self._app.notifier.wake()

    def give_up(self) -> None:
        """Stops delivery and its messages."""
        self._given_up = True
        self.finish(0.0)

    def drain(self, name: str) -> None:
        """Delivers to one sink, to the end."""
        reason, dead = "", 0
        while True:
            last = self._over.is_set()
            if self._given_up:
                return
            try:
                delivery = self._app.runner.deliver(name)
            except EsfeedError as error:
                if last:
                    reason = str(error)
                    break
                self._over.wait()  # then one more try, which reports the error
                continue
            dead += delivery.dead
            if not last:
                if not delivery.idle:
                    self._over.wait(delivery.wait or 0.0)
                elif not self._over.is_set():
                    self._app.notifier.wait(_LOOK_AGAIN)
                continue
            if delivery.idle and delivery.wait is None:
                if dead:
                    with self._lock:
                        fail(f"{dead:,} events became dead; `esfeed dead` lists them", f"sink {name}")
                        self.stuck.append(name)
                return
            reason = delivery.error or reason
            if self._app.clock.monotonic() + (delivery.wait or 0.0) > self.until:
                break
            self._app.sleep(delivery.wait or 0.0)
        with self._lock:
            fail(f"{_left(self._app, name)} for the next run ({reason})", f"sink {name}")
            self.stuck.append(name)


def _left(app: App, name: str) -> str:
    try:
        counts = app.store.dead_letters.counts().get(name)
        parked = counts.parked if counts else 0
        waits = f"{app.backlog(name):,} log entries" + (f" and {parked:,} parked events" if parked else "")
    except EsfeedError:
        # The state is what failed, and the reason says so.
        return "logged events wait"
    return f"{waits} wait"
