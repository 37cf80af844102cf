"""A sink for esfeed: each event is a file of its own in a folder, as in a mail spool."""

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
    """Events as files in a folder, one each."""

    type: Literal["spool"] = Field("spool", description="A folder of files.")
    folder: Text = Field(min_length=1, description="The folder, which must exist.")


class SpoolSink:
    """Writes each event under another name, has the disk confirm it, and renames it: nobody ever sees half a file."""

    Settings = SpoolSettings

    def __init__(self, settings: SpoolSettings) -> None:
        self._folder = Path(settings.folder)
        self._encode = envelope(settings.format).encode

    def open(self) -> None:
        if not self._folder.is_dir():
            raise ConfigError("folder", str(self._folder), "it is no folder; make it first, or name another")

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for number, event in enumerate(events):
            try:
                self._write(event)
            except OSError as error:  # no fault of this event: the others would fare alike
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
