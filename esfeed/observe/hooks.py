"""Calls observers: a sink that reports its events and outcomes to them, and several contexts as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from esfeed.model.event import Event
from esfeed.observe.ports import Observer
from esfeed.ports import Clock, Outcome, Sink


@contextmanager
def together(contexts: Iterable[AbstractContextManager[object]]) -> Iterator[None]:
    """Enters all ``contexts`` as one."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


class ObservedSink:
    """A sink (``ports.Sink``) that reports to observers and delegates to the inner sink.

    ``age``: how many seconds ago an event was found.
    """

    def __init__(
        self, name: str, inner: Sink, observers: Sequence[Observer], clock: Clock, age: Callable[[Event], float]
    ) -> None:
        self._name = name
        self._inner = inner
        self._observers = observers
        self._clock = clock
        self._age = age

    def open(self) -> None:
        self._inner.open()

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        with together(observer.sending(self._name, events) for observer in self._observers):
            began = self._clock.monotonic()
            outcomes = self._inner.send(events)
            took = self._clock.monotonic() - began
            delays = [self._age(event) for event in events]
            for observer in self._observers:
                observer.sent(self._name, events, outcomes, delays, took)
        return outcomes

    def close(self) -> None:
        self._inner.close()
