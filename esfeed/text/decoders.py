"""Decoders of msgspec, created one at a time.

``msgspec.json.decode(raw, type=T)`` prepares the decoding of ``T`` at its first use. If another thread begins to decode
a ``T``, or anything that contains a ``T``, meanwhile, it uses the unfinished preparation and the process crashes (0.22;
two watches with simultaneous first polls were enough). So threads decode with what this module creates.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")
_made: dict[Any, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def read(raw: bytes | str | msgspec.Raw, kind: type[_T]) -> _T:
    """Decodes ``raw`` (JSON) as a ``kind``, as ``msgspec.json.decode`` does, and raises the same errors."""
    decoder = _made.get(kind)
    if decoder is None:
        with _making:
            decoder = _made.setdefault(kind, msgspec.json.Decoder(kind))
    found: _T = decoder.decode(raw)
    return found
