"""A file of whole lines with one writer: locked, truncated to its last line feed, and written completely.

Works on file descriptors and raises plain ``OSError``; the sink decides what a fault means for the user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from esfeed.text.jsontext import Unreadable, slow

_BLOCK = 1 << 16
_LONGEST_TAIL = 1 << 27
_MAX_TRIES = 10


class Foreign(Exception):
    """The file ends in a partial line and does not contain events; truncating it would destroy data."""


def take(path: str, mode: int) -> int:
    """Opens ``path`` for appending, creates it with ``mode`` if needed, locks it (``flock``), and repairs its end.

    Returns the descriptor. Raises ``BlockingIOError`` if another process holds the lock, :class:`Foreign`, or
    ``OSError`` (``ENXIO`` for anything but a regular file).
    """
    for _ in range(_MAX_TRIES):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, mode)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two calls another writer may have rotated it: then the lock is on the old file.
            if is_current(path, file):
                _hint(file)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise BlockingIOError(errno.EAGAIN, "another process keeps moving it")


def is_current(path: str, file: int) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def write_all(file: int, data: bytes) -> None:
    """Writes all of ``data`` to the end, in several calls if the kernel takes only a part. Raises ``OSError``."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _hint(file: int) -> None:
    """Cuts off what follows the last line feed.

    Only in a file that begins like a file of events: a wrong ``path`` must not destroy the end of another file. A last
    line that is complete JSON (an editor removed its line feed) gets the line feed instead.
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
        raise Foreign("it ends in a partial line and contains something other than events")
    os.fsync(file)


def _is_ours(file: int) -> bool:
    """Whether it begins like a file of events: as esfeed writes it, or with a whole document on a line."""
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
    """The offset of the last line: behind the last line feed, which is searched backwards, block by block."""
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
