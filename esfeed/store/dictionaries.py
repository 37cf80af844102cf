"""The dictionaries with which the contents of each watch are compressed (see ``compression``).

A watch gets one with its first thousand documents, and another when its documents have changed so much that a new one
compresses them better. No dictionary is deleted, because contents stay packed with the one that was used for them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.errors import StateError
from esfeed.store import schema as t
from esfeed.store.compression import Damaged, ZstdPacker, dictionary_of, trained
from esfeed.store.sessions import Sessions

_MIN_DOCUMENTS = 1000
_SAMPLES = 2000
_SAMPLED_BYTES = 4 << 20
_REVIEW = 50_000
"""The number of documents of a watch after which another dictionary is tried."""
_OPEN = 128
"""Dictionaries that stay in memory. Each takes about 60 KB, and 0.1 ms to open."""


class UnreadableContent(StateError):
    """A stored content or event is damaged, or its dictionary is damaged or missing."""


class Dictionaries:
    """Packs and unpacks the contents of all watches of a state. Thread-safe."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._plain = ZstdPacker()
        self._newest: dict[int, int] = {}
        self._packed: dict[int, int] = {}
        self._open: OrderedDict[int, ZstdPacker] = OrderedDict()
        self._lock = threading.Lock()

    def packer(self, watch: int, contents: Sequence[bytes] = ()) -> ZstdPacker:
        """What packs contents of a watch, by its number. ``contents``: those that will be packed next.

        It trains a dictionary if one is due. Raises ``StateError``.
        """
        if watch not in self._newest:
            self._find(watch)
        try:
            packer = self._packer(self._newest[watch])
        except Damaged:
            packer = self._plain  # what needs it cannot be read; the next review trains another
        if contents:
            self._packed[watch] += len(contents)
            if self._packed[watch] >= _REVIEW:
                self._packed[watch] = 0
                packer = self._reviewed(watch, contents, packer)
        return packer

    def unpack(self, raw: bytes) -> bytes:
        """The text that a packer packed. Raises ``UnreadableContent``, ``StateError``."""
        try:
            return self._packer(dictionary_of(raw)).unpack(raw)
        except Damaged as error:
            raise UnreadableContent(
                f"a document or an event in the state {self._sessions.where} cannot be read: {error}",
                "restore a backup; or move the state away, and begin with a new one",
            ) from error

    def _find(self, watch: int) -> None:
        """Reads which dictionary is the newest of a watch. A watch without one gets it after ``_MIN_DOCUMENTS``."""
        newest = sa.select(sa.func.max(t.dictionary.c.id)).where(t.dictionary.c.watch == watch)
        stored = sa.select(t.document.c.watch).where(t.document.c.watch == watch).limit(1).offset(_MIN_DOCUMENTS)
        with self._sessions.reading() as connection:
            number = connection.scalar(newest)
            enough = number is None and connection.scalar(stored) is not None
        self._packed[watch] = 0 if number is not None else _REVIEW - (0 if enough else _MIN_DOCUMENTS)
        self._newest[watch] = number or 0

    def _reviewed(self, watch: int, contents: Sequence[bytes], present: ZstdPacker) -> ZstdPacker:
        """A packer with a new dictionary, if that is better than the ``present`` one.

        If a watch has none and gets none, an empty one is stored, so that the next process does not try again at once.
        """
        samples = self._samples(watch, contents)
        with self._sessions.reading() as connection:
            number = int(connection.scalar(sa.select(sa.func.max(t.dictionary.c.id))) or 0) + 1
        made = trained(number, samples, present)
        if made is None and self._newest[watch]:
            return present
        row = insert(t.dictionary).values(id=number, watch=watch, body=made.raw if made else b"")
        with self._sessions.writing() as connection:
            if not connection.execute(row.on_conflict_do_nothing()).rowcount:
                return present  # another process has taken the number
        self._newest[watch] = number
        return made or present

    def _samples(self, watch: int, contents: Sequence[bytes]) -> Sequence[bytes]:
        """Some of ``contents``, and stored contents of the watch if these are few."""
        samples = [*contents[:: max(1, len(contents) // _SAMPLES)]][:_SAMPLES]
        if len(samples) < _SAMPLES:
            stored = sa.select(t.document.c.body).where(t.document.c.watch == watch).limit(_SAMPLES - len(samples))
            with self._sessions.reading() as connection:
                packed = connection.scalars(stored).all()
            for raw in packed:
                with suppress(UnreadableContent):
                    samples.append(self.unpack(raw))
        share = max(1, -(-sum(map(len, samples)) // _SAMPLED_BYTES))
        return samples[::share]

    def _packer(self, number: int) -> ZstdPacker:
        """The packer with that dictionary. Raises ``Damaged``, ``StateError``."""
        if not number:
            return self._plain
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        with self._sessions.reading() as connection:
            raw = connection.scalar(sa.select(t.dictionary.c.body).where(t.dictionary.c.id == number))
        if raw is None:
            raise Damaged(f"dictionary {number} is missing")
        found = ZstdPacker(number, raw) if raw else self._plain
        with self._lock:
            self._open[number] = found
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return found
