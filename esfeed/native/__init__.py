"""The native part: makes lines of events of the engine's answer, without a Python object for each document in between.

It is here for speed alone, and does nothing but what ``cluster/answers.py`` and ``passthrough.py`` do; a property test
holds both equal to the byte. Where it was not built (no Rust compiler was there), and for an answer that is not plain
enough for it, those do it all. ``ESFEED_NATIVE=0`` in the environment leaves it out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol


class Hits(Protocol):
    """The hits of an answer, which it keeps."""

    def __len__(self) -> int: ...

    @property
    def octets(self) -> int:
        """Bytes of all contents together."""

    @property
    def kinds(self) -> list[tuple[str, str | None]]:
        """Each (index, type) that there is among the hits."""

    def lines(self, forms: Sequence[tuple[list[bytes], list[bytes]]], first: int, time: bytes) -> bytes:
        """A line of each hit (with its line feed), one behind the other, from position ``first`` on, told at ``time``.

        ``forms``: one a kind, each the pieces of two texts. Between the first three, of which the event's id is the
        hash, go name and version; between the other ten go that id, name, time, name, content, version, sequence
        number, date and position. Raises ``ValueError`` for another number of forms or pieces.
        """


Read = Callable[[bytes, str], tuple[bytes, Hits] | None]
"""Makes of an answer: the answer without its hits, and the hits, which know the date in a field (at the top of the
document). ``None`` where any of it is not plain."""

hits: Read | None = None
if os.environ.get("ESFEED_NATIVE") != "0":
    try:
        from esfeed.native._native import hits
    except ImportError:
        hits = None
