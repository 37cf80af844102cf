"""Decoders of msgspec, made one at a time.

``msgspec.json.decode(raw, type=T)`` works out at its first use how a ``T`` is read, and while it does, another thread
that begins to read a ``T``, or anything with a ``T`` in it, finds it half done: the process dies (0.22; it took no more
than two watches that make their first poll at the same time). So what threads read is read by what is made here.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")
_made: dict[Any, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def read(raw: bytes | str | msgspec.Raw, kind: type[_T]) -> _T:
    """``raw`` (JSON) as a ``kind``, as ``msgspec.json.decode`` reads it; raises what that raises."""
    decoder = _made.get(kind)
    if decoder is None:
        with _making:
            decoder = _made.setdefault(kind, msgspec.json.Decoder(kind))
    found: _T = decoder.decode(raw)
    return found
