"""The commands that feed: ``run``, ``poll`` and ``reconcile``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import structlog

from esfeed.app import App
from esfeed.cli import complete
from esfeed.cli.beside import listening, observers, serve
from esfeed.cli.output import errors, fail, progress
from esfeed.config import Config, load
from esfeed.errors import ConfigError, EsfeedError, StateError
from esfeed.health import WatchHealth, Wish, pack, unpack
from esfeed.http_section import DEFAULT_LISTEN
from esfeed.plugins import one_of

log = structlog.get_logger("esfeed")

_LOOK_AGAIN = 0.3
_STRAIGHT_ENDS = 60.0


def settings(path: Path) -> Config:
    """The settings of a file; what is no fault but hardly meant is logged."""
    config = load(path)
    for warning in config.warnings:
        log.warning("settings.odd", what=warning)
    return config


def some(wanted: Iterable[str], known: Iterable[str], option: str) -> list[str]:
    """The names given by an option, all of the known ones where none was. Raises ``ConfigError`` for an unknown one."""
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
    help=f"Serve feed, dashboard and metrics at this address as well, such as {DEFAULT_LISTEN}.",
)
@click.pass_obj
def run(path: Path, http: str | None) -> None:
    """Follow all watches and deliver until told to stop.

    SIGTERM and Ctrl-C end it within ten seconds; what is not delivered by then waits for the next start.
    """
    config = settings(path)
    serving = listening(config, http)
    with App(config, "run", eager=False) as app:
        app.observers += observers()
        from esfeed.daemon import Daemon  # with a scheduler, which no other command waits for

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
    help="Only this watch (may be repeated).",
)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds that delivery may take.")
@click.pass_obj
def poll(path: Path, watches: tuple[str, ...], timeout: float) -> None:
    """Poll each watch once, deliver, and exit: for cron.

    Exits with 3 where a watch or sink failed while others did not; what was not delivered waits for the next time.
    """
    with App(settings(path), "poll") as app:
        wanted = some(watches, app.config.watches, "--watch")
        app.hold()
        sinks = app.dispatchers  # before the first poll, so that a new sink gets what it finds
        with straight(app):
            failed = [name for name in wanted if not _polled(app, name, len(wanted) == 1)]
        stuck = deliver(app, sinks, timeout)
        app.prune()
    _exit(len(failed) + len(stuck), len(wanted) - len(failed))


@click.command()
@click.option(
    "-w",
    "--watch",
    "watches",
    multiple=True,
    shell_complete=complete.watches,
    help="Only this watch (may be repeated).",
)
@click.option("--allow-mass-delete", is_flag=True, help="Take it for the truth that most documents are gone.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds that delivery may take.")
@click.pass_obj
def reconcile(path: Path, watches: tuple[str, ...], allow_mass_delete: bool, timeout: float) -> None:
    """Compare all ids and versions with what is known, tell what differs, and deliver.

    A watch that stopped because too much was gone at once goes on after `reconcile --allow-mass-delete`. Beside a
    running feed it asks that one to do it.
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
        with straight(app):
            for name in wanted:
                app.ask(name, allow_mass_delete)
                failed += [] if _polled(app, name, len(wanted) == 1) else [name]
        stuck = deliver(app, sinks, timeout)
        app.prune()
    _exit(len(failed) + len(stuck), len(wanted) - len(failed))


def _wish(app: App, watches: list[str], allow_mass_delete: bool, timeout: float) -> None:
    """Asks the running feed to do it, and waits for each watch's next poll."""
    began = app.clock.now().timestamp()
    for name in watches:
        app.store.note("wish", name, pack(Wish(allow_mass_delete)))
    until = app.clock.monotonic() + timeout
    left = set(watches)
    failed = []
    while left and app.clock.monotonic() < until:
        app.sleep(_LOOK_AGAIN)
        waiting, told = app.store.notes("wish"), app.store.notes("watch")
        for name in sorted(left - waiting.keys()):
            health = unpack(told[name], WatchHealth) if name in told else None
            if health is None or health.at <= began:
                continue
            if health.reconciled > began:
                errors.print(f"{name}: the running feed has reconciled it")
                left.discard(name)
            elif health.error:
                fail(health.error, f"watch {name}")
                failed.append(name)
                left.discard(name)
    for name in left:
        fail("the running feed has not come to it yet; it will", f"watch {name}")
    _exit(len(failed) + len(left), len(watches) - len(failed) - len(left))


def _polled(app: App, name: str, alone: bool) -> bool:
    try:
        with progress(f"reading {name}") as told:
            found = app.poll(name, progress=told)
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


def deliver(app: App, names: Iterable[str], timeout: float) -> list[str]:
    """Delivers what is logged until nothing is left, or ``timeout`` seconds are over; returns the sinks with a rest."""
    until = app.clock.monotonic() + timeout
    stuck: list[str] = []
    lock = threading.Lock()

    def drain(name: str) -> None:
        reason = ""
        try:
            while True:
                delivery = app.deliver(name)
                if delivery.idle and delivery.wait is None:
                    return
                reason = delivery.error or reason
                if app.clock.monotonic() + (delivery.wait or 0.0) > until:
                    break
                app.sleep(delivery.wait or 0.0)
        except EsfeedError as error:
            reason = str(error)
        with lock:
            fail(f"{_left(app, name)} for the next time ({reason})", f"sink {name}")
            stuck.append(name)

    threads = [threading.Thread(target=drain, args=[name], name=f"sink {name}", daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until + 1 - app.clock.monotonic()))
    for thread in threads:
        if thread.is_alive():
            fail(f"it did not answer within {timeout:g} s; what is logged waits for the next time", thread.name)
            stuck.append(thread.name)
    return stuck


def _left(app: App, name: str) -> str:
    try:
        counts = app.store.counts().get(name)
        parked = counts.parked if counts else 0
        waits = f"{app.backlog(name):,} log entries" + (f" and {parked:,} parked events" if parked else "")
    except EsfeedError:
        # It is the state that failed, and the reason says so.
        return "what is logged waits"
    return f"{waits} wait"


@contextmanager
def straight(app: App) -> Iterator[None]:
    """While it lasts, sinks that do without the log are served: their memory would not hold a whole poll."""
    over = threading.Event()

    def serve(name: str) -> None:
        while not over.is_set():
            try:
                delivery = app.deliver(name)
            except EsfeedError:
                return  # the last delivery meets it again, and tells
            if delivery.idle:
                app.store.wait(_LOOK_AGAIN)
            else:
                over.wait(delivery.wait or 0.0)

    names = [name for name in app.dispatchers if not app.config.sinks[name].persist]
    threads = [threading.Thread(target=serve, args=[name], name=f"sink {name}", daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(_STRAIGHT_ENDS)


def _exit(failed: int, done: int) -> None:
    if failed:
        sys.exit(3 if done else 1)
