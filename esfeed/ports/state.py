"""The state of a feed: what survives its process. Nothing above ``store`` knows which database holds it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from esfeed.model.tokens import Token
from esfeed.ports.commits import Backfills, Commits
from esfeed.ports.log import Log, LogRow
from esfeed.ports.outbox import DeadLetters, Outbox


class Watches(Protocol):
    """The watches that the state knows."""

    def register(self, names: Iterable[str]) -> None:
        """Adds those watches, in one transaction for all."""

    def followed(self) -> set[str]:
        """The watches that have a checkpoint."""

    def documents(self) -> Mapping[str, int]:
        """How many documents are known, of each watch that has any."""


class SinkRegistry(Protocol):
    """The sinks that the state knows, also those that left the settings. No feed may run while it is changed."""

    def cursors(self) -> Mapping[str, int]:
        """The position of each sink that was ever seen."""

    def rename(self, old: str, new: str) -> None:
        """Lets ``new`` go on where ``old`` was: its cursor, its parked events, and rows logged for it alone.

        A cursor that ``new`` has of its own is forgotten; nothing may be parked for it.
        """

    def forget(self, name: str) -> None:
        """Forgets the cursor of a sink and what is parked for it."""


class Notes(Protocol):
    """The latest health of each part, as JSON, for ``esfeed status`` in another process."""

    def put(self, kind: str, name: str, data: bytes) -> None:
        """Replaces the note on one part."""

    def put_all(self, notes: Sequence[tuple[str, str, bytes]]) -> None:
        """Replaces many notes, each (kind, name, data), in one transaction."""

    def all(self, kind: str) -> Mapping[str, bytes]:
        """The notes of that ``kind``, by name."""


class ControlRequest(msgspec.Struct, frozen=True):
    """What another process asks of the running feed: to reconcile a watch."""

    allow_mass_delete: bool


class Control(Protocol):
    """Requests from other processes to the one that runs the feed, by watch."""

    def send(self, watch: str, request: ControlRequest) -> None:
        """Leaves a request; it replaces an earlier one for that watch."""

    def waiting(self) -> Mapping[str, ControlRequest]:
        """The requests that the feed has not taken yet."""

    def take(self) -> Mapping[str, ControlRequest]:
        """Takes all requests: the next call does not return them again."""


class Tokens(Protocol):
    """The tokens of readers over HTTP. Usable from many threads."""

    def add(self, token: Token) -> bool:
        """Keeps a token; false if there is one of that name already."""

    def remove(self, name: str) -> bool:
        """Forgets a token; false if there is none of that name."""

    def find(self, token_digest: str) -> Token | None:
        """The token with that digest."""

    def all(self) -> Sequence[Token]:
        """Every token, by name."""


class Pruned(msgspec.Struct, frozen=True):
    """What one step of pruning took from the log: rows, and by sink the entries that it had not had yet.

    ``more``: there is more to prune right now.
    """

    rows: int = 0
    dropped: Mapping[str, int] = msgspec.field(default_factory=dict)
    more: bool = False


class Retention(Protocol):
    """Keeps the log within its bounds."""

    def prune(self, before: int, limit: int, sinks: Mapping[str, Collection[str]], rows: int = 1000) -> Pruned:
        """Deletes rows older than ``before`` (epoch milliseconds), and while the log has over ``limit`` bytes.

        The oldest first, up to ``rows``, in one transaction. ``sinks``: those that are fed from the log, each with
        the watches that are routed to it.
        """


class State(Protocol):
    """An open state. ``close`` it at the end."""

    @property
    def watches(self) -> Watches: ...
    @property
    def commits(self) -> Commits: ...
    @property
    def backfills(self) -> Backfills: ...
    @property
    def log(self) -> Log: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def retention(self) -> Retention: ...
    @property
    def sinks(self) -> SinkRegistry: ...
    @property
    def notes(self) -> Notes: ...
    @property
    def control(self) -> Control: ...
    @property
    def tokens(self) -> Tokens: ...

    def size_bytes(self) -> int:
        """Bytes that the state takes on disk, with those that are free to be used again."""

    def close(self) -> None:
        """Closes every connection."""


class Notifier(Protocol):
    """Wakes those who wait for the log, within this process. Usable from many threads."""

    def publish(self, rows: Sequence[LogRow]) -> None:
        """Calls the subscribers with rows that were just committed, then wakes all who wait."""

    def subscribe(self, subscriber: Callable[[Sequence[LogRow]], None]) -> None:
        """From now on ``subscriber`` gets the rows of each commit, in the thread that made it."""

    def wait(self, seconds: float) -> None:
        """Sleeps until the next ``publish`` or ``wake``, or for ``seconds``."""

    def wake(self) -> None:
        """Wakes all who wait."""
