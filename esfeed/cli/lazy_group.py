"""The group of commands: it knows their names, and imports one when it is called.

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
    """Where a command is found (an attribute of a module), and the first line of its help, to be listed without it."""

    module: str
    name: str
    line: str


class Commands(MutableMapping[str, click.Command]):
    """The commands by name; one is imported when it is looked up, and none when they are only gone through."""

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
        """All, sorted; in place of each that was not imported yet, one that can only be listed."""
        return {
            name: found or click.Command(name, help=self._ways[name].line)
            for name, found in sorted(self._found.items())
        }


class LazyGroup(click.Group):
    """A group of the commands that ``ways`` lead to."""

    def __init__(self, name: str | None = None, *, ways: Mapping[str, CommandRef], **options: Any) -> None:
        self._known = Commands(ways)
        super().__init__(name, commands=self._known, **options)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help, as click's own group writes it."""
        listed = self._known.listed()
        width = formatter.width - 6 - max(map(len, listed))
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(width)) for name, one in listed.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin so."""
        names = [
            CompletionItem(name, help=one.get_short_help_str())
            for name, one in self._known.listed().items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)
