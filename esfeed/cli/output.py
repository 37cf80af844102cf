"""The output of the commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from esfeed.errors import EsfeedError
from esfeed.ports import Progress

errors = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def fail(error: EsfeedError | str, what: str = "") -> None:
    """Prints an error and its hint on standard error."""
    prefix = f"{what}: " if what else ""
    errors.print(Text(f"esfeed: {prefix}{error}", style="red" if errors.is_terminal else ""))


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A bar with rate and remaining time, on a terminal only; yields the callback for progress."""
    if not errors.is_terminal:
        yield lambda read, total: None
        return
    from esfeed.cli.bar import bar  # imports more of rich than one line needs; cron has no terminal

    with bar(errors) as shown:
        task = shown.add_task(what, total=None)
        yield lambda read, total: shown.update(task, completed=read, total=total or None) if total else None
