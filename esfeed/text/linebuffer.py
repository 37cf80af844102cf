"""Many lines in one text. Lines that are only written need no object each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import overload


class LineBuffer(Sequence[bytes]):
    """``count`` lines, joined in ``text``. Each ends with its only line feed."""

    def __init__(self, text: bytes, count: int) -> None:
        self.text = text
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice) and index.indices(self._count) == (0, self._count, 1):
            return self
        return self._lines[index]

    @cached_property
    def _lines(self) -> list[bytes]:
        return [line + b"\n" for line in self.text.split(b"\n")[:-1]]


def joined(lines: Sequence[bytes]) -> bytes:
    """All lines as one text."""
    return lines.text if isinstance(lines, LineBuffer) else b"".join(lines)
