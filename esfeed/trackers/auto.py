"""Chooses how esfeed follows a watch: by sequence number if possible, otherwise by dates and versions.

The checkpoint contains the choice, so a poll that finds nothing new reads only the counters. The tracker chooses again
if the chosen method refuses, and from time to time, because an alias can lead to one index again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from esfeed.errors import ConfigError
from esfeed.ports import Batch, Checkpoint, Clock, Cluster, Known
from esfeed.trackers import seq_no, updated_at
from esfeed.trackers.options import TrackerOptions
from esfeed.trackers.seq_no import SeqNoTracker, Unsuited
from esfeed.trackers.updated_at import UpdatedAtTracker

_THINK_AGAIN = 600.0


class AutoTracker:
    """See ``ports.Tracker``. ``choice`` is ``auto``, ``seq_no`` or ``updated_at``, from the settings.

    ``name`` and ``why`` say how the watch is followed now, for ``esfeed status``. If ``reconcile`` is set, the next
    complete poll reads all ids. If ``accept`` is set as well, another cluster than before is no error.
    """

    def __init__(
        self,
        choice: str,
        cluster: Cluster,
        known: Known,
        options: TrackerOptions,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._choice = choice
        self._options = options
        self._cluster = cluster
        self._clock = clock
        self._by_number = SeqNoTracker(cluster, known, options, clock, sleep)
        self._by_date = UpdatedAtTracker(cluster, known, options, clock)
        self._thought: float | None = None
        self._counted: tuple[Checkpoint | None, int | None] = None, None
        self.name = "" if choice == "auto" else choice
        self.why = "" if choice == "auto" else "set in the settings"
        self.reconcile = False
        self.accept = False

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        """Raises ``ConfigError`` if the settings ask for sequence numbers and there are none."""
        self._by_number.reconcile = self._by_date.reconcile = self.reconcile
        self._by_number.behind.accept = self._by_date.behind.accept = self.accept
        yield from self._poll(since)
        self.reconcile = self.accept = False

    def _poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        if self._choice == updated_at.NAME:
            yield from self._by_date.poll(since)
            return
        if self._choice == "auto" and self._by_date_before(since):
            self._say(updated_at.NAME, self.why or "sequence numbers were not usable at the last attempt")
            yield from self._by_date.poll(since)
            return
        try:
            yield from self._by_number.poll(since)
            self._say(seq_no.NAME, "the engine has sequence numbers")
        except Unsuited as error:
            self._refuse(error)
            self._thought = self._clock.monotonic()
            self._say(updated_at.NAME, error.message)
            yield from self._by_date.poll(since)

    def behind(self, checkpoint: Checkpoint | None) -> int | None:
        """How many counted operations a checkpoint does not certainly cover; ``None`` if it does not say."""
        if checkpoint is None:
            return None
        if checkpoint is not self._counted[0]:
            of = seq_no if checkpoint.tracker == seq_no.NAME else updated_at
            self._counted = checkpoint, of.behind(checkpoint)
        return self._counted[1]

    def check(self, since: Checkpoint | None) -> str:
        """A text: what is behind the name, and how a poll after that checkpoint would follow it.

        Makes the same decisions as a poll, so it raises what a poll would raise.
        """
        if self._choice == updated_at.NAME or (self._choice == "auto" and self._by_date_before(since)):
            return f"{self._by_date.check(since)}, tracker updated_at"
        try:
            return f"{self._by_number.check(since)}, tracker seq_no"
        except Unsuited as error:
            self._refuse(error)
            return f"{self._by_date.check(since)}, tracker updated_at ({error.message})"

    def _refuse(self, why: Unsuited) -> None:
        """Raises ``ConfigError`` if the settings ask for sequence numbers."""
        if self._choice != "auto":
            hint = f'{why.message}; write "auto" or "updated_at"'
            raise ConfigError(f"watches.{self._options.watch}.tracker", "seq_no", hint) from why

    def _by_date_before(self, since: Checkpoint | None) -> bool:
        """Whether the last poll went by dates, and it is too early to try sequence numbers again."""
        return since is not None and since.tracker == updated_at.NAME and not self._due()

    def _due(self) -> bool:
        """Whether to try sequence numbers again. Not at once in a new process, because each poll by cron is one."""
        if self._thought is None:
            self._thought = self._clock.monotonic()
        return self._clock.monotonic() - self._thought >= _THINK_AGAIN

    def _say(self, name: str, why: str) -> None:
        if self._choice == "auto":
            self.name, self.why = name, why
