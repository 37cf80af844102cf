"""Splits a long list of names into several, because engines limit the length of a URL, and joins the results.

``http.max_initial_line_length`` defaults to 4,096 bytes on every engine, for the path and the parameters together.
https://www.elastic.co/guide/en/elasticsearch/reference/7.17/modules-network.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote

from esfeed.errors import NothingThere

_Answer = TypeVar("_Answer")

LONGEST = 3000
"""The limit of names in one URL, in bytes. The rest of the URL takes less than 1,000 bytes."""


def encoded(name: str) -> str:
    """An index name, alias or pattern, encoded as one segment of a path."""
    return quote(name, safe="*,-+<>")


def matches(pattern: str, one: str) -> bool:
    """Whether one part of a watched name, with or without ``*``, is or matches the name ``one``."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), one) is not None


def lots(name: str, limit: int = LONGEST) -> Sequence[str]:
    """Splits ``name`` into parts of up to ``limit`` encoded bytes, which together lead to the same indices.

    An exclusion applies to the patterns before it, so each part with such a pattern repeats it. A part with a single
    name can be longer.
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
    """The parts without names that a later part excludes: a part without a pattern cannot have exclusions."""
    return [
        part
        for index, part in enumerate(parts)
        if _excludes(part) or "*" in part or not any(matches(later, f"-{part}") for later in parts[index + 1 :])
    ]


def _lot(parts: Sequence[str], start: int, end: int) -> str:
    """The parts from ``start`` to before ``end``, with the exclusions that follow.

    Without a pattern before it, engines take an exclusion as a name.
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
    """Everything that ``read`` yields for each part of ``name``, in order.

    Raises ``NothingThere`` only if every part raises it: as a whole, patterns that match nothing are no error either.
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
    """Like ``chain``, for a ``read`` that returns one answer."""
    return chain(name, lambda part: (read(part),))
