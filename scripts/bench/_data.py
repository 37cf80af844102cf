"""The documents that are read, like resources of a cloud, the same for a seed; and what a copy of them adds up to.

A document's fingerprint is a hash of its id and of the meaning of its ``_source`` (keys in order, no white space): so
it depends neither on the order of documents nor on how a program writes JSON. Some documents hold a whole number
beyond 2**53, as Searchlight's versions are.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec

from tests.support.clients import Raw

SHARDS = 2
_BULK = 5_000
_IN_FLIGHT = 2
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_PER_SECOND = 10
_STEP = 7_368_787
"""A prime: dates go through the whole span in an order that is not the order of writing."""
_LARGE_EVERY = 1_000
_MAPPING = {"dynamic": False, "properties": {"id": {"type": "long"}, "updated_at": {"type": "date"}}}


@dataclass
class Total:
    """What was written or read: so many documents, and their fingerprints."""

    documents: int = 0
    octets: int = 0
    prints: set[int] = field(default_factory=set)

    def add(self, id: str, source: bytes) -> None:
        """Takes one document in; ``source`` is JSON."""
        self.documents += 1
        self.octets += len(source)
        self.prints.add(fingerprint(id, source))

    @property
    def digest(self) -> str:
        """The sum of all fingerprints, in hexadecimal."""
        return f"{sum(self.prints) % (1 << 64):016x}"

    def against(self, wanted: Total) -> str:
        """What is wrong with these beside ``wanted``; nothing where nothing is."""
        repeats = self.documents - len(self.prints)
        missing = len(wanted.prints - self.prints)
        other = len(self.prints - wanted.prints)
        told = {"repeated": repeats, "missing": missing - other if missing >= other else 0, "altered": other}
        return ", ".join(f"{count:,} {word}" for word, count in told.items() if count)


def fingerprint(id: str, source: bytes) -> int:
    """64 bits of a document. Raises ``msgspec.DecodeError`` where ``source`` is no JSON."""
    plain = msgspec.json.encode((id, msgspec.json.decode(source)), order="sorted")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "big")


def documents(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """``count`` documents of about 561 bytes: id and ``_source``."""
    rng = random.Random(seed)
    for number in range(count):
        at = _EPOCH + timedelta(seconds=(number * _STEP) % count // _PER_SECOND)
        bits = f"{rng.getrandbits(956):0239x}"
        yield (
            f"{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-a{bits[15:18]}-{number:012x}",
            msgspec.json.encode(
                {
                    "id": number,
                    "name": f"web-{number}-é",
                    "status": ("ACTIVE", "BUILD", "ERROR", "SHUTOFF")[number % 4],
                    "project_id": f"{number % 97:032x}",
                    "user_id": bits[18:50],
                    "created_at": _EPOCH.isoformat(),
                    "updated_at": at.isoformat().replace("+00:00", "Z"),
                    "version": 458_577_451_500_000_000 + number * 2 + 1 if number % _LARGE_EVERY == 0 else number,
                    "flavor": {"id": bits[50:82], "vcpus": 4, "ram": 8192, "disk": 40.5},
                    "addresses": [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", f"fd00::{number:x}"],
                    "locked": False,
                    "fault": None,
                    "note": bits[82:239],
                }
            ),
        )


def load(raw: Raw, index: str, count: int, fingerprints: bool = True, rewrite_every: int = 0) -> Total:
    """Makes ``index``, which does not refresh by itself; fills, merges and refreshes it. Returns what was written.

    With ``rewrite_every`` each so many-th document is written once more after that, as it was: what it replaces stays
    in the segments as deleted, as in any index that lives. Reads are far slower then.
    """
    total = Total()
    settings = {"number_of_shards": SHARDS, "refresh_interval": "-1"}
    raw.create(index, settings=settings, mappings={raw.kind: _MAPPING} if raw.typed else _MAPPING)

    def counted() -> Iterator[tuple[str, bytes]]:
        for id, source in documents(count):
            if fingerprints:
                total.add(id, source)
            yield id, source

    _send_all(raw, index, counted())
    raw.call("POST", f"/{index}/_forcemerge", max_num_segments=5)
    if rewrite_every:
        _send_all(raw, index, islice(documents(count), 0, None, rewrite_every))
    raw.refresh(index)
    return total


def _send_all(raw: Raw, index: str, wanted: Iterator[tuple[str, bytes]]) -> None:
    action = b'{"index":{"_id":"%s"' + (b',"_type":"' + raw.kind.encode() + b'"' if raw.typed else b"") + b"}}"
    sent: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        while some := list(islice(wanted, _BULK)):
            lines = [line for id, source in some for line in (action % id.encode(), source)]
            sent.append(pool.submit(_send, raw, index, lines))
            while len(sent) > _IN_FLIGHT:
                sent.popleft().result()
        while sent:
            sent.popleft().result()


def _send(raw: Raw, index: str, lines: list[bytes]) -> None:
    answer = raw.call("POST", f"/{index}/_bulk", b"\n".join(lines) + b"\n")
    if answer["errors"]:
        raise RuntimeError("the engine refused documents of the bench")
