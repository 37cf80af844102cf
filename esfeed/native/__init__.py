"""The native part: makes lines of events from a response, without a Python object for each document.

It exists only for speed, and does the same as ``cluster/responses.py`` and ``changes/lines.py``; a property test checks
that both are equal to the byte. If it was not built (there was no Rust compiler), or if a response is not plain enough
for it, the Python code does everything. ``ESFEED_NATIVE=0`` in the environment disables it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol


class Hits(Protocol):
    """The hits of a response, whose bytes it keeps."""

    def __len__(self) -> int: ...

    @property
    def octets(self) -> int:
        """The size of all contents together, in bytes."""

    @property
    def kinds(self) -> list[tuple[str, str | None]]:
        """Each (index, type) that occurs among the hits."""

    def lines(self, forms: Sequence[tuple[list[bytes], list[bytes]]], first: int, time: bytes) -> bytes:
        """A line for each hit (with its line feed), joined, from position ``first`` on, with the time ``time``.

        ``forms``: one for each kind, with the pieces of two texts. Name and version go between the first three pieces;
        the hash of that text is the id of the event. The id, name, time, name, content, version, sequence number, date
        and position go between the other ten. Raises ``ValueError`` for another number of forms or pieces.
        """


Read = Callable[[bytes, str], tuple[bytes, Hits] | None]
"""Splits a response into the response without its hits, and the hits with the dates in a top-level field. ``None`` if
any part of it is not plain.
"""

hits: Read | None = None
if os.environ.get("ESFEED_NATIVE") != "0":
    try:
        from esfeed.native._native import hits
    except ImportError:
        hits = None
