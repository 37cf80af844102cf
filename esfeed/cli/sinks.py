"""The commands ``sinks``, ``sinks rename`` and ``sinks forget``: for sinks that were removed or renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from rich.table import Table

from esfeed.cli import complete
from esfeed.cli.feed import settings
from esfeed.cli.output import errors, out
from esfeed.config.plugins import one_of
from esfeed.errors import ConfigError
from esfeed.runtime.factory import App
from esfeed.runtime.left import HINT, Left, known


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def sinks(context: click.Context, as_json: bool) -> None:
    """List, rename or forget sinks.

    The list includes sinks that are no longer in the settings. Such a sink receives
    nothing. Its events are removed with the rest of the log.
    """
    if context.invoked_subcommand is not None:
        return
    with App(settings(context.obj), "sinks") as app:
        found, kinds = known(app), {name: section.type for name, section in app.config.sinks.items()}
    if as_json:
        rows = [{"name": name, "type": kinds.get(name)} | msgspec.structs.asdict(one) for name, one in found.items()]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("sink", "type", "backlog", "parked", "dead", box=None, pad_edge=False)
    for name, one in found.items():
        kind = kinds.get(name, "not in the settings")
        table.add_row(name, kind, f"{one.backlog:,}", f"{one.parked:,}", f"{one.dead:,}")
    out.print(table)
    if found.keys() - kinds.keys():
        out.print(f"\n{HINT}", style="dim")


@sinks.command()
@click.argument("old")
@click.argument("new", shell_complete=complete.sinks)
@click.pass_obj
def rename(path: Path, old: str, new: str) -> None:
    """Let the sink NEW continue where OLD stopped, with everything that waits for it.

    NEW receives events again that it received since it is in the settings. Stop the feed first.
    """
    with App(settings(path), "sinks rename") as app:
        app.hold()
        found = known(app)
        one = _left(app, found, "OLD", old)
        if new not in app.config.sinks:
            raise ConfigError("NEW", new, f"the settings have no such sink; {one_of(app.config.sinks, new)}")
        if found[new].parked or found[new].dead:
            aside = found[new].parked + found[new].dead
            hint = f"it has {aside:,} parked or dead events of its own; redrive or discard them first"
            raise ConfigError("NEW", new, hint)
        app.store.sinks.rename(old, new)
    errors.print(f"{new} continues where {old} stopped: {one}")


@sinks.command()
@click.argument("name")
@click.pass_obj
def forget(path: Path, name: str) -> None:
    """Give up a sink that is no longer in the settings, and what waits for it. Stop the feed first."""
    with App(settings(path), "sinks forget") as app:
        app.hold()
        one = _left(app, known(app), "NAME", name)
        app.store.sinks.forget(name)
    errors.print(f"{name}: forgotten; {one} no more")


def _left(app: App, found: Mapping[str, Left], option: str, name: str) -> Left:
    if name in app.config.sinks:
        raise ConfigError(option, name, "the settings still define it; remove it from them first")
    if name not in found:
        raise ConfigError(option, name, f"the state has no such sink; {one_of(found, name)}")
    return found[name]
