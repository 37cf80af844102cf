"""The commands for dead events: ``dead`` lists, shows and discards them, ``redrive`` sends them again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from esfeed.cli import complete
from esfeed.cli.deliveries import deliver
from esfeed.cli.feed import settings, some
from esfeed.cli.output import errors, fail, out
from esfeed.config.plugins import one_of
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, StateError
from esfeed.model.times import rfc3339
from esfeed.ports import Parked
from esfeed.runtime.factory import App
from esfeed.sinks.stdout.pretty import clean
from esfeed.text.jsontext import parse, text_of

_PAGE = 200
_LOOK_AGAIN = 0.2
_SHOWN = 300
_LIVE = ("retry", "waiting")


@click.command()
@click.argument("sink", required=False, shell_complete=complete.sinks)
@click.argument("position", type=int, required=False)
@click.option("-s", "--sink", "of", shell_complete=complete.sinks, help="Only events of this sink.")
@click.option("--parked", is_flag=True, help="Also list events that esfeed still retries.")
@click.option("--discard", is_flag=True, help="Delete them: the one named, those of --sink, or all with --all.")
@click.option("--all", "every", is_flag=True, help="With --discard: the events of every sink.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, or one object with the whole event.")
@click.pass_obj
def dead(
    path: Path,
    sink: str | None,
    position: int | None,
    of: str | None,
    parked: bool,
    discard: bool,
    every: bool,
    as_json: bool,
) -> None:
    """List dead events; with SINK and POSITION, show one whole.

    An event is dead if the sink rejected it, or failed `attempts` times. Later events of its document continue.
    `esfeed redrive` sends dead events again.
    """
    sink = _one_sink(sink, of)
    with App(settings(path), "dead") as app:
        names = _known(app, sink)
        if discard:
            _discard(app, names, sink, position, every)
        elif position is not None and sink is not None:
            _show_one(_found(app, sink, position), as_json)
        else:
            _list(_pages(app, names, parked), as_json)


@click.command()
@click.argument("sink", required=False, shell_complete=complete.sinks)
@click.argument("position", type=int, required=False)
@click.option("-s", "--sink", "of", shell_complete=complete.sinks, help="Every dead event of this sink.")
@click.option("--all", "every", is_flag=True, help="Every dead event of every sink.")
@click.option("--force", is_flag=True, help="Also send events that would overwrite a newer state.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the delivery.")
@click.pass_obj
def redrive(
    path: Path, sink: str | None, position: int | None, of: str | None, every: bool, force: bool, timeout: float
) -> None:
    """Send dead events again: one, those of a sink, or all.

    Use SINK and POSITION for one event, --sink for those of a sink, or --all. An event is not sent if a newer state of
    its document was delivered in the meantime, unless --force is set. A running feed sends the events; otherwise this
    command does.
    """
    sink = _one_sink(sink, of)
    if every == (sink is not None):
        raise ConfigError("redrive", None, "use SINK and POSITION for one event, or either --sink SINK or --all")
    with App(settings(path), "redrive") as app, ExitStack() as stack:
        names = some([sink] if sink else [], app.config.sinks, "--sink")
        names = [name for name in names if app.config.sinks[name].persist]
        if sink and not names:
            raise ConfigError(
                f"sinks.{sink}.persist", False, "the sink stores no events, so there are none to send again"
            )
        own = _holds(app, stack)
        if sink is not None and position is not None:
            one = _found(app, sink, position)
            if one.state in _LIVE:
                raise ConfigError(
                    "POSITION", position, f"the event is not dead; esfeed still retries it (attempt {one.attempts})"
                )
        asked = app.store.dead_letters.redrive(names, position, force=force)
        older = _superseded(app, names, position, asked)
        if asked and own:
            deliver(app, sorted({one.sink for one in asked}), timeout)
        elif asked:
            _await(app, asked, timeout)
        sent = _report(app, asked)
    sys.exit(0 if sent == len(asked) and not older else 3 if sent else 1)


def _one_sink(sink: str | None, of: str | None) -> str | None:
    if sink and of and sink != of:
        raise ConfigError("--sink", of, f"remove it; the argument already names {sink!r}")
    return sink or of


def _known(app: App, sink: str | None) -> list[str]:
    """That sink, or all that the settings or the state know."""
    known = [*dict.fromkeys([*app.config.sinks, *sorted(app.store.dead_letters.counts())])]
    if sink is not None and sink not in known:
        raise ConfigError("SINK", sink, one_of(known, sink))
    return known if sink is None else [sink]


def _found(app: App, sink: str, position: int) -> Parked:
    one = app.store.dead_letters.get(sink, position)
    if one is None:
        hint = f"sink {sink} has no dead event at that position; `esfeed dead --sink {sink}` lists its dead events"
        raise ConfigError("POSITION", position, hint)
    return one


def _pages(app: App, names: Sequence[str], live: bool) -> Iterator[Parked]:
    after = ("", 0)
    while page := app.store.dead_letters.page(names, after, _PAGE, live=live):
        yield from page
        after = page[-1].sink, page[-1].position


def _list(found: Iterator[Parked], as_json: bool) -> None:
    if as_json:
        click.echo("[")
        for index, one in enumerate(found):
            click.echo(("," if index else "") + json.dumps(_fields(one)))
        click.echo("]")
        return
    table = Table("sink", "position", "document", "op", "attempts", "since", "state", "error", box=None, pad_edge=False)
    for one in found:
        fields = _fields(one)
        state = fields["state"] if fields["newer"] is None else f"{fields['state']}, newer one delivered"
        row = (
            one.sink,
            str(one.position),
            clean(fields["document"], 60),
            fields["op"],
            str(one.attempts),
            fields["at"],
        )
        table.add_row(*map(Text, (*row, state, clean(one.error, _SHOWN))))
    if table.row_count:
        out.print(table)
    else:
        errors.print("no dead events")


def _fields(one: Parked) -> dict[str, Any]:
    assert one.event is not None
    return {
        "sink": one.sink,
        "position": one.position,
        "id": one.event.id,
        "watch": one.event.watch,
        "document": one.event.subject,
        "op": one.event.op,
        "state": one.state,
        "attempts": one.attempts,
        "error": one.error,
        "at": rfc3339(datetime.fromtimestamp(one.since, UTC), "seconds"),
        "newer": one.newer,
    }


def _show_one(one: Parked, as_json: bool) -> None:
    assert one.event is not None
    fields = _fields(one)
    event = parse(envelope("cloudevents").encode(one.event))
    if as_json:
        click.echo(text_of({**fields, "event": event}, indent=2, ordered=False))
        return
    for name, value in fields.items():
        if value is not None:
            out.print(Text(f"{name:9} {clean(str(value), 2000)}"), soft_wrap=True)
    click.echo(text_of(event, indent=2, ordered=False))


def _discard(app: App, names: Sequence[str], sink: str | None, position: int | None, every: bool) -> None:
    if every == (sink is not None):
        raise ConfigError("--discard", None, "use SINK and POSITION for one event, or either --sink SINK or --all")
    if sink is not None and position is not None and _found(app, sink, position).state in _LIVE:
        raise ConfigError("POSITION", position, "the event is not dead; esfeed still retries it")
    errors.print(f"{app.store.dead_letters.discard(names, position):,} dead events discarded")


# --- sending again


def _holds(app: App, stack: ExitStack) -> bool:
    """Whether this process must send; otherwise a running feed does.

    Raises ``StateError`` if something other than a running feed holds the state.
    """
    try:
        stack.enter_context(app.lock)
    except StateError:
        if not app.running():
            raise
        return False
    return True


def _superseded(app: App, names: Sequence[str], position: int | None, asked: Sequence[Parked]) -> int:
    """Prints the events that are not sent because of a newer state; returns how many."""
    if position is not None and asked:
        return 0
    passed = {(one.sink, one.position) for one in asked}
    left = [
        one
        for name in names
        for one in app.store.outbox.parked(name)
        if one.state == "dead" and (one.sink, one.position) not in passed and position in (None, one.position)
    ]
    for one in left[:20]:
        what = f"not sent: it would overwrite a newer state of its document (position {one.newer})"
        fail(f"{what}; use --force to send it anyway, or `esfeed dead --discard {one.sink} {one.position}`",
             f"sink {one.sink}, position {one.position}")  # fmt: skip
    if len(left) > 20:
        fail(f"and {len(left) - 20:,} more, for the same reason")
    return len(left)


def _await(app: App, asked: Sequence[Parked], timeout: float) -> None:
    """Waits until the running feed has tried each."""
    until = app.clock.monotonic() + timeout
    names = sorted({one.sink for one in asked})
    left = {(one.sink, one.position) for one in asked}
    while left and app.clock.monotonic() < until:
        app.sleep(_LOOK_AGAIN)
        left &= {
            (one.sink, one.position) for name in names for one in app.store.outbox.parked(name) if one.state != "dead"
        }


def _report(app: App, asked: Sequence[Parked]) -> int:
    """Prints what happened to each event; returns how many were sent."""
    sent = 0
    there = {
        (one.sink, one.position): one for name in {one.sink for one in asked} for one in app.store.outbox.parked(name)
    }
    for one in asked:
        now = there.get((one.sink, one.position))
        where = f"sink {one.sink}, position {one.position}"
        if now is None:
            sent += 1
        elif now.state == "dead" and now.newer is not None:
            fail(f"not sent: a newer state of its document has just been delivered (position {now.newer})", where)
        elif now.state == "dead":
            fail(f"dead again: {now.error}", where)
        elif app.running() or now.state in _LIVE:
            fail(f"not sent yet, the feed keeps trying: {now.error or 'waiting for its turn'}", where)
        else:
            fail("not sent yet: the next run of the feed sends it", where)
    errors.print(f"{sent:,} of {len(asked):,} sent")
    return sent
