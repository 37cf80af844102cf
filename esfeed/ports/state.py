"""The state of a feed: what survives its process. Only ``store`` knows which database holds it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from esfeed.model.tokens import Token
from esfeed.ports.commits import Backfills, Commits
from esfeed.ports.log import Log, LogRow
from esfeed.ports.outbox import DeadLetters, Outbox


class Watches(Protocol):
    """The watches in the state."""

    def register(self, names: Iterable[str]) -> None:
        """Adds those watches, in one transaction."""

    def followed(self) -> set[str]:
        """The watches that have a checkpoint."""

    def documents(self) -> Mapping[str, int]:
        """The number of known documents of each watch that has any."""


class SinkRegistry(Protocol):
    """The sinks in the state, including those that are no longer in the settings. No feed may run during a change."""

    def cursors(self) -> Mapping[str, int]:
        """The cursor of each known sink."""

    def rename(self, old: str, new: str) -> None:
        """Gives ``new`` the cursor of ``old``, its parked events, and the rows logged for it alone.

        Replaces the cursor that ``new`` has. ``new`` may have no parked events.
        """

    def forget(self, name: str) -> None:
        """Deletes the cursor of a sink and its parked events."""


class Notes(Protocol):
    """The latest health of each part, as JSON, for ``esfeed status`` in another process."""

    def put(self, kind: str, name: str, data: bytes) -> None:
        """Replaces the note of one part."""

    def put_all(self, notes: Sequence[tuple[str, str, bytes]]) -> None:
        """Replaces many notes, each (kind, name, data), in one transaction."""

    def all(self, kind: str) -> Mapping[str, bytes]:
        """The notes of that ``kind``, by name."""


class ControlRequest(msgspec.Struct, frozen=True):
    """A request of another process to the running feed: to reconcile a watch."""

    allow_mass_delete: bool


class Control(Protocol):
    """Requests of other processes to the one that runs the feed, by watch."""

    def send(self, watch: str, request: ControlRequest) -> None:
        """Stores a request. It replaces an earlier one for that watch."""

    def waiting(self) -> Mapping[str, ControlRequest]:
        """The requests that the feed has not taken yet."""

    def take(self) -> Mapping[str, ControlRequest]:
        """Takes all requests; the next call does not return them again."""


class Tokens(Protocol):
    """The tokens of readers over HTTP. Thread-safe."""

    def add(self, token: Token) -> bool:
        """Stores a token; false if the name is in use."""

    def remove(self, name: str) -> bool:
        """Deletes a token; false if there is none of that name."""

    def find(self, token_digest: str) -> Token | None:
        """The token with that digest."""

    def all(self) -> Sequence[Token]:
        """Every token, by name."""


class Pruned(msgspec.Struct, frozen=True):
    """What one step of pruning deleted from the log: rows, and for each sink the entries that it had not received.

    ``more``: another step can prune more now.
    """

    rows: int = 0
    dropped: Mapping[str, int] = msgspec.field(default_factory=dict)
    more: bool = False


class Retention(Protocol):
    """Keeps the log within its limits."""

    def prune(self, before: int, limit: int, sinks: Mapping[str, Collection[str]], rows: int = 1000) -> Pruned:
        """Deletes rows older than ``before`` (epoch milliseconds), and more while the log has over ``limit`` bytes.

        Deletes the oldest first, up to ``rows``, in one transaction. ``sinks``: the sinks that read the log, each with
        the watches that are routed to it.
        """


class State(Protocol):
    """An open state. Call ``close`` at the end."""

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
        """The size of the state on disk in bytes, including free pages."""

    def close(self) -> None:
        """Closes every connection."""


class Notifier(Protocol):
    """Wakes those who wait for the log, within this process. Thread-safe."""

    def publish(self, rows: Sequence[LogRow]) -> None:
        """Calls the subscribers with newly committed rows, then wakes all waiters. Does nothing without rows."""

    def subscribe(self, subscriber: Callable[[Sequence[LogRow]], None]) -> None:
        """From now on, calls ``subscriber`` with the rows of each commit, in the thread that committed them."""

    def wait(self, seconds: float) -> None:
        """Sleeps until the next ``publish`` or ``wake``, or for ``seconds``."""

    def wake(self) -> None:
        """Wakes all waiters."""
