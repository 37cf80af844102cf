"""Patterns for names: globs and regular expressions, for the fields of documents and for types. No I/O.

A pattern names a field by its path, with dots for nested objects. Lists are transparent, so ``nets.ip`` is the ``ip``
of each of ``nets``. As in Elasticsearch's source filtering, ``*`` also matches dots, and a pattern that names an object
includes all of it.

- ``status``, ``addresses.*``, ``*password*``, ``nets.i?``, ``[ab]*``: globs, of the whole path. Put a special character
  in brackets: ``[*]``, ``[-]name``.
- ``/^os-/``: a regular expression (Python's ``re``), found anywhere in the path.
- A pattern with ``-`` before it excludes.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

_WILD = re.compile(r"[*?\[]")


class Pattern:
    """One compiled pattern, without its ``-``. Immutable and thread-safe."""

    __slots__ = ("_find", "_start", "text")

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` with the error and its position."""
        self.text = text
        self._start: str | None = None
        if text.startswith("/"):
            if len(text) < 3 or not text.endswith("/"):
                raise ValueError('write a regular expression between two slashes, such as "/^os-/"')
            self._find = _regex(text[1:-1]).search
            return
        if not text or text != text.strip() or not all(text.split(".")):
            raise ValueError('write the name of a field, such as "status", "addresses.*" or "/^os-/"')
        wild = _WILD.search(text)
        self._start = text[: wild.start()] if wild else text + "."
        self._find = re.compile(fnmatch.translate(text)).match

    def matches(self, name: str) -> bool:
        """Whether the pattern matches that name."""
        return self._find(name) is not None

    def covers(self, path: str) -> bool:
        """Whether the pattern includes that field: it matches the path, or that of an object around it."""
        end = path.find(".")
        while end >= 0:
            if self._find(path[:end]) is not None:
                return True
            end = path.find(".", end + 1)
        return self._find(path) is not None

    def below(self, path: str) -> bool:
        """Whether the pattern can match something inside that field. Decided by the path alone: true can be wrong."""
        if self._start is None:
            return True
        inside = path + "."
        return self._start.startswith(inside) or inside.startswith(self._start)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class Patterns:
    """A list of patterns. Those without ``-`` include (everything, if there is none), the others exclude."""

    __slots__ = ("drop", "keep")

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises ``ValueError`` as :class:`Pattern` does."""
        self.keep = tuple(Pattern(text) for text in texts if not text.startswith("-"))
        self.drop = tuple(Pattern(text[1:]) for text in texts if text.startswith("-"))

    def match(self, name: str) -> bool:
        """Whether that name is included as a whole: for types, which contain no fields."""
        if any(pattern.matches(name) for pattern in self.drop):
            return False
        return not self.keep or any(pattern.matches(name) for pattern in self.keep)


def checked(text: str) -> str:
    """Returns ``text`` if it is a pattern, with or without ``-``. Raises ``ValueError`` as :class:`Pattern` does."""
    Pattern(text.removeprefix("-"))
    return text


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        where = getattr(error, "pos", None)
        line = "" if where is None else f"\n    {text}\n    {' ' * where}^"
        raise ValueError(f"not a regular expression: {getattr(error, 'msg', error)}{line}") from None
