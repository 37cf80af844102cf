"""Splits sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_Value = TypeVar("_Value")


def chunks(values: Sequence[_Value], size: int) -> Iterator[Sequence[_Value]]:
    """Splits ``values`` into pieces of up to ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
