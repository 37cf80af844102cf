"""A program that gets input on standard input: started without a shell, every wait bounded, ended with its children.

It leads its own process group, so that its children end with it. POSIX only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import selectors
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from esfeed.sinks.common.http_status import shown

_MAX_KEPT = 4096
_LONGEST_ANSWER = 1 << 16
_GRACE = 1.0
_INHERITED = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"}


class Ended(Exception):
    """The program ended, or closed its pipe, before it had read everything."""


class Stray(Exception):
    """The program wrote output that was not expected, or that is no answer; the message is its text."""


def environment(mine: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program: those variables of ``mine`` that programs need to run at all, and ``more``.

    Settings take secrets from variables of any name (``env:NAME``), so a list of variables to remove could not be
    complete.
    """
    return {name: value for name, value in mine.items() if name in _INHERITED or name.startswith("LC_")} | dict(more)


class Process:
    """One running program. For one thread at a time."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], answers: bool) -> None:
        """Starts it; ``answers``: its standard output is read. Raises ``OSError``."""
        self._popen = subprocess.Popen(
            list(command),
            env=dict(variables),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if answers else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._popen.stdin is not None
        assert self._popen.stderr is not None
        self._stdin = self._popen.stdin.fileno()
        self._stdout = None if self._popen.stdout is None else self._popen.stdout.fileno()
        for file in (self._stdin, self._stdout):
            if file is not None:
                os.set_blocking(file, False)
        self._said = b""
        self._rest = b""
        self._reader = threading.Thread(target=self._read_errors, name="esfeed-stderr", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it still runs. This does not reap it, so that its process id is not reused before ``stop``."""
        if self._popen.returncode is not None:
            return False
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def feed(self, data: bytes, end: float) -> None:
        """Writes ``data`` and waits until the program has read all of it, up to ``end`` (monotonic).

        Raises :class:`Ended` or ``TimeoutError``; after either, half a line may be in the pipe.
        """
        self._talk(data, end, lambda: False)
        pause = 0.0002
        while self._unread():
            if not self.alive:
                raise Ended
            if time.monotonic() >= end:
                raise TimeoutError
            time.sleep(pause)
            pause = min(pause * 2, 0.01)
        if not self.alive:
            raise Ended

    def ask(self, data: bytes, count: int, end: float, take: Callable[[str], None]) -> None:
        """Writes ``data``, and passes the ``count`` lines that the program answers to ``take``, as they arrive.

        Raises :class:`Ended`, :class:`Stray` or ``TimeoutError``, or what ``take`` raises.
        """
        taken = 0
        assert self._stdout is not None
        if self._rest or select.select([self._stdout], [], [], 0)[0]:
            self._read_answers()
            raise Stray(self._rest[:200].decode(errors="replace"))

        def enough() -> bool:
            nonlocal taken
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                take(line.decode(errors="replace").strip())
                taken += 1
            if len(self._rest) > _LONGEST_ANSWER:
                raise Stray(self._rest[:200].decode(errors="replace"))
            return taken >= count

        self._talk(data, end, enough)

    def finish(self, end: float) -> int:
        """Closes its input and returns its exit code, a signal as a negative number. Raises ``TimeoutError``."""
        self._close_input()
        pause = 0.0005
        while self.alive:
            if time.monotonic() >= end:
                raise TimeoutError
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        return self.stop()

    def stop(self) -> int:
        """Ends it and its children: by SIGTERM, and a second later by SIGKILL. Returns its exit code."""
        self._close_input()
        end = time.monotonic() + _GRACE
        if self._popen.returncode is None:
            self._signal(signal.SIGTERM)
            while self.alive and time.monotonic() < end:
                time.sleep(0.005)
            self._signal(signal.SIGKILL)
            self._popen.wait()
            self._reader.join(0.2)
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return self._popen.returncode

    def last_words(self) -> str:
        """The end of what it wrote to standard error, on one line."""
        text = " ".join(self._said.decode(errors="replace").split())
        return shown(text[-200:])

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _close_input(self) -> None:
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def _unread(self) -> int:
        """Bytes still in the pipe. https://man7.org/linux/man-pages/man2/FIONREAD.2const.html"""
        return int(struct.unpack("i", fcntl.ioctl(self._stdin, termios.FIONREAD, b"\0" * 4))[0])

    def _talk(self, data: bytes, end: float, enough: Callable[[], bool]) -> None:
        """Writes ``data``, and reads answers meanwhile and until ``enough``: otherwise both sides could deadlock."""
        left = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            if self._stdout is not None:
                selector.register(self._stdout, selectors.EVENT_READ)
            while left or (self._stdout is not None and not enough()):
                if time.monotonic() >= end:
                    raise TimeoutError
                # Not longer at a time: a child of the program may hold its pipes open after the program has ended.
                ready = selector.select(min(end - time.monotonic(), 0.5))
                if not ready and not self.alive:
                    raise Ended
                for key, _ in ready:
                    if key.fd == self._stdout:
                        self._read_answers()
                    elif left:
                        left = left[self._write(left) :]
                        if not left:
                            selector.unregister(self._stdin)

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._stdin, data[: 1 << 16])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Ended from error

    def _read_answers(self) -> None:
        assert self._stdout is not None
        data = os.read(self._stdout, 1 << 16)
        if not data:
            raise Ended
        self._rest += data

    def _read_errors(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as file:
            while data := os.read(file.fileno(), 1 << 16):
                self._said = (self._said + data)[-_MAX_KEPT:]
