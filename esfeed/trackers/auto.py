"""Chooses how a watch is followed: by sequence number where that works, else by its dates and versions.

The choice stands in the checkpoint, so a poll with nothing new asks for nothing more than the counters. It is thought
over when the chosen way refuses, and now and then, as an alias may lead to one index again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from esfeed.errors import ConfigError
from esfeed.ports import Batch, Checkpoint, Clock, Cluster, Known
from esfeed.trackers import seq_no, updated_at
from esfeed.trackers.following import Following
from esfeed.trackers.seq_no import SeqNoTracker, Unsuited
from esfeed.trackers.updated_at import UpdatedAtTracker

_THINK_AGAIN = 600.0


class AutoTracker:
    """See ``ports.Tracker``. ``choice`` is ``auto``, ``seq_no`` or ``updated_at``, as the settings say.

    ``name`` and ``why`` tell what follows the watch now, for ``esfeed status``.
    """

    def __init__(
        self,
        choice: str,
        cluster: Cluster,
        known: Known,
        following: Following,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._choice = choice
        self._following = following
        self._cluster = cluster
        self._clock = clock
        self._by_number = SeqNoTracker(cluster, known, following, clock, sleep)
        self._by_date = UpdatedAtTracker(cluster, known, following, clock)
        self._thought: float | None = None
        self.name = "" if choice == "auto" else choice
        self.why = "" if choice == "auto" else "the settings say so"
        self.reconcile = False

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        """Raises ``ConfigError`` where the settings ask for sequence numbers and there are none."""
        self._by_number.reconcile = self._by_date.reconcile = self.reconcile
        yield from self._poll(since)
        self.reconcile = False

    def _poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        if self._choice == updated_at.NAME:
            yield from self._by_date.poll(since)
            return
        if self._choice == "auto" and since is not None and since.tracker == updated_at.NAME and not self._due():
            self._say(updated_at.NAME, self.why or "sequence numbers did not serve when it was last tried")
            yield from self._by_date.poll(since)
            return
        try:
            yield from self._by_number.poll(since)
            self._say(seq_no.NAME, "the engine has sequence numbers")
        except Unsuited as error:
            if self._choice != "auto":
                hint = f'{error.message}; write "auto" or "updated_at"'
                raise ConfigError(f"watches.{self._following.watch}.tracker", "seq_no", hint) from error
            self._thought = self._clock.monotonic()
            self._say(updated_at.NAME, error.message)
            yield from self._by_date.poll(since)

    def behind(self, checkpoint: Checkpoint | None) -> int | None:
        """How many counted operations a checkpoint does not cover for certain, or ``None`` where it does not tell."""
        if checkpoint is None:
            return None
        if checkpoint.tracker == seq_no.NAME:
            return seq_no.behind(checkpoint)
        return updated_at.behind(checkpoint)

    def check(self) -> str:
        """What is behind the name, and how it would be followed, in words."""
        if self._choice != updated_at.NAME:
            try:
                return f"{self._by_number.check()}, followed by seq_no"
            except Unsuited as error:
                if self._choice != "auto":
                    hint = f'{error.message}; write "auto" or "updated_at"'
                    raise ConfigError(f"watches.{self._following.watch}.tracker", "seq_no", hint) from error
                return f"{self._by_date.check()}, followed by updated_at ({error.message})"
        return f"{self._by_date.check()}, followed by updated_at"

    def _due(self) -> bool:
        """Whether to try sequence numbers once more: not at once in a new process, as that costs cron's idle poll."""
        if self._thought is None:
            self._thought = self._clock.monotonic()
        return self._clock.monotonic() - self._thought >= _THINK_AGAIN

    def _say(self, name: str, why: str) -> None:
        if self._choice == "auto":
            self.name, self.why = name, why
