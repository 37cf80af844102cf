"""A sink's target: opened when it is needed, and held to its word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from esfeed.errors import ConfigError, EsfeedError, Retryable, Unforeseen
from esfeed.model.event import Event
from esfeed.ports import LineSink, Outcome, Sink


class Target:
    """The sink of that name. One thread at a time."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name = name
        self._sink = sink
        self._open = False

    def open(self) -> None:
        """Opens it where it is not. Raises ``Retryable``, or ``ConfigError`` that names the key in the settings."""
        if self._open:
            return
        try:
            with self._held_to_its_word():
                self._sink.open()
        except ConfigError as error:
            raise ConfigError(f"sinks.{self._name}.{error.key}", error.value, error.hint) from error
        except Retryable:
            self.close()
            raise
        self._open = True

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """One outcome an event. Raises ``Retryable`` where the whole target failed, which is closed then."""
        try:
            with self._held_to_its_word():
                outcomes = self._sink.send([*events])
        except Retryable:
            self.close()
            raise
        if len(outcomes) != len(events):
            hint = f"it answered {len(outcomes)} of {len(events)} events, its own fault"
            raise ConfigError(f"sinks.{self._name}.type", None, hint)
        return outcomes

    def takes_lines(self, form: str) -> bool:
        """Whether it takes lines of that form."""
        return isinstance(self._sink, LineSink) and self._sink.lines == form

    def write(self, lines: Sequence[bytes]) -> int:
        """How many of the lines it has now, where it takes any. Where the whole target failed, it is closed."""
        assert isinstance(self._sink, LineSink)
        try:
            with self._held_to_its_word():
                return self._sink.write(lines)
        except Retryable:
            self.close()
            return 0

    def close(self) -> None:
        """Lets go of it."""
        self._open = False
        with self._held_to_its_word():
            self._sink.close()

    @contextmanager
    def _held_to_its_word(self) -> Iterator[None]:
        """Raises ``Unforeseen`` where the sink raises what none may; it is opened anew then."""
        try:
            yield
        except EsfeedError:
            raise
        except Exception as error:
            self._open = False
            raise Unforeseen(f"the sink {self._name!r}", error) from error
