"""The command ``backfill``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import click

from esfeed.backfill import Backfill, Span
from esfeed.cli import complete
from esfeed.cli.deliveries import deliver
from esfeed.cli.feed import settings, some
from esfeed.cli.output import errors, fail, progress
from esfeed.cli.times import milliseconds
from esfeed.errors import ConfigError, EsfeedError, StateError
from esfeed.ports import Stop
from esfeed.routing.tally import Tally
from esfeed.runtime.factory import App
from esfeed.runtime.signals import StopSignal

_MUCH = 20_000
_LOOK_AGAIN = 0.2


@click.command()
@click.option("--since", required=True, help='Start of the period: "2026-11-24T10:00:00Z", or "24h", "7d" ago.')
@click.option("--until", help="End of the period (default: now).")
@click.option(
    "-w",
    "--watch",
    "watches",
    multiple=True,
    shell_complete=complete.watches,
    help="Only this watch; can be repeated.",
)
@click.option(
    "-s", "--sink", "sinks", multiple=True, shell_complete=complete.sinks, help="Only this sink; can be repeated."
)
@click.option("--undated", is_flag=True, help="Also send documents without a date.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the last delivery.")
@click.pass_obj
def backfill(
    path: Path,
    since: str,
    until: str | None,
    watches: tuple[str, ...],
    sinks: tuple[str, ...],
    undated: bool,
    timeout: float,
) -> None:
    """Send every document since a time, as read events.

    It can run beside `esfeed run`, which then delivers. If you stop it, the same command continues where it stopped.
    """
    with App(settings(path), "backfill") as app:
        now = app.clock.now()
        begin = milliseconds("--since", since, now)
        end = None if until is None else milliseconds("--until", until, now)
        if end is not None and end <= begin:
            raise ConfigError("--until", until, "it must be later than --since")
        chosen = some(watches, app.config.watches, "--watch")
        targets = _logged(app, sinks)
        stop = StopSignal()
        with ExitStack() as stack:
            own = _holds(app, stack)
            code = _run(app, chosen, targets, (begin, end, undated), own, stop)
            stuck = deliver(app, targets, timeout) if own else _others(app, targets, timeout, stop)
    sys.exit(code if code else 3 if stuck else 0)


def _logged(app: App, wanted: tuple[str, ...]) -> list[str]:
    """The sinks to send to. A backfill goes through the log, so sinks with ``persist = false`` are left out."""
    for name in some(wanted, app.config.sinks, "--sink") if wanted else ():
        if not app.config.sinks[name].persist:
            raise ConfigError(
                "--sink",
                name,
                "the sink has persist = false, but a backfill needs its log; name another sink, or remove persist",
            )
    return [name for name in some(wanted, app.config.sinks, "--sink") if app.config.sinks[name].persist]


def _holds(app: App, stack: ExitStack) -> bool:
    """Whether this process delivers: it does if no other process holds the state."""
    try:
        stack.enter_context(app.lock)
    except StateError as error:
        errors.print(f"{error.message}; that process delivers what this command reads")
        return False
    return True


def _run(
    app: App, watches: list[str], sinks: list[str], when: tuple[int, int | None, bool], own: bool, stop: Stop
) -> int:
    failed = done = nothing = 0
    for watch in watches:
        routed = tuple(sink for sink in sinks if watch in app.router.watches(sink))
        if not routed:
            continue
        section = app.config.watches[watch]
        span = Span(watch, section.index, section.timestamp_field, routed, *when, section.max_page_bytes)
        pace = _pacer(app, routed, own, stop)
        for sink in routed:
            app.dispatchers[sink].start()
        event_factory = app.watchers[watch].event_factory
        tally = Tally(watch, app.router)
        try:
            with ExitStack() as ways, progress(f"reading {watch}") as progressed:
                direct = [(sink, app.direct(sink, watch, tally)) for sink in routed] if own else []
                past = {sink: ways.enter_context(closing(writer)) for sink, writer in direct}
                cluster, count = app.clusters[watch], tally.judge
                job = Backfill(span, cluster, event_factory, app.store, app.notifier, pace, app.clock, past, count)
                sent, finished = job.run(stop, progressed)
        except EsfeedError as error:
            if isinstance(error, ConfigError) and len(watches) == 1:
                raise
            fail(error, f"watch {watch}")
            failed += 1
            continue
        done += 1
        note = "" if finished else "; stopped, the same command continues from there"
        errors.print(f"{watch}: {sent:,} documents read for {', '.join(routed)}{note}")
        for line in tally.report():
            errors.print(line, markup=False)
        nothing += tally.nothing
        if stop():
            return 1
    if nothing:
        errors.print("warning: nothing was sent of what was read; change the `where` of these routes to send it")
    return 1 if failed and not done else 3 if failed or nothing else 0


def _pacer(app: App, sinks: tuple[str, ...], own: bool, stop: Stop) -> Callable[[], None]:
    def pace() -> None:
        while max(map(app.backlog, sinks)) > _MUCH and not stop():
            if own:
                if deliver(app, sinks, 3600.0):
                    return
            else:
                time.sleep(_LOOK_AGAIN)

    return pace


def _others(app: App, sinks: list[str], timeout: float, stop: Stop) -> list[str]:
    """Waits for the process that delivers; returns the sinks that are not done after ``timeout`` seconds."""
    goal = app.store.log.last()
    until = app.clock.monotonic() + timeout
    while app.clock.monotonic() < until and not stop():
        if all((app.store.outbox.cursor(sink) or 0) >= goal for sink in sinks):
            return []
        time.sleep(_LOOK_AGAIN)
    if stop():
        return []
    stuck = [sink for sink in sinks if (app.store.outbox.cursor(sink) or 0) < goal]
    for sink in stuck:
        fail("the running feed has not delivered everything yet; it continues", f"sink {sink}")
    return stuck
