"""Which watches of a running feed are stalled: they have not reported for so long that something blocks them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from esfeed.runtime.health import WatchHealth, signs_of_life

if TYPE_CHECKING:
    from esfeed.config.load import WatchSettings
    from esfeed.runtime.factory import App

_TURNS = 3
_LEAST = 10.0
"""Seconds below which no watch is stalled: a poll takes time, and is stored at most once a second."""


def stalled(app: App, healths: Mapping[str, WatchHealth]) -> frozenset[str]:
    """The watches that were not polled for three intervals, and for at least ten seconds.

    Not stalled: a watch whose poll still gets answers from the cluster, a watch whose last poll failed (it is failing),
    and every watch while no feed runs.
    """
    alive = signs_of_life(app.store.notes)
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
    """Whether a watch should have polled three times in the last ``age`` seconds."""
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
