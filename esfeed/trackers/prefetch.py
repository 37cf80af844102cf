"""Reads the next page of a search while the caller works on the current one."""

from __future__ import annotations

import contextvars
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from esfeed.model.reads import DocumentPage


class Prefetcher:
    """Reads one page after the other. ``begin`` reads the next page in another thread; ``take`` waits for it."""

    def __init__(self, pages: Iterator[DocumentPage]) -> None:
        self._pages = _generator(pages)
        self._pool: ThreadPoolExecutor | None = None
        self._run = contextvars.copy_context().run  # carries the trace context into the other thread
        self._coming: Future[DocumentPage | None] | None = None
        self._left = 0
        self._read = 0

    def begin(self) -> None:
        """Begins to read the next page, if more documents are expected: a small reading needs no other thread."""
        if self._left > 0:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="read")
            self._coming = self._pool.submit(self._run, self._next)

    def _next(self) -> DocumentPage | None:
        return next(self._pages, None)

    def take(self) -> DocumentPage | None:
        """Waits for the next page; ``None`` at the end. Raises what the reading raised."""
        coming, self._coming = self._coming, None
        page = self._next() if coming is None else coming.result()
        if page is not None:
            self._read += len(page.docs)
            self._left = page.total - self._read
        return page

    def close(self) -> None:
        """Stops the reading, once the other thread is idle."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pages.close()


def _generator(pages: Iterator[DocumentPage]) -> Generator[DocumentPage, None, None]:
    yield from pages
