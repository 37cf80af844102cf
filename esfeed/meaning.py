"""What JSON text means, whichever way it is written. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec


class Unreadable(ValueError):
    """A content whose meaning cannot be had: nested beyond what Python can hold."""


def parse(source: bytes | msgspec.Raw) -> Any:
    """The meaning of JSON text: whole numbers of any size are kept exactly. Raises ``Unreadable``.

    An engine keeps more than the quick parser takes (``1e999``, half of a surrogate pair); the slow one takes it.
    """
    try:
        return msgspec.json.decode(source)
    except (msgspec.DecodeError, RecursionError):
        try:
            return json.loads(bytes(source))
        except (ValueError, RecursionError) as error:
            raise Unreadable(str(error)) from error


def same_meaning(one: Any, other: Any) -> bool:
    """Whether two parsed contents mean the same. ``1``, ``1.0`` and ``true`` do not: JSON tells them apart."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_meaning(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_meaning, one, other))
    return bool(one == other)
