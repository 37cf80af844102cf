"""The commands that only read: ``status``, ``events`` and ``check``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from esfeed.cli.feed import settings
from esfeed.cli.output import fail, out
from esfeed.delivery.target import Target
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, EsfeedError, Forbidden, Retryable, Unforeseen
from esfeed.runtime.factory import App
from esfeed.runtime.left import HINT, Left, left
from esfeed.runtime.signals import StopSignal
from esfeed.runtime.status import report
from esfeed.sinks.stdout.pretty import describe

_PAGE = 500
_LOOK_AGAIN = 0.3
_EVERY = 1.0
_LISTEN_EVERY = 0.1
_MAX_ROWS = 200
"""The limit of watches in a table: a terminal takes half a minute to lay out ten thousand."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch, one per line.")
@click.option("-w", "--watch", "live", is_flag=True, help="Update every second, until Ctrl-C.")
@click.pass_obj
def status(path: Path, as_json: bool, live: bool) -> None:
    """Show the state of every watch and sink."""
    with App(settings(path), "status") as app:
        if live:
            _watch(app, as_json)
        elif as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(report(app)), indent=2))
        else:
            out.print(_shown(report(app)))


def _watch(app: App, as_json: bool) -> None:
    stop = StopSignal()
    with (
        contextlib.nullcontext() if as_json or not out.is_terminal else Live(console=out, auto_refresh=False) as screen
    ):
        while not stop():
            status = report(app)
            if as_json:
                click.echo(json.dumps(status))
            elif screen is None:
                out.print(_shown(status))
            else:
                screen.update(_shown(status), refresh=True)
            until = time.monotonic() + _EVERY
            while not stop() and time.monotonic() < until:
                time.sleep(_LISTEN_EVERY)


def _shown(status: dict[str, Any]) -> Group:
    running = f"held by {status['running']}" if status["running"] else "no feed is running"
    parts: list[RenderableType] = [Text(f"state {status['state']}, position {status['position']:,}; {running}"), ""]
    watches = _table("watch", "state", "index", "engine", "tracker", "documents", "lag", "last poll", "poll cost")
    for name, row in _worth_a_row(status["watches"]):
        polled = "tracker" in row
        ago = _ago(row["last_poll_seconds_ago"]) if polled else "-"
        cost = _cost(row["poll_requests"], row["poll_bytes"]) if polled else "-"
        known = (row["index"], row.get("engine", ""), row.get("tracker", ""), f"{row['documents']:,}")
        watches.add_row(name, _state(row), *known, _lag(row), ago, cost)
    sinks = _table("sink", "state", "type", "sent", "backlog", "parked", "dead", "dropped", "last try", "next try")
    for name, row in status["sinks"].items():
        ago = _ago(row["last_try_seconds_ago"]) if "sent" in row else "-"
        counts = [f"{row.get(key, 0):,}" for key in ("sent", "backlog", "parked", "dead", "dropped")]
        waits = row.get("next_try_in_seconds", 0.0)
        sinks.add_row(name, _state(row), row["type"], *counts, ago, f"in {waits:.0f} s" if waits else "-")
    parts.append(watches)
    if left_out := len(status["watches"]) - watches.row_count:
        text = f"and {left_out:,} more watches ({_counted(status['watches'])} in all); --json shows each"
        parts += ["", Text(text, style="dim")]
    parts += ["", sinks]
    if any(row["dead"] for row in status["sinks"].values()):
        hint = "`esfeed dead` lists the dead events, `esfeed redrive` sends them again"
        parts += ["", Text(hint, style="dim")]
    for name, row in _worth_a_row(status["watches"]):
        if row.get("tracker") == "updated_at" and row["why"]:
            parts += ["", Text(f"watch {name} uses the tracker updated_at: {row['why']}", style="dim")]
    for name, row in status["left"].items():
        parts += ["", Text(f"sink {name} is not in the settings: {Left(**row)}; {HINT}", style="yellow")]
    for kind, part in (("watches", "watch"), ("sinks", "sink")):
        for name, row in _worth_a_row(status[kind]):
            if row.get("error"):
                parts += ["", Text(f"{part} {name}: {row['error']}", style="red")]
    return Group(*parts)


