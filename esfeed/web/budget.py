"""Bounds what a reader's expression may cost: before it is compiled, and before it looks at an event. Pure.

An expression runs in one go, and nobody can stop it. So its cost is reckoned from above: as many steps as it has words
(and states of its regular expressions), each over the whole event, as often as the event has elements where it loops;
and as often again where the loop makes a list, which this implementation of CEL copies at each element.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from esfeed.model.event import Event

LONGEST = 1000
"""Characters; parsing takes the square of it at worst."""
MOST = 20_000_000
"""Steps over bytes for one event: some hundredths of a second."""
_LONGEST_PATTERN = 200
_MOST_STATES = 5000
_MOST_SUMS = 8

# Wherever these words stand: what is between them and their parenthesis can be a comment.
_LOOP = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter|transformList|transformMap|sortBy)\b")
_LISTS = re.compile(r"\b(?:map|filter|transformList|transformMap|sortBy)\b")
_MATCHES = re.compile(r"\bmatches\b")
_LITERAL = re.compile(r"""\bmatches\s*\(\s*r?('[^'\n\\]*(?:\\.[^'\n\\]*)*'|"[^"\n\\]*(?:\\.[^"\n\\]*)*")\s*\)""")
_TIMES = re.compile(r"\{(\d{0,9})(?:,(\d{0,9}))?\}")
_WORD = re.compile(r"\w+|[^\s\w]")


class Cost(NamedTuple):
    """Of an expression: ``steps`` over an event, and how often it takes them: elements to the power of ``loops``."""

    steps: int
    loops: int

    def bearable(self, event: Event) -> bool:
        """Whether it may look at that event."""
        texts = [bytes(one) for one in (event.before, event.after) if one is not None]
        octets = sum(map(len, texts)) + len(event.doc_id) + 100
        elements = 1 + sum(text.count(b",") for text in texts)
        return self.steps * octets * int(elements**self.loops) <= MOST


def cost(text: str) -> Cost:
    """What an expression costs at most. Raises ``ValueError`` that says why, where that is too much for any event."""
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters; {LONGEST:,} are the most here")
    loops = len(_LOOP.findall(text))
    if loops > 1:
        # A loop within a loop could keep this process busy for minutes.
        raise ValueError("it may use one of all(), exists(), exists_one(), map() and filter(), once")
    sums = text.count("+")
    if sums > (0 if loops else _MOST_SUMS):
        raise ValueError(
            "it may not add (+) where it loops, as that can make texts without end" if loops
            else f"it adds (+) {sums} times; {_MOST_SUMS} are the most here"
        )  # fmt: skip
    return Cost(len(_WORD.findall(text)) + _states(text), 2 if _LISTS.search(text) else loops)


def _states(text: str) -> int:
    """How many states its regular expressions have, about."""
    patterns = [found[1][1:-1] for found in _LITERAL.finditer(text)]
    if len(patterns) < len(_MATCHES.findall(text)):
        raise ValueError("matches() takes a text that is written out, such as matches('^web-[0-9]+$')")
    states = 0
    for pattern in patterns:
        if len(pattern) > _LONGEST_PATTERN:
            raise ValueError(f"a regular expression has {_LONGEST_PATTERN} characters at most here")
        times = [int(most or least or 1) for least, most in _TIMES.findall(pattern)]
        states += len(pattern) * math.prod(max(1, number) for number in times)
    if states > _MOST_STATES:
        raise ValueError("its regular expressions repeat ({n,m}) too often")
    return states
