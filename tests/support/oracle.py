"""A strict oracle over the file of a feed: it replays the lines as they come, and says in which way one is wrong.

It knows the format of the events and nothing else of esfeed. Only digests of documents are kept, so that hours of a
busy feed fit into memory; they are of the meaning, and ``1``, ``1.0`` and ``true`` mean different things.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.world import Identity

KINDS = ("lost", "phantom", "stale", "out of order", "malformed")
"""What a fault can be: a state that was not told, one that is told but not there, one that is not the latest, one told
at the wrong time or twice as if it were new, and a line that is not the event that it should be."""

_MAX_KEPT = 200
_OPS = ("created", "updated", "deleted", "read")


class Fault(NamedTuple):
    """One thing that is wrong; ``kind`` is of ``KINDS``."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class _Told(NamedTuple):
    """The last event of a document: its content's digest (``None`` where it was deleted) and what tells its age."""

    digest: bytes | None
    within: str
    version: int
    seq_no: int | None


def digest(source: Any) -> bytes:
    """A parsed JSON value in 16 bytes; the spelling of a number counts, the order of keys does not."""
    return hashlib.blake2b(json.dumps(source, sort_keys=True, default=repr).encode(), digest_size=16).digest()


class Oracle:
    """Replays one file of CloudEvents, which only grows.

    Every position from 1 on must come, in order. One that comes again must be the same line again. ``totals`` counts
    faults of each kind that stand whatever comes later; the first of them are in ``faults``.
    """

    def __init__(self, path: Path) -> None:
        self.faults: list[Fault] = []
        self.totals: Counter[str] = Counter()
        self.events = 0
        self.repeats = 0
        self.rewinds = 0
        self._path = path
        self._offset = 0
        self._before = 0
        self._lines: list[bytes | None] = []
        self._ids: set[str] = set()
        self._told: dict[Identity, _Told] = {}
        self._put_back: set[Identity] = set()

    def follow(self) -> int:
        """Applies the whole lines that came since the last call, and returns how many; half a one waits."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(min(self._offset, size))
            raw = file.read()
        if size < self._offset:
            self._fault("malformed", f"the file shrank from {self._offset} whole bytes to {size}")
            self._offset = size
        whole = raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        # Not splitlines(): that splits at a raw carriage return, too.
        lines = whole.split(b"\n")[:-1]
        for line in lines:
            self._line(line)
        return len(lines)

    def restored(self) -> None:
        """What comes from here on may be older than what was told; and a delete tells numbers that are given again."""
        self._told = {key: last._replace(version=-1, seq_no=None) for key, last in self._told.items()}
        self._put_back = {*self._told}

    def compare(self, index: Mapping[Identity, bytes]) -> list[Fault]:
        """How what was told differs from the digests of what the index holds, now."""
        told = {key: last.digest for key, last in self._told.items() if last.digest is not None}
        return [
            *(Fault("lost", f"{key}") for key in index.keys() - told.keys()),
            *(Fault("phantom", f"{key}") for key in told.keys() - index.keys()),
            *(Fault("stale", f"{key}") for key in index.keys() & told.keys() if index[key] != told[key]),
        ]

    def _fault(self, kind: str, text: str) -> None:
        self.totals[kind] += 1
        if len(self.faults) < _MAX_KEPT:
            self.faults.append(Fault(kind, text))

    def _line(self, line: bytes) -> None:
        try:
            event = json.loads(line, parse_float=Decimal)
            data, place = event["data"], event["data"]["position"]
            identity = data["type"], data["id"], data["origin"]["routing"]
        except (ValueError, KeyError, TypeError) as error:
            self._fault("malformed", f"not an event ({error!r}): {line[:200]!r}")
            return
        if self._is_new(event["id"], place, line, identity):
            self.events += 1
            self._envelope(event, identity)
            self._apply(identity, data)

    def _is_new(self, name: str, place: int, line: bytes, identity: Identity) -> bool:
        """Whether this is the next event of the log; else it must be a repeat, to the byte."""
        mark = hashlib.blake2b(line, digest_size=8).digest()
        self.rewinds += place <= self._before
        self._before = place
        if 0 < place <= len(self._lines):
            self.repeats += 1
            if self._lines[place - 1] != mark:
                self._fault("out of order", f"position {place} comes again as another event: {name} {identity}")
            return False
        if place != len(self._lines) + 1:
            self._fault("lost", f"position {place} comes after {len(self._lines)}: {identity}")
            self._lines += [None] * (place - 1 - len(self._lines))
        self._lines.append(mark)
        if name in self._ids:
            self._fault("out of order", f"position {place} has the id of another event: {name} {identity}")
        self._ids.add(name)
        return True

    def _envelope(self, event: Mapping[str, Any], identity: Identity) -> None:
        """What a consumer relies on besides the content."""
        data = event["data"]
        op = data["op"]
        sound = (
            event["specversion"] == "1.0"
            and op in _OPS
            and event["type"] == f"esfeed.{op}"
            and event["subject"] == f"{data['type']}/{data['id']}"
            and (data["after"] is None) == (op == "deleted")
            and (data["before"] is None) == (op in ("created", "read"))
            # What changed while a first reading was broken off and begun anew is updated or deleted, though.
            and (op not in ("read", "created") or (op == "read") == data["origin"]["snapshot"])
        )
        if not sound:
            self._fault("malformed", f"position {data['position']}, {op} {identity}: {_bare(event)}")
        elif op == "updated" and data["changed"] != _changed(data["before"], data["after"]):
            self._fault("malformed", f"position {data['position']}, changed is {data['changed']}: {identity}")

    def _apply(self, identity: Identity, data: Mapping[str, Any]) -> None:
        op, place, origin = data["op"], data["position"], data["origin"]
        last = self._told.get(identity)
        there = last is not None and last.digest is not None
        if there != (op in ("updated", "deleted")):
            was = "was" if there else "was not"
            self._fault("out of order", f"position {place}: {op}, but it {was} there: {identity}")
        elif last is not None and there and last.digest != digest(data["before"]):
            self._fault("stale", f"position {place}: {op} from a state that no event told: {identity}")
        content = None if op == "deleted" else digest(data["after"])
        now = _Told(content, origin["index"], origin["version"], origin["seq_no"])
        if last is not None and _goes_back(last, now):
            self._fault("out of order", f"position {place}: {op} {identity} at {now[1:]} after {last[1:]}")
        if identity in self._put_back:
            self._put_back.remove(identity)
            now = now._replace(version=-1, seq_no=None) if op == "deleted" else now
        self._told[identity] = now


def _bare(event: Mapping[str, Any]) -> str:
    """The event without its documents."""
    data = {name: value for name, value in event["data"].items() if name not in ("before", "after")}
    return json.dumps({**event, "data": data}, default=str)


def _goes_back(last: _Told, now: _Told) -> bool:
    """Whether ``now`` is older than what was told ``last``, where that can be told.

    A delete carries the numbers of what was last known. A document that is created again may have any version, but
    never a sequence number that was there before.
    """
    if last.within != now.within:
        return False
    deleted = now.digest is None
    if now.seq_no is not None and last.seq_no is not None:
        return now.seq_no < last.seq_no or (now.seq_no == last.seq_no and not deleted)
    if last.digest is None:
        return False
    return now.version < last.version or (now.version == last.version and not deleted)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    """The names of the fields that differ, in order."""
    return sorted(
        name
        for name in before.keys() | after.keys()
        if name not in before or name not in after or digest(before[name]) != digest(after[name])
    )
