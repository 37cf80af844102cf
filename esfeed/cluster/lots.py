"""Cuts a long list of names into several, since an engine takes only so long a URL; and joins what comes of them.

``http.max_initial_line_length`` is 4,096 bytes on every engine unless somebody sets it, and all of the path and the
parameters count. https://www.elastic.co/guide/en/elasticsearch/reference/7.17/modules-network.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote

from esfeed.errors import NothingThere

_Answer = TypeVar("_Answer")

LONGEST = 3000
"""Bytes of the names in one URL; what else stands there is less than 1,000 bytes."""


def encoded(name: str) -> str:
    """An index name, alias or pattern as one segment of a path."""
    return quote(name, safe="*,-+<>")


def matches(pattern: str, one: str) -> bool:
    """Whether one part of a watched name, with or without ``*``, is or matches the name ``one``."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), one) is not None


def lots(name: str, limit: int = LONGEST) -> Sequence[str]:
    """``name`` in parts that lead to the same as a whole, each ``limit`` bytes at most in a URL.

    An exclusion counts for what stands before it, so it goes with each pattern there. A part that has one name only
    may be longer.
    """
    if len(encoded(name)) <= limit:
        return [name]
    parts = _without_excluded(name.split(","))
    found: list[str] = []
    start = 0
    while start < len(parts):
        end = start + 1
        while end < len(parts) and len(encoded(_lot(parts, start, end + 1))) <= limit:
            end += 1
        if lot := _lot(parts, start, end):
            found.append(lot)
        start = end
    return found


def _without_excluded(parts: Sequence[str]) -> list[str]:
    """The parts but those names that a later one excludes: in a lot without a pattern nothing can be excluded."""
    return [
        part
        for index, part in enumerate(parts)
        if _excludes(part) or "*" in part or not any(matches(later, f"-{part}") for later in parts[index + 1 :])
    ]


def _lot(parts: Sequence[str], start: int, end: int) -> str:
    """The parts from ``start`` to before ``end``, with the exclusions that follow.

    Engines take what looks like an exclusion for a name, where no pattern stands before it.
    """
    lot: list[str] = []
    patterns = False
    for part in [*parts[start:end], *filter(_excludes, parts[end:])]:
        if not _excludes(part):
            patterns = patterns or "*" in part
            lot.append(part)
        elif patterns:
            lot.append(part)
    return ",".join(lot)


def _excludes(part: str) -> bool:
    return part.startswith("-")


def chain(name: str, read: Callable[[str], Iterable[_Answer]]) -> Iterator[_Answer]:
    """All that ``read`` yields of each lot of ``name``, one lot after the other.

    Raises ``NothingThere`` only where it does so of every lot: as a whole, such patterns are no error either.
    """
    nothing: NothingThere | None = None
    found = False
    for part in lots(name):
        try:
            yield from read(part)
            found = True
        except NothingThere as error:
            nothing = error
    if nothing is not None and not found:
        raise nothing


def each(name: str, read: Callable[[str], _Answer]) -> Iterator[_Answer]:
    """The same of a ``read`` that gives one answer."""
    return chain(name, lambda part: (read(part),))
