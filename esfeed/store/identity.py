"""The file of the state: checks that it is still the same file and that only its owner can read it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import structlog

from esfeed.errors import StateError

log = structlog.get_logger("esfeed")

_MODE = 0o600
_BESIDE = ("", "-wal", "-shm")


def make_private(path: Path) -> None:
    """Creates the file if it is missing, and restricts it, and the files that SQLite puts beside it, to its owner.

    SQLite gives the files beside it the same mode. Raises ``OSError`` if the file cannot be created.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE))
    for end in _BESIDE:
        file = path.with_name(path.name + end)
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & ~_MODE:
                file.chmod(_MODE)
                log.warning("state.made_private", file=str(file), was=f"{mode:04o}", now=f"{_MODE:04o}")
        except FileNotFoundError:
            continue
        except OSError as error:
            hint = f"have its owner run: chmod 600 {file}"
            log.warning("state.not_private", file=str(file), was=f"{mode:04o}", error=error.strerror, hint=hint)


class SameFile:
    """Remembers which file a path leads to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._look()

    def check(self) -> None:
        """Raises ``StateError`` if the path now leads to another file, or to none.

        SQLite would continue in a file that has no name any more, or create a new one.
        """
        file = self._look()
        if file is None:
            raise StateError(
                f"the state {self._path} is not there any more: it was removed, or moved away, while it was in use",
                "put that very file back, or start esfeed anew: it begins with an empty state then",
            )
        if file != self._file:
            raise StateError(
                f"the state {self._path} was replaced by another file while it was in use; nothing was written to it",
                "start esfeed anew to go on with that one",
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = "let this user read and write the file and its folder"
            raise StateError(f"the state cannot be opened ({self._path}: {error.strerror})", hint) from error
        return found.st_dev, found.st_ino
