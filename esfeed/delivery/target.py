"""The target of a sink: opened on demand, and checked against the contract of ``ports.Sink``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from esfeed.errors import ConfigError, EsfeedError, Retryable, Unforeseen
from esfeed.model.event import Event
from esfeed.ports import LineSink, Outcome, Sink


class Target:
    """The target of the sink ``name``. For one thread at a time."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name = name
        self._sink = sink
        self._open = False

    def open(self) -> None:
        """Opens the sink if it is closed. Raises ``Retryable``, or ``ConfigError`` with the full key of the setting."""
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
        """One outcome for each event. If the whole target failed, closes the sink and raises ``Retryable``."""
        try:
            with self._held_to_its_word():
                outcomes = self._sink.send([*events])
        except Retryable:
            self.close()
            raise
        if len(outcomes) != len(events):
            hint = f"the sink answered {len(outcomes)} of {len(events)} events, which is a bug in it"
            raise ConfigError(f"sinks.{self._name}.type", None, hint)
        return outcomes

    def takes_lines(self, form: str) -> bool:
        """Whether the sink takes lines of that form."""
        return isinstance(self._sink, LineSink) and self._sink.lines == form

    def write(self, lines: Sequence[bytes]) -> int:
        """How many of the lines the target has now. If the whole target failed, closes the sink and returns 0.

        Only for a sink that takes lines.
        """
        assert isinstance(self._sink, LineSink)
        try:
            with self._held_to_its_word():
                return self._sink.write(lines)
        except Retryable:
            self.close()
            return 0

    def close(self) -> None:
        """Closes the sink."""
        self._open = False
        with self._held_to_its_word():
            self._sink.close()

    @contextmanager
    def _held_to_its_word(self) -> Iterator[None]:
        """Raises ``Unforeseen`` if the sink raises an unexpected type. The sink is opened again then."""
        try:
            yield
        except EsfeedError:
            raise
        except Exception as error:
            self._open = False
            raise Unforeseen(f"the sink {self._name!r}", error) from error
