"""Shell completion for names of watches and sinks, from the settings file of the command line so far.

https://click.palletsprojects.com/en/stable/shell-completion/
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def watches(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The watches whose names begin with ``incomplete``."""
    return _names(context, "watches", incomplete)


def sinks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The sinks whose names begin with ``incomplete``."""
    return _names(context, "sinks", incomplete)


def _names(context: click.Context, table: str, incomplete: str) -> list[CompletionItem]:
    path = context.find_root().params.get("config") or os.environ.get("ESFEED_CONFIG") or "esfeed.toml"
    try:
        # Parsed but not validated: completion must work with unfinished settings.
        sections = tomllib.loads(Path(path).read_text(encoding="utf-8")).get(table, {})
    except (OSError, ValueError):
        return []
    if not isinstance(sections, dict):
        return []
    return [
        CompletionItem(name, help=str(section.get("index") or section.get("type") or ""))
        for name, section in sections.items()
        if name.startswith(incomplete) and isinstance(section, dict)
    ]


some_watches = click.option(
    "-w", "--watch", "watches", multiple=True, shell_complete=watches, help="Only this watch; can be repeated."
)
some_sinks = click.option(
    "-s", "--sink", "sinks", multiple=True, shell_complete=sinks, help="Only this sink; can be repeated."
)
