"""Limits the cost of an expression, before it is compiled and before it runs on an event. No I/O.

An expression runs in one go, and nothing can interrupt it. So its cost is estimated from above. It takes one step for
each word (and for each state of its regular expressions), each over the whole event. A loop repeats this for each
element of the event, and again for each element if it makes a list, which this implementation of CEL copies at each
element.

An expression of a reader may cost little (``of_reader``), one of a route a hundred times as much (``of_route``).
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from esfeed.model.event import Event

LONGEST = 1000
"""The limit in characters. Parsing takes quadratic time in the worst case."""
MAX_STEPS = 20_000_000
"""The limit in steps times bytes for one event: some hundredths of a second."""
MAX_STEPS_OF_ROUTE = 100 * MAX_STEPS
_LONGEST_PATTERN, _LONGEST_PATTERN_OF_ROUTE = 200, 1000
_MAX_STATES, _MAX_STATES_OF_ROUTE = 5000, 50_000
_MAX_SUMS = 8

# Wherever these words are: a comment can be between them and their parenthesis.
_LOOP = re.compile(r"\b(?:all|exists|exists_one|existsOne|map|filter|transformList|transformMap|sortBy)\b")
_LISTS = re.compile(r"\b(?:map|filter|transformList|transformMap|sortBy)\b")
_MATCHES = re.compile(r"\bmatches\b")
_LITERAL = re.compile(r"""\bmatches\s*\(\s*r?('[^'\n\\]*(?:\\.[^'\n\\]*)*'|"[^"\n\\]*(?:\\.[^"\n\\]*)*")\s*\)""")
_TIMES = re.compile(r"\{(\d{0,9})(?:,(\d{0,9}))?\}")
_WORD = re.compile(r"\w+|[^\s\w]")


class Cost(NamedTuple):
    """The cost of an expression: ``steps`` over an event, times the number of its elements to the power of ``loops``.

    ``limit`` is the limit in steps times bytes.
    """

    steps: int
    loops: int
    limit: int

    def bearable(self, event: Event) -> bool:
        """Whether the expression may run on that event."""
        texts = [memoryview(one) for one in (event.before, event.after) if one is not None]
        size_bytes = sum(map(len, texts)) + len(event.doc_id) + 100
        if not self.loops:
            return self.steps * size_bytes <= self.limit
        elements = 1 + sum(bytes(text).count(b",") for text in texts)
        return self.steps * size_bytes * int(elements**self.loops) <= self.limit


def of_route(text: str) -> Cost:
    """The cost of an expression of a route. Raises ``ValueError`` if its patterns are too expensive for any event."""
    states = _states(text, _LONGEST_PATTERN_OF_ROUTE, _MAX_STATES_OF_ROUTE)
    loops = len(_LOOP.findall(text))
    # A sum in a loop can double with each round.
    steps = (len(_WORD.findall(text)) + states) * (1 + text.count("+")) ** max(1, loops)
    return Cost(steps, loops + len(_LISTS.findall(text)), MAX_STEPS_OF_ROUTE)


def of_reader(text: str) -> Cost:
    """The cost of an expression of a reader. Raises ``ValueError`` if it is too expensive for any event."""
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters; the limit here is {LONGEST:,}")
    loops = len(_LOOP.findall(text))
    if loops > 1:
        # A loop within a loop could keep this process busy for minutes.
        raise ValueError("it may use only one of all(), exists(), exists_one(), map() and filter(), and only once")
    sums = text.count("+")
    if sums > (0 if loops else _MAX_SUMS):
        raise ValueError(
            "it may not add (+) in a loop, because strings could then grow without limit" if loops
            else f"it adds (+) {sums} times; the limit here is {_MAX_SUMS}"
        )  # fmt: skip
    steps = len(_WORD.findall(text)) + _states(text, _LONGEST_PATTERN, _MAX_STATES)
    return Cost(steps, 2 if _LISTS.search(text) else loops, MAX_STEPS)


def _states(text: str, longest: int, limit: int) -> int:
    """The approximate number of states of its regular expressions."""
    patterns = [found[1][1:-1] for found in _LITERAL.finditer(text)]
    if len(patterns) < len(_MATCHES.findall(text)):
        raise ValueError("matches() needs a literal string, such as matches('^web-[0-9]+$')")
    states = 0
    for pattern in patterns:
        if len(pattern) > longest:
            raise ValueError(f"a regular expression may have {longest} characters here")
        times = [int(high or low or 1) for low, high in _TIMES.findall(pattern)]
        states += len(pattern) * math.prod(max(1, number) for number in times)
    if states > limit:
        raise ValueError("its regular expressions repeat ({n,m}) too often")
    return states
