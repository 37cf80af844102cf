"""Schedules polls with APScheduler, and keeps them on time when the system clock is set.

APScheduler stores the time of day at which each job is due. A clock that is set back by an hour would stop all jobs for
an hour. ``look`` detects that the time of day and the monotonic clock have moved apart, and schedules again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from esfeed.ports import Clock
from esfeed.runtime.clock import STEP

log = structlog.get_logger("esfeed")


class _ThreadEach(BaseExecutor):  # type: ignore[misc]  # APScheduler has no py.typed
    """Runs every job in its own daemon thread: no job waits for another, and the process can exit meanwhile."""

    def _do_submit_job(self, job: Any, run_times: Any) -> None:
        thread = threading.Thread(target=self._run, args=(job, run_times), name=f"poll {job.id}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # APScheduler would log it to its own logger, which is off. The job still runs at its next time.
            log.error("schedule.no_thread", job=job.id.strip(), error=str(error), hint=NO_THREAD)
            raise

    def _run(self, job: Any, run_times: Any) -> None:
        try:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)
        except BaseException as error:
            self._run_job_error(job.id, error, error.__traceback__)
        else:
            self._run_job_success(job.id, events)


NO_THREAD = "raise the limit of threads or memory of this process (ulimit -u, TasksMax, MemoryMax)"


class Schedule:
    """Runs jobs by name, each at most once at a time, in its own thread.

    ``awake``: the monotonic clock by which threads wait. It stands still while the machine sleeps.
    """

    def __init__(self, clock: Clock, awake: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._awake = awake
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
        self._scheduler = BackgroundScheduler(
            executors={"default": _ThreadEach()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        self._apart = self._difference()

    def every(self, seconds: float, name: str, job: Callable[..., None], *args: Any, at_once: bool = False) -> None:
        """Runs ``job`` every ``seconds``, for the first time after that, or now if ``at_once``."""
        first = self._clock.now() + timedelta(seconds=0 if at_once else seconds)
        trigger = IntervalTrigger(seconds=seconds)
        self._scheduler.add_job(job, trigger, id=name, args=args, next_run_time=first)

    def cron(self, when: str, name: str, job: Callable[..., None], *args: Any) -> None:
        """Runs ``job`` at the times of the cron expression ``when`` (UTC)."""
        self._scheduler.add_job(job, CronTrigger.from_crontab(when), id=name, args=args)

    def start(self) -> None:
        """Starts the jobs."""
        self._scheduler.start()

    def stop(self) -> None:
        """Starts no further job."""
        self._scheduler.shutdown(wait=False)

    def look(self) -> float:
        """Call it often: if the clock was set, runs every job with an interval now and recomputes the cron times.

        Returns by how many seconds the clock was set, 0 if it was not. A machine that slept looks like one whose clock
        was set forward.
        """
        apart = self._difference()
        step = apart - self._apart
        if abs(step) < STEP:
            return 0.0
        self._apart = apart
        now = self._clock.now()
        for job in self._scheduler.get_jobs():
            cron = isinstance(job.trigger, CronTrigger)
            job.modify(next_run_time=job.trigger.get_next_fire_time(None, now) if cron else now)
        return step

    def _difference(self) -> float:
        return self._clock.now().timestamp() - self._awake()
