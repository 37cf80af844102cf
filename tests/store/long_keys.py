"""Keys as states had them before step 0005."""

from __future__ import annotations

import msgspec

from esfeed.model.event import Key


def long_key(key: Key) -> bytes:
    """A MessagePack array of the key's parts without its trailing empty ones."""
    parts = [*key]
    while parts[-1] is None:
        parts.pop()
    return msgspec.msgpack.encode(parts)