def _worth_a_row(watches: dict[str, Any]) -> list[tuple[str, Any]]:
    """At most ``_MAX_ROWS`` watches, those with a problem first."""
    if len(watches) <= _MAX_ROWS:
        return [*watches.items()]
    return sorted(watches.items(), key=lambda one: one[1]["state"] == "ok")[:_MAX_ROWS]


def _counted(watches: dict[str, Any]) -> str:
    counts = Counter(row["state"] for row in watches.values())
    return ", ".join(f"{count:,} {state}" for state, count in counts.most_common())


def _lag(row: dict[str, Any]) -> str:
    """The possible age of the oldest unseen change, and how many operations may be unseen, if that is known."""
    if row.get("lag_seconds") is None:
        return "-"
    age = _ago(row["lag_seconds"]).removesuffix(" ago")
    operations = row["lag_operations"]
    return f"{age}, {operations:,} op{'' if operations == 1 else 's'}" if operations else age


def _cost(requests: int, received_bytes: int) -> str:
    return f"{requests} request{'' if requests == 1 else 's'}, {received_bytes:,} bytes"


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _state(row: dict[str, Any]) -> Text:
    return Text(
        row["state"],
        style={"ok": "green", "failing": "bold red", "stalled": "bold red", "parked": "yellow"}.get(
            row["state"], "dim"
        ),
    )


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.1f} s ago"


@click.command()
@click.option("--since", type=int, default=0, show_default=True, help="Start after this position of the log.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, also on a terminal.")
@click.pass_obj
def events(path: Path, since: int, follow: bool, as_json: bool) -> None:
    """Show the log: as text on a terminal, as CloudEvents elsewhere.

    CloudEvents are JSON, one object per line.
    """
    pretty = sys.stdout.isatty() and not as_json
    with App(settings(path), "events") as app:
        while True:
            rows = app.store.log.read(since, _PAGE)
            for row in rows:
                since = row.position
                if pretty:
                    out.print(describe(row.event, out.width), soft_wrap=True)
                else:
                    click.echo(envelope("cloudevents").encode(row.event).decode())
            if not rows:
                if not follow:
                    return
                time.sleep(_LOOK_AGAIN)


@click.command()
@click.pass_obj
def check(path: Path) -> None:
    """Check settings, clusters, watches and sinks; change nothing."""
    good = bad = 0
    with App(settings(path), "check") as app:
        click.echo(f"ok      settings {path}")
        for name, cluster in app.engines():
            good, bad = _say(f"cluster {name}", lambda cluster=cluster: str(cluster.engine), good, bad)
        for name in app.config.watches:
            good, bad = _say(f"watch {name}", lambda name=name: _followed(app, name), good, bad)
        for name in app.config.sinks:
            good, bad = _say(f"sink {name}", lambda name=name: _opened(app, name), good, bad)
        try:
            for name, one in left(app).items():
                click.echo(f"left    sink {name} is not in the settings: {one}; {HINT}")
        except EsfeedError as error:
            fail(error, "state")
            bad += 1
    if bad:
        sys.exit(3 if good else 1)


def _followed(app: App, watch: str) -> str:
    return app.trackers[watch].check(app.store.commits.checkpoint(watch)) + _without_backfill(app, watch)


def _without_backfill(app: App, watch: str) -> str:
    """Why a backfill would refuse a watch that the feed can follow; empty if it would not."""
    section = app.config.watches[watch]
    if not section.timestamp_field:
        return ""
    from esfeed.backfill import check_field

    cluster = app.clusters[watch]
    try:
        check_field(cluster, watch, section.index, section.timestamp_field, cluster.counters(section.index))
    except Forbidden:
        return ""
    except ConfigError as error:
        return f"; no backfill: {error}"
    return ""


def _opened(app: App, name: str) -> str:
    target = Target(name, app.sink(name))
    try:
        target.open()
    except Retryable:
        if holder := app.lock.held_by():
            return f"in use by {holder}"
        raise
    finally:
        target.close()
    return "opens"


def _say(part: str, ask: Any, good: int, bad: int) -> tuple[int, int]:
    try:
        try:
            click.echo(f"ok      {part}: {ask()}")
        except EsfeedError:
            raise
        except Exception as error:
            raise Unforeseen(f"the check of {part}", error) from error
    except EsfeedError as error:
        click.echo(f"failed  {part}")
        fail(error, part)
        return good, bad + 1
    return good + 1, bad
