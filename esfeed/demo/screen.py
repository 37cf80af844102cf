"""The display: captions of what the cloud does, and each event as it arrives, with its delay at the right."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.text import Text

from esfeed.demo.demo_index import TYPE_FIELD
from esfeed.demo.ledger import Ledger
from esfeed.model.event import UNTYPED, Event
from esfeed.ports import Outcome, Sink
from esfeed.sinks.stdout.pretty import describe
from esfeed.text.decoders import read

_NARROWEST, _WIDEST = 40, 100
_DELAY = 8
_INDENT = 10
_NAME = 11


class _Typed(msgspec.Struct):
    kind: str | None = msgspec.field(name=TYPE_FIELD, default=None)


class Screen:
    """Prints lines to ``console``, from any thread. ``gone``: the reader has left."""

    def __init__(self, console: Console, ledger: Ledger) -> None:
        self._console = console
        self._ledger = ledger
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self.width = max(_NARROWEST, min(_WIDEST, console.width)) if console.is_terminal else _WIDEST
        self.ops: Counter[str] = Counter()
        self.gone = False

    def say(self, text: Text | str = "") -> None:
        """Prints a line, wrapped if it is too long."""
        with self._lock:
            self._print(text, width=self.width)

    def row(self, name: str, text: str, style: str = "") -> None:
        """Prints a name and its text, wrapped beside the name."""
        with self._lock:
            parts = Text(text, style).wrap(self._console, self.width - _NAME)
            for number, part in enumerate(parts):
                part.rstrip()
                self._print(Text.assemble((("" if number else name).ljust(_NAME), "bold"), part))

    def caption(self, text: str) -> None:
        """Prints what the cloud does now."""
        service, colon, rest = text.partition(":")
        self.say(Text.assemble("\n", (service + colon, "bold cyan"), (rest, "cyan")))

    def suggest(self, commands: Sequence[tuple[str, str]]) -> None:
        """Prints commands with their purpose, never wrapped, so that they can be copied whole."""
        widest = max((len(command) for command, _ in commands if len(command) < self.width // 2), default=0)
        for command, purpose in commands:
            line = Text.assemble("  ", (command, "bold"))
            if len(command) <= widest and widest + len(purpose) + 6 <= self.width:
                line.append(" " * (widest - len(command) + 2) + purpose, "dim")
            else:
                line.append(f"\n    {purpose}", "dim")
            with self._lock:
                self._print(line)

    def show(self, event: Event) -> None:
        """Prints an event once, even if several routes deliver it."""
        with self._lock:
            if event.id in self._seen:
                return
            self._seen.add(event.id)
            self.ops[event.op] += 1
            delay = self._ledger.shown(event)
            for line in self._lines(event, delay):
                self._print(line)

    def _print(self, line: Text | str, width: int | None = None) -> None:
        """Prints a line unchanged, or wrapped to ``width``."""
        if self.gone:
            return
        try:
            self._console.print(line, width=width, soft_wrap=width is None)
        except (OSError, SystemExit):  # rich raises SystemExit for a broken pipe
            self.gone = True

    def _lines(self, event: Event, delay: float | None) -> list[Text]:
        """One line, or two if the event does not fit into one."""
        room = self.width - _DELAY
        whole = describe(_brief(event), self.width)
        head, rest = whole, None
        split = whole.plain.find("  ", whole.plain.find("/"))
        if whole.cell_len > room and split > 0:
            head, _, rest = whole.divide([split, split + 2])
        head.truncate(room, overflow="ellipsis", pad=True)
        head.append(f"{delay:6.2f} s" if delay is not None else "", style="dim")
        head.rstrip()
        if rest is None:
            return [head]
        rest.truncate(self.width - _INDENT, overflow="ellipsis")
        return [head, Text.assemble(" " * _INDENT, rest)]


def _brief(event: Event) -> Event:
    """A shorter form of the event for reading.

    ``changed`` omits the time that every write renews. If the engine has no types, the type is that of the resource.
    """
    kind = event.type
    if kind == UNTYPED and (body := event.after or event.before) is not None:
        kind = read(body, _Typed).kind or kind
    changed = event.changed and (tuple(name for name in event.changed if name != "updated_at") or event.changed)
    return msgspec.structs.replace(event, type=kind, changed=changed)


class Shown:
    """A sink (``ports.Sink``) that shows what another sink took."""

    def __init__(self, sink: Sink, screen: Screen) -> None:
        self._sink = sink
        self._screen = screen

    def open(self) -> None:
        self._sink.open()

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes = self._sink.send(events)
        for event, outcome in zip(events, outcomes, strict=True):
            if outcome.ok:
                self._screen.show(event)
        return outcomes

    def close(self) -> None:
        self._sink.close()
