"""A sink for esfeed that writes each event to its own file in a folder, like a mail spool."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from esfeed.config.types import SinkSection, Text
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, retry, waits


class SpoolSettings(SinkSection):
    """Events as files in a folder, one file per event."""

    type: Literal["spool"] = Field("spool", description="A folder of files.")
    folder: Text = Field(min_length=1, description="The folder, which must exist.")


class SpoolSink:
    """Writes each event under a temporary name, syncs it to disk, and renames it: no reader sees a partial file."""

    Settings = SpoolSettings

    def __init__(self, settings: SpoolSettings) -> None:
        self._folder = Path(settings.folder)
        self._encode = envelope(settings.format).encode

    def open(self) -> None:
        if not self._folder.is_dir():
            raise ConfigError("folder", str(self._folder), "it is not a folder; create it, or name another")

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for number, event in enumerate(events):
            try:
                self._write(event)
            except OSError as error:  # the fault of the folder, not of this event: the others would fail too
                failed = retry(f"cannot write to {self._folder} ({error.strerror})")
                return [OK] * number + [failed] + [waits(failed.reason)] * (len(events) - number - 1)
        return [OK] * len(events)

    def close(self) -> None:
        pass

    def _write(self, event: Event) -> None:
        name = f"{event.position:020d}-{event.id}.json"
        with (self._folder / f".{name}").open("wb") as file:
            file.write(self._encode(event))
            file.flush()
            os.fsync(file.fileno())
        (self._folder / f".{name}").rename(self._folder / name)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
