"""The commands ``run``, ``poll`` and ``reconcile``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click
import structlog

from esfeed.cli import complete
from esfeed.cli.deliveries import delivering
from esfeed.cli.extras import listening, observers, serve
from esfeed.cli.output import errors, fail, progress
from esfeed.config.http import DEFAULT_LISTEN
from esfeed.config.load import Config, load
from esfeed.config.plugins import one_of
from esfeed.errors import ConfigError, EsfeedError, StateError
from esfeed.ports import ControlRequest
from esfeed.runtime.factory import App
from esfeed.runtime.health import watch_health

log = structlog.get_logger("esfeed")

_LOOK_AGAIN = 0.3


def settings(path: Path) -> Config:
    """Loads the settings of a file, and logs its warnings."""
    config = load(path)
    for warning in config.warnings:
        log.warning("settings.odd", what=warning)
    return config


def some(wanted: Iterable[str], known: Iterable[str], option: str) -> list[str]:
    """The names given by an option, or all known ones if none was given. Raises ``ConfigError`` for an unknown one."""
    known = [*known]
    for name in wanted:
        if name not in known:
            raise ConfigError(option, name, one_of(known, name))
    return [*wanted] or known


@click.command()
@click.option(
    "--http",
    metavar="ADDRESS",
    is_flag=False,
    flag_value=DEFAULT_LISTEN,
    help=f"Also serve feed, dashboard and metrics at this address, such as {DEFAULT_LISTEN}.",
)
@click.pass_obj
def run(path: Path, http: str | None) -> None:
    """Follow all watches and deliver until stopped.

    SIGTERM and Ctrl-C stop it within ten seconds. Events that are not delivered by then wait for the next start.
    """
    config = settings(path)
    serving = listening(config, http)
    with App(config, "run", eager=False) as app:
        app.observers += observers()
        from esfeed.runtime.daemon import Daemon  # imports a scheduler, so only when needed

        daemon = Daemon(app, serve(app, serving) if serving else None)
        app.interruptible(daemon.stopping)
        daemon.run()


@click.command()
@click.option(
    "-w",
    "--watch",
    "watches",
    multiple=True,
    shell_complete=complete.watches,
    help="Only this watch; can be repeated.",
)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for delivery.")
@click.pass_obj
def poll(path: Path, watches: tuple[str, ...], timeout: float) -> None:
    """Poll each watch once, deliver, and exit: for cron.

    Exits with 3 if a watch or sink failed and others did not. Events that are not delivered wait for the next call.
    """
    with App(settings(path), "poll") as app:
        wanted = some(watches, app.config.watches, "--watch")
        app.hold()
        sinks = app.dispatchers  # before the first poll, so that a new sink gets what it finds
        with delivering(app, sinks, timeout) as stuck:
            failed = [name for name in wanted if not _polled(app, name, len(wanted) == 1)]
        app.runner.prune()
    _exit(len(failed) + len(stuck), len(wanted) - len(failed))


@click.command()
@click.option(
    "-w",
    "--watch",
    "watches",
    multiple=True,
    shell_complete=complete.watches,
    help="Only this watch; can be repeated.",
)
@click.option("--allow-mass-delete", is_flag=True, help="Accept that most documents are gone.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for delivery.")
@click.pass_obj
def reconcile(path: Path, watches: tuple[str, ...], allow_mass_delete: bool, timeout: float) -> None:
    """Compare all ids and versions, and deliver what differs.

    A watch that stopped because too many documents disappeared continues after `reconcile --allow-mass-delete`. If a
    feed is running, the command asks the feed to do it.
    """
    with App(settings(path), "reconcile") as app:
        wanted = some(watches, app.config.watches, "--watch")
        try:
            app.hold()
        except StateError:
            if not app.running():
                raise
            _wish(app, wanted, allow_mass_delete, timeout)
            return
        sinks = app.dispatchers
        failed = []
        with delivering(app, sinks, timeout) as stuck:
            for name in wanted:
                app.runner.reconcile(name, allow_mass_delete)
                failed += [] if _polled(app, name, len(wanted) == 1) else [name]
        app.runner.prune()
    _exit(len(failed) + len(stuck), len(wanted) - len(failed))


def _wish(app: App, watches: list[str], allow_mass_delete: bool, timeout: float) -> None:
    """Asks the running feed to reconcile, and waits for the next poll of each watch."""
    began = app.steady.now().timestamp()
    for name in watches:
        app.store.control.send(name, ControlRequest(allow_mass_delete))
    until = app.clock.monotonic() + timeout
    left = set(watches)
    failed = []
    while left and app.clock.monotonic() < until:
        app.sleep(_LOOK_AGAIN)
        waiting, notes = app.store.control.waiting(), watch_health(app.store.notes)
        for name in sorted(left - waiting.keys()):
            health = notes.get(name)
            if health is None or health.at <= began:
                continue
            if health.reconciled > began:
                errors.print(f"{name}: reconciled by the running feed")
                left.discard(name)
            elif health.error:
                fail(health.error, f"watch {name}")
                failed.append(name)
                left.discard(name)
    for name in left:
        fail("the running feed has not reconciled it yet; it will", f"watch {name}")
    _exit(len(failed) + len(left), len(watches) - len(failed) - len(left))


def _polled(app: App, name: str, alone: bool) -> bool:
    try:
        with progress(f"reading {name}") as progressed:
            found = app.runner.poll(name, progress=progressed)
    except EsfeedError as error:
        if alone and isinstance(error, ConfigError):
            raise
        fail(error, f"watch {name}")
        return False
    if found.events and not errors.is_terminal:
        log.info("watch.polled", watch=name, events=found.events)
    elif found.events:
        told_of = ", ".join(f"{count:,} {op}" for op, count in sorted(found.events.items()))
        errors.print(f"{name}: {told_of}")
    return True


def _exit(failed: int, done: int) -> None:
    if failed:
        sys.exit(3 if done else 1)
