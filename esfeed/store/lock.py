"""Allows one feed per state: a lock file beside the database, held by ``flock``, so that kill -9 releases it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from esfeed.errors import ConfigError, StateError

_TRIES, _PAUSE = 5, 0.05


class StateLock:
    """Holds ``path`` during the context. Raises ``StateError``, which names the holder, if another process holds it.

    ``flock`` belongs to the open file, so the kernel releases it when the holder dies. It does not work across machines
    on every network file system; a state on such a file system belongs in PostgreSQL.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        self.path = path
        self._purpose = purpose
        self._file: int | None = None

    def held_by(self) -> str | None:
        """A text that names the current holder; ``None`` if nobody holds the lock."""
        try:
            file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._holder()
        finally:
            os.close(file)
        return None

    def held_by_another(self) -> str | None:
        """A text that names the current holder, if it is not this process."""
        holder = self.held_by()
        who = self._who()
        mine = (who.get("pid"), who.get("host")) == (os.getpid(), socket.gethostname())
        return None if mine else holder

    def holds(self, purpose: str) -> bool:
        """Whether another process holds the lock for that purpose."""
        return self.held_by() is not None and self._who().get("purpose") == purpose

    def __enter__(self) -> StateLock:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError as error:
            folder = self.path.absolute().parent
            raise ConfigError("state", None, f"the folder {folder} does not exist; make it, or name another") from error
        except OSError as error:
            raise StateError(
                f"cannot write the lock file {self.path}: {error.strerror}",
                "let this user write in that folder, or set `state` to a file elsewhere",
            ) from error
        if not self._take():
            os.close(self._file)
            self._file = None
            raise StateError(
                f"this state is in use by {self._holder()}",
                "end that process first, or give this one a `state` of its own",
            )
        # On a full disk, only the name is missing: the kernel holds the lock, and the next write reports the error.
        with contextlib.suppress(OSError):
            os.truncate(self._file, 0)
            os.pwrite(self._file, json.dumps(self._self()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take(self) -> bool:
        """Tries a few times, because a process that is just calling ``held_by`` must not look like a holder."""
        assert self._file is not None
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
            else:
                return True
        return False

    def _self(self) -> dict[str, object]:
        return {"pid": os.getpid(), "host": socket.gethostname(), "purpose": self._purpose}

    def _who(self) -> dict[str, object]:
        try:
            who = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return who if isinstance(who, dict) else {}

    def _holder(self) -> str:
        who = self._who()
        if not who.keys() >= {"purpose", "pid", "host"}:
            return "another process"
        return f"`esfeed {who['purpose']}`, process {who['pid']} on {who['host']}"
