"""Sinks that are in the state but not in the settings: removed or renamed, and events may wait for them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from esfeed.ports import Counts
from esfeed.runtime.factory import App

HINT = "`esfeed sinks rename OLD NEW` lets another sink continue, `esfeed sinks forget NAME` deletes what waits"


class Left(msgspec.Struct, frozen=True):
    """What waits for a sink: log entries behind its cursor, and parked and dead events."""

    cursor: int | None
    backlog: int
    parked: int
    dead: int

    @property
    def waits(self) -> bool:
        return bool(self.backlog or self.parked or self.dead)

    def __str__(self) -> str:
        aside = f", {self.parked:,} parked and {self.dead:,} dead events" if self.parked or self.dead else ""
        return f"{self.backlog:,} log entries{aside} wait for it"


def known(app: App) -> Mapping[str, Left]:
    """Every sink in the state or the settings, by name."""
    cursors, counts = app.store.sinks.cursors(), app.store.dead_letters.counts()
    found = {}
    for name in sorted({*cursors, *counts, *app.config.sinks}):
        cursor, count = cursors.get(name), counts.get(name, Counts())
        backlog = 0 if cursor is None else app.store.log.count(cursor)
        found[name] = Left(cursor, backlog, count.parked, count.dead)
    return found


def left(app: App) -> Mapping[str, Left]:
    """The known sinks that are not in the settings and for which something waits."""
    return {name: one for name, one in known(app).items() if name not in app.config.sinks and one.waits}
