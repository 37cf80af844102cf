"""The contract of a tracker as a test suite: what :class:`esfeed.ports.Tracker` requires."""

from __future__ import annotations

from collections.abc import Collection

from esfeed.model.event import Key
from esfeed.ports import Batch, Checkpoint, Tracker


class TrackerContract:
    """Subclass it as ``Test…``.

    ``write`` creates or updates documents (by number), ``delete`` deletes them; ``rest`` lets all pending work happen:
    operations end, refreshes come. ``make`` creates a tracker over what ``keep`` stored, as a new process does.
    """

    checkpoint: Checkpoint | None = None

    def write(self, *docs: int) -> None:
        raise NotImplementedError

    def delete(self, *docs: int) -> None:
        raise NotImplementedError

    def rest(self) -> None:
        raise NotImplementedError

    def make(self) -> Tracker:
        raise NotImplementedError

    def keep(self, batch: Batch) -> None:
        raise NotImplementedError

    def key(self, doc: int) -> Key:
        """The key of a document by its number."""
        return Key("_doc", str(doc))

    def _poll(self, tracker: Tracker, batches: int | None = None) -> tuple[list[Key], list[Key]]:
        """(keys seen, keys gone) of a poll, or of its first ``batches``: then it ends without a checkpoint."""
        seen: list[Key] = []
        gone: list[Key] = []
        for number, batch in enumerate(tracker.poll(self.checkpoint)):
            if number == batches:
                break
            self.keep(batch)
            seen += [doc.key for doc in batch.seen]
            gone += [key for key, _ in batch.gone]
            self.checkpoint = batch.checkpoint or self.checkpoint
        return seen, gone

    def _keys(self, *docs: int) -> Collection[Key]:
        return sorted(self.key(doc) for doc in docs)

    def test_the_first_poll_reads_all_and_leaves_a_checkpoint(self) -> None:
        self.write(0, 1, 2)
        self.rest()
        seen, gone = self._poll(self.make())
        assert (sorted(seen), gone) == (self._keys(0, 1, 2), [])
        assert self.checkpoint is not None

    def test_what_is_at_rest_is_reported_once(self) -> None:
        self.write(0, 1)
        self.rest()
        tracker = self.make()
        self._poll(tracker)
        for _ in range(4):
            self.rest()
            assert self._poll(tracker) == ([], [])

    def test_updates_and_deletes_are_reported_once(self) -> None:
        self.write(0, 1, 2)
        self.rest()
        tracker = self.make()
        self._poll(tracker)
        self.write(1)
        self.delete(2)
        found = []
        for _ in range(4):
            self.rest()
            found.append(self._poll(tracker))
        assert sorted(key for seen, _ in found for key in seen) == self._keys(1)
        assert sorted(key for _, gone in found for key in gone) == self._keys(2)

    def test_a_new_process_goes_on_from_the_checkpoint(self) -> None:
        self.write(0, 1)
        self.rest()
        self._poll(self.make())
        self.write(0, 2)
        self.rest()
        found = []
        for _ in range(4):
            found.append(self._poll(self.make()))
            self.rest()
        assert sorted(key for seen, _ in found for key in seen) == self._keys(0, 2)
        assert [key for _, gone in found for key in gone] == []

    def test_after_a_poll_that_dies_half_way_the_next_reads_the_rest(self) -> None:
        self.write(0, 1, 2, 3)
        self.rest()
        first, _ = self._poll(self.make(), batches=1)
        seen, _ = self._poll(self.make())
        assert sorted({*first, *seen}) == self._keys(0, 1, 2, 3)
