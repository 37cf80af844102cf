"""A group of commands that knows their names, and imports a command when it is called.

What a command needs takes up to a hundred times as long to import as the rest of the command line, and cron, which
polls every minute, pays for it each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem


class CommandRef(NamedTuple):
    """A command by its location (an attribute of a module), with the first line of its help for lists."""

    module: str
    name: str
    line: str


class Commands(MutableMapping[str, click.Command]):
    """The commands by name. Looking one up imports it; iterating imports none."""

    def __init__(self, ways: Mapping[str, CommandRef]) -> None:
        self._ways = ways
        self._found: dict[str, click.Command | None] = dict.fromkeys(ways)

    def __getitem__(self, name: str) -> click.Command:
        found = self._found[name]
        if found is None:
            way = self._ways[name]
            found = self._found[name] = getattr(import_module(way.module), way.name)
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def listed(self) -> Mapping[str, click.Command]:
        """All commands, sorted; a placeholder, only for lists, for each that is not imported yet."""
        return {
            name: found or click.Command(name, help=self._ways[name].line)
            for name, found in sorted(self._found.items())
        }


class LazyGroup(click.Group):
    """A group of the commands in ``ways``."""

    def __init__(self, name: str | None = None, *, ways: Mapping[str, CommandRef], **options: Any) -> None:
        self._known = Commands(ways)
        super().__init__(name, commands=self._known, **options)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands in the help, as click's own group does."""
        listed = self._known.listed()
        width = formatter.width - 6 - max(map(len, listed))
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(width)) for name, one in listed.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin with ``incomplete``."""
        names = [
            CompletionItem(name, help=one.get_short_help_str())
            for name, one in self._known.listed().items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)
