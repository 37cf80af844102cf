"""A sink, its settings and its contract, as another package has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from esfeed.config.types import Duration, Secret, SinkSection
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, Sink, rejected, retry, waits
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract


class SpoolSettings(SinkSection):
    """A folder with a file for each event."""

    folder: str
    password: Secret | None = None
    timeout: Duration = 5.0


class SpoolSink:
    """Writes each event to a file."""

    Settings = SpoolSettings

    def __init__(self, settings: SpoolSettings) -> None:
        self._settings = settings
        self._encode = envelope(settings.format).encode

    def open(self) -> None:
        if not self._settings.folder:
            raise ConfigError("folder", self._settings.folder, "name a folder")
        raise Retryable("the disk is full", "free some space", 5.0)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        assert_type([self._encode(event) for event in events], list[bytes])
        return [OK, retry("full", wait=2.0), rejected("too large"), waits()][: len(events)]

    def close(self) -> None:
        pass


def made(settings: SpoolSettings) -> Sink:
    """A sink by its structure: there is no base class."""
    return SpoolSink(settings)


class TestSpool(SinkContract):
    def make_sink(self) -> Sink:
        return made(SpoolSettings.model_validate({"type": "spool", "folder": "/spool"}))

    def received(self) -> Sequence[tuple[str, int]]:
        event = sample_event()
        assert_type(event, Event)
        return [(event.id, event.position)]
