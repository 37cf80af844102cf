"""A file of whole lines with one writer: taken under a lock, cut back to its last line feed, written in full.

Works on bare descriptors and raises plain ``OSError``; what a fault means to a user is the sink's to say.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from esfeed.text.jsontext import Unreadable, slow

_BLOCK = 1 << 16
_LONGEST_TAIL = 1 << 27
_MOST_TRIES = 10


class Foreign(Exception):
    """The file ends in half a line and is none of ours; cutting it would cost somebody data."""


def take(path: str, mode: int) -> int:
    """A descriptor for appending to ``path``, made with ``mode`` if need be, locked (``flock``), ending with a line.

    Raises ``BlockingIOError`` where somebody else holds the lock, :class:`Foreign`, or ``OSError`` (``ENXIO`` for
    anything but a plain file).
    """
    for _ in range(_MOST_TRIES):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, mode)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two calls its writer may have rotated it away: then the lock is on yesterday's file.
            if is_current(path, file):
                _hint(file)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise BlockingIOError(errno.EAGAIN, "somebody keeps moving it")


def is_current(path: str, file: int) -> bool:
    """Whether ``path`` still names the file that is held open."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def write_all(file: int, data: bytes) -> None:
    """Writes ``data`` to the end; a kernel that takes only a part is asked again. Raises ``OSError``."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _hint(file: int) -> None:
    """Cuts off what follows the last line feed.

    Only in a file that begins like one of ours: a mistyped ``path`` must not cost anybody the end of a file. A tail
    that is whole JSON (an editor took its line feed) gets the line feed instead.
    """
    size = os.fstat(file).st_size
    start = _last_line(file, size)
    if start == size:
        return
    if size - start <= _LONGEST_TAIL and _is_json(os.pread(file, size - start, start)):
        write_all(file, b"\n")
    elif _is_ours(file):
        os.ftruncate(file, start)
    else:
        raise Foreign("it ends in half a line and holds something other than events")
    os.fsync(file)


def _is_ours(file: int) -> bool:
    """Whether it begins like a file of events: with what esfeed itself writes, or with a whole document on a line."""
    begin = os.pread(file, 2, 0)
    if begin in (b'{"', b"{"):
        return True
    if not begin.startswith(b"{"):
        return False
    line = b""
    while len(line) < _LONGEST_TAIL and b"\n" not in line and (part := os.pread(file, _BLOCK, len(line))):
        line += part
    return _is_json(line.partition(b"\n")[0].rstrip())


def _last_line(file: int, size: int) -> int:
    """Where the line that ends the file begins: after its last line feed, looked for backwards, block by block."""
    end = size
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _is_json(data: bytes) -> bool:
    if not data.endswith(b"}"):
        return False
    try:
        slow(data)
    except Unreadable:
        return False
    return True
