"""One poll of one watch, from the cluster to the store: the first of esfeed's two loops (the other: dispatcher).

The scheduler, ``esfeed poll`` and the tests all call ``run_once``.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from esfeed.changes import diff
from esfeed.changes.events import EventFactory
from esfeed.errors import MassDelete
from esfeed.ports import Batch, Checkpoint, Clock, Commit, Commits, Log, Notifier, Profile, Progress, Stop, Tracker

_ALWAYS_ALLOWED = 1000
_AT_ONCE = 1000
"""The limit of documents in one transaction if other watches wait for theirs. Another watch then waits a third as long.
It costs a third more time, because each transaction writes whole pages of the database.
"""


class Watch(msgspec.Struct, frozen=True):
    """What the loop needs to know about a watch, besides its tracker.

    ``mass_delete_limit`` is a share of the known documents. ``split_batches``: other watches poll at the same time, so
    a large batch is committed in parts. ``alone``: no other process writes the checkpoint of the watch, so it is read
    once.
    """

    name: str
    cluster: str
    timestamp_field: str = "updated_at"
    silent: bool = False
    keep_documents: bool = True
    mass_delete_limit: float = 0.3
    split_batches: bool = False
    alone: bool = False


class Poll(msgspec.Struct, frozen=True):
    """The result of a poll: logged events by op, documents read, and whether the caller stopped it."""

    events: dict[str, int]
    read: int
    stopped: bool = False


class Watcher:
    """Polls one watch. One thread at a time. ``allow_mass_delete`` holds until a poll completes."""

    def __init__(
        self,
        watch: Watch,
        tracker: Tracker,
        profile: Profile,
        commits: Commits,
        log: Log,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        self.watch = watch
        self._tracker = tracker
        self._commits = commits
        self._log = log
        self._notifier = notifier
        self.event_factory = EventFactory(watch.name, watch.cluster, watch.timestamp_field, profile, clock)
        self.allow_mass_delete = False
        self._known_before: int | None = None
        self._since: Checkpoint | None = None
        self._sure = False

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The progress of the watch. Raises ``StateError``."""
        return self._since if self._sure else self._commits.checkpoint(self.watch.name)

    def run_once(self, stop: Stop = lambda: False, progress: Progress = lambda read, total: None) -> Poll:
        """Reads what is new and commits it, batch by batch. Raises ``ClusterError``, ``StateError``, ``ConfigError``.

        After an error, or when ``stop`` returns true, the committed batches stay, and the next poll continues from
        there.
        """
        since, self._sure = self.checkpoint, False
        events: dict[str, int] = {}
        read = 0
        self._known_before = None
        for batch in self._tracker.poll(since):
            self._guard(batch)
            for part in _parts(batch) if self.watch.split_batches else (batch,):
                commit = self._settle(part)
                if commit is not None:
                    self._notifier.publish(self._commits.commit(self.watch.name, commit))
                    since = commit.checkpoint or since
                for entry in commit.entries if commit else ():
                    events[entry.event.op] = events.get(entry.event.op, 0) + 1
            read = max(read, batch.read)
            progress(batch.read, batch.total)
            if stop() and batch.checkpoint is None:
                return Poll(events, read, stopped=True)
        self.allow_mass_delete = False
        self._since, self._sure = since, self.watch.alone
        return Poll(events, read)

    def _guard(self, batch: Batch) -> None:
        if not batch.gone or self.allow_mass_delete or batch.losing <= _ALWAYS_ALLOWED:
            return
        if self._known_before is None:
            # Counted before this poll deletes any: otherwise the share would grow with each batch.
            self._known_before = self._commits.known(self.watch.name).count()
        known = self._known_before
        if batch.losing > self.watch.mass_delete_limit * known:
            raise MassDelete(
                f"{batch.losing:,} of {known:,} documents would be deleted at once, more than "
                f"{self.watch.mass_delete_limit:.0%} (watches.{self.watch.name}.mass_delete_limit)",
                f"if this is right, run `esfeed reconcile --watch {self.watch.name} --allow-mass-delete`; "
                "so far, esfeed has neither sent nor removed anything",
            )

    def _settle(self, batch: Batch) -> Commit | None:
        keep = self.watch.keep_documents
        revisions = diff.revised(batch.seen, keep=keep)
        keys = [*diff.in_doubt(batch.seen, revisions, batch.known), *(key for key, _ in batch.gone)]
        bodies = self._commits.documents(self.watch.name, keys) if keys else {}
        found = diff.seen(batch.seen, revisions, batch.known, bodies, keep=keep, snapshot=batch.snapshot)
        changes = [*found.changes, *diff.gone(batch.gone, bodies)]
        if batch.snapshot and self.watch.silent:
            changes = [change for change in changes if change.op != "read"]
        if not (found.revisions or batch.gone or batch.checkpoint or batch.stamps):
            return None
        return Commit(
            revisions=found.revisions,
            stamps=batch.stamps,
            documents=found.documents,
            gone=[key for key, _ in batch.gone],
            entries=self.event_factory.entries(changes, self._log.head(), batch.copies) if changes else [],
            checkpoint=batch.checkpoint,
            known=batch.known,
            passed=batch.passed,
        )


def _parts(batch: Batch) -> Iterator[Batch]:
    """Cuts a batch into parts that can be committed separately. The last one has all that is not ``seen``."""
    whole = max(0, len(batch.seen) - 1) // _AT_ONCE * _AT_ONCE
    for start in range(0, whole, _AT_ONCE):
        seen = batch.seen[start : start + _AT_ONCE]
        known = {doc.key: batch.known[doc.key] for doc in seen if doc.key in batch.known}
        yield Batch(seen, known, snapshot=batch.snapshot, copies=batch.copies)
    yield msgspec.structs.replace(batch, seen=batch.seen[whole:]) if whole else batch
