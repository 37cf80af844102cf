"""Which watches of a running feed are stalled: nothing was heard of them for so long that something holds them up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from esfeed.runtime.health import Alive, WatchHealth, unpack

if TYPE_CHECKING:
    from esfeed.config.load import WatchSettings
    from esfeed.runtime.factory import App

_TURNS = 3
_LEAST = 10.0
"""Seconds below which no watch counts as stalled: a poll takes its time, and is noted once a second at most."""


def stalled(app: App, healths: Mapping[str, WatchHealth]) -> frozenset[str]:
    """The watches that were not polled for three intervals, and for ten seconds at least.

    A poll that goes on and gets answers from its cluster is none of those, nor is anything while no feed runs, nor a
    watch whose last poll failed: that one is known to fail.
    """
    alive = {name: unpack(raw, Alive).at for name, raw in app.store.notes.all("alive").items()}
    if not (alive and app.running()):
        return frozenset()
    now, began = app.steady.now().timestamp(), alive.get("", 0.0)
    found = set()
    for name, settings in app.config.watches.items():
        health = healths.get(name)
        if health is not None and health.error:
            continue
        age = now - max(began, alive.get(name, 0.0), 0.0 if health is None else health.at)
        if age > _LEAST and _missed(settings, age, app.clock.now()):
            found.add(name)
    return frozenset(found)


def _missed(settings: WatchSettings, age: float, now: datetime) -> bool:
    """Whether a watch should have been polled three times in the last ``age`` seconds."""
    if settings.cron is None:
        return age > _TURNS * settings.interval
    from apscheduler.triggers.cron import CronTrigger

    trigger = CronTrigger.from_crontab(settings.cron)
    turn, at = None, now - timedelta(seconds=age)
    for _ in range(_TURNS):
        turn = trigger.get_next_fire_time(turn, at)
        if turn is None or turn > now:
            return False
        at = turn
    return True
