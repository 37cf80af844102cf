"""Events in a file, one CloudEvent per line. A crash while writing leaves no partial line behind.

A line counts only with its line feed. What a crash, a full disk or a kill left after the last one is cut off before the
next write. It was never answered ``ok``, so the dispatcher sends it again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from esfeed.config.types import SinkSection, Size, Text
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event, one_line
from esfeed.ports import OK, Outcome, retry
from esfeed.sinks.file import lines
from esfeed.text.linebuffer import joined

_NEVER = {
    errno.ENOENT: "its folder does not exist; create it, or name another",
    errno.ENOTDIR: "a part of its path is a file, not a folder; name another path",
    errno.EISDIR: "it is a folder; name a file",
    errno.EACCES: "permission denied; let the user that runs esfeed write there, or name another path",
    errno.EPERM: "permission denied; let the user that runs esfeed write there, or name another path",
    errno.ELOOP: "its symbolic links form a loop; name another path",
    errno.ENAMETOOLONG: "it is too long; name a shorter path",
    errno.ENXIO: "it is a pipe or a device; name a regular file",
}


class FileSettings(SinkSection):
    """Events in a file, one CloudEvents 1.0 JSON object per line."""

    type: Literal["file"] = Field("file", description="A file of JSON lines.")
    batch: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="The limit of events written at a time; the disk confirms them together.",
    )
    path: Text = Field(
        min_length=1,
        description="The file to append to, relative to the working directory. Its folder must exist. Only the owner "
        "can read a new file (0600), because events contain data of tenants; an existing file keeps its mode.",
    )
    rotate_size: Size | None = Field(
        None,
        ge=1,
        description='Start a new file before this one grows beyond this size ("64MB"); a larger event gets its own '
        "file. Default: never.",
    )
    rotate_keep: int = Field(
        5, ge=1, description="The number of full files to keep, as PATH.1 (the newest), PATH.2 and so on."
    )
    fsync: bool = Field(
        True,
        description="true: an event is delivered when it is on disk, so it survives a power cut. false: when the "
        "kernel has it, which is faster, but survives only a crash of esfeed.",
    )


class FileSink:
    """Appends each event as one line to a file that no other process may write meanwhile.

    The file is open and locked (``flock``) from ``open`` to ``close``. If another program (logrotate) moves or deletes
    it, the next ``send`` notices and continues in a new one.
    """

    Settings = FileSettings

    def __init__(self, settings: FileSettings) -> None:
        self._settings = settings
        self._path = settings.path
        self._encode = envelope(settings.format).encode
        self._file: int | None = None
        self._cut: int | None = None

    def open(self) -> None:
        """Opens, locks and repairs the file.

        Raises ``ConfigError`` if ``path`` can never be written, ``Retryable`` if another process writes it or the disk
        is at fault.
        """
        self.close()
        self._path = os.path.abspath(self._settings.path)
        self._take()

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Writes one line for each event, and syncs them to disk (see ``fsync``) before it answers ``ok``.

        A fault in the middle leaves the file as it was before and raises ``Retryable``. If a part of the batch is
        already safe in a full file, the rest gets ``retry`` instead.
        """
        data = [one_line(self._encode(event)) + b"\n" for event in events]
        done, fault = self._add(data)
        return [OK] * done + [retry(str(fault), fault.wait if fault else None)] * (len(data) - done)

    @property
    def lines(self) -> str:
        """See ``ports.LineSink``."""
        return self._settings.format

    def write(self, lines: Sequence[bytes]) -> int:
        """See ``ports.LineSink``."""
        return self._add(lines)[0]

    def _add(self, data: Sequence[bytes]) -> tuple[int, Retryable | None]:
        """(how many of the lines are safe, the fault that stopped the others). Raises the fault if no line is safe."""
        done = 0
        try:
            self._ready()
            while done < len(data):
                done += self._write(data[done:])
        except (OSError, Retryable) as error:
            fault = error if isinstance(error, Retryable) else self._fault("write", error)
            if not done:
                raise fault from error
            return done, fault
        return done, None

    def close(self) -> None:
        """Closes the file, which releases its lock."""
        file, self._file, self._cut = self._file, None, None
        if file is not None:
            os.close(file)

    # --- opening the file

    def _take(self) -> None:
        """Opens, locks and repairs the file that ``path`` names now; closes the previous file only after that.

        A new file gets the mode of the previous one, so that permissions of an administrator survive a rotation.
        """
        mode = 0o600 if self._file is None else stat.S_IMODE(os.fstat(self._file).st_mode)
        try:
            file = lines.take(self._path, mode)
        except BlockingIOError as error:
            message = f"another process or sink is writing {self._path}"
            raise Retryable(message, "stop it, or use a different path") from error
        except lines.Foreign as error:
            raise ConfigError("path", self._settings.path, f"{error}; name another path") from error
        except OSError as error:
            if error.errno in _NEVER:
                raise ConfigError("path", self._settings.path, _NEVER[error.errno]) from error
            raise self._fault("open", error) from error
        try:
            if self._settings.fsync:
                self._sync_folder()
        except OSError as error:
            os.close(file)
            raise self._fault("open", error) from error
        self.close()
        self._file = file

    # --- writing

    def _ready(self) -> None:
        """Makes sure that the open file is whole, and that ``path`` names it."""
        if self._file is not None and self._cut is not None:
            os.ftruncate(self._file, min(self._cut, os.fstat(self._file).st_size))
            self._cut = None
        if self._file is None or not lines.is_current(self._path, self._file):
            try:
                self._take()
            except ConfigError as error:  # it was right when opened: a disk is unmounted, or a folder not created yet
                raise Retryable(f"cannot write {self._path}", error.hint) from error

    def _write(self, data: Sequence[bytes]) -> int:
        """Writes the lines that fit into the current file, rotating it first if none fits; returns how many."""
        assert self._file is not None
        begin = os.fstat(self._file).st_size
        limit = self._settings.rotate_size
        if limit is not None and begin and begin + len(data[0]) > limit:
            self._rotate()
            begin = os.fstat(self._file).st_size
        count = len(data) if limit is None else _fitting(data, limit - begin)
        try:
            lines.write_all(self._file, joined(data[:count]))
            if self._settings.fsync:
                os.fsync(self._file)
            if not os.fstat(self._file).st_nlink:
                raise OSError(errno.ENOENT, "it was deleted in the meantime")
        except OSError:
            self._undo(begin)
            raise
        return count

    def _undo(self, begin: int) -> None:
        """Truncates the file to the beginning of the batch; if that fails, the next ``send`` or ``open`` does it."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, min(begin, os.fstat(self._file).st_size))
        except OSError:
            self._cut = begin

    # --- rotating

    def _rotate(self) -> None:
        """Renames ``path`` to ``path.1``, ``path.1`` to ``path.2``, and so on; deletes the last one.

        Each step is one rename. A crash between two leaves a gap in the numbers, and the next rotation moves only the
        files before the gap, so that no file is deleted early.
        """
        path, keep = os.path.realpath(self._path), self._settings.rotate_keep
        gap = next((n for n in range(1, keep) if not os.path.lexists(f"{path}.{n}")), keep)
        for number in range(gap, 1, -1):
            os.rename(f"{path}.{number - 1}", f"{path}.{number}")
        os.rename(path, f"{path}.1")
        extra = keep + 1  # left over if rotate_keep was larger
        while os.path.lexists(f"{path}.{extra}"):
            os.unlink(f"{path}.{extra}")
            extra += 1
        try:
            self._take()
        except ConfigError as error:
            raise Retryable(f"cannot start a new {self._path}", error.hint) from error

    def _sync_folder(self) -> None:
        """Makes new names survive a power failure."""
        folder = os.open(os.path.dirname(os.path.realpath(self._path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems do not support it
                raise
        finally:
            os.close(folder)

    def _fault(self, what: str, error: OSError) -> Retryable:
        hint = {
            errno.ENOSPC: "free space on its disk",
            errno.EDQUOT: "free space in its quota",
            errno.EFBIG: "raise the file size limit of the process (ulimit -f), or set rotate_size below it",
            errno.EROFS: "remount its disk writable",
            errno.EACCES: "let the user that runs esfeed write to its folder",
        }.get(error.errno or 0, "check the disk that it is on")
        return Retryable(f"cannot {what} {self._path} ({error.strerror or error})", hint)


def _fitting(data: Sequence[bytes], room: int) -> int:
    """How many of the first lines fit into ``room`` bytes, but at least one: a new file was started for it."""
    for count, line in enumerate(data):
        room -= len(line)
        if room < 0 and count:
            return count
    return len(data)
