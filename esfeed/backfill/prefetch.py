"""Reads parts ahead, a few at a time, and returns them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from esfeed.model.reads import DocumentPage, Part

Pages = Generator[DocumentPage, None, None]
Read = Callable[[Part], Pages]
_Begun = tuple[Pages, DocumentPage | None]


def ahead(parts: Iterable[Part], read: Read, limit: int) -> Generator[tuple[Part, Iterator[DocumentPage]], None, None]:
    """Each part with its pages, the first of which is already read; reads up to ``limit`` parts at the same time.

    Raises what ``read`` raises, at the part that failed. Use the pages of a part before you request the next one.
    """
    waiting: deque[tuple[Part, Future[_Begun]]] = deque()
    rest = iter(parts)
    with ThreadPoolExecutor(limit, thread_name_prefix="read") as pool:
        try:
            while True:
                while len(waiting) < limit and (part := next(rest, None)) is not None:
                    waiting.append((part, pool.submit(_begin, read, part)))
                if not waiting:
                    return
                part, begun = waiting.popleft()
                pages, first = begun.result()
                with closing(pages):
                    yield part, _all(first, pages)
        finally:
            for _, begun in waiting:
                begun.cancel()


def _begin(read: Read, part: Part) -> _Begun:
    pages = read(part)
    return pages, next(pages, None)


def _all(first: DocumentPage | None, rest: Iterator[DocumentPage]) -> Iterator[DocumentPage]:
    if first is not None:
        yield first
        yield from rest
