"""The ``esfeed`` command without the half second of CPU that its imports take: forked from a process that has them.

What runs is a process of its own, with its own pid, arguments, folder, environment, standard streams and end, which a
test may signal and kill; the same ``main`` runs in it that the installed command calls. What is not the same: modules
are loaded already. So tests of the start itself, of packages that are missing and of memory run the real command
(``clients.command()``).
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_COMMANDS = ("main", "backfill", "dead", "deliveries", "extras", "feed", "logs", "look", "sinks", "token")
MODULES = (
    *(f"esfeed.cli.{name}" for name in _COMMANDS),
    "esfeed.cluster.adapter",
    "esfeed.config.load",
    "esfeed.delivery.dispatcher",
    "esfeed.delivery.memory_dispatcher",
    "esfeed.runtime.daemon",
    "esfeed.runtime.factory",
    "esfeed.runtime.scheduler",
    "esfeed.sinks.file.sink",
    "esfeed.store.state",
    "esfeed.web.control",
    "esfeed.web.listen",
    "esfeed.web.process",
    "sqlalchemy.dialects.sqlite",
)
"""What most commands import; what else one needs it imports itself."""


class Request(NamedTuple):
    """A start, as it is asked for. With it come the standard streams, and a pipe that takes the pid and the end."""

    args: list[str]
    folder: str
    environment: dict[str, str]


class Started:
    """A running ``esfeed``: what tests use of ``subprocess.Popen``."""

    def __init__(
        self,
        *args: str,
        cwd: Path | None = None,
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Streams that are not given are those of this process."""
        self.returncode: int | None = None
        wanted = Request([*args], str(cwd or Path.cwd()), dict(environment or os.environ))
        told, tell = os.pipe()
        self._told = os.fdopen(told, "rb", buffering=0)
        try:
            _server().ask(wanted, [0, _descriptor(stdout, 1), _descriptor(stderr, 2), tell])
        finally:
            os.close(tell)
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """The exit code, negative for a signal; none while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("esfeed", timeout or 0)
            self.returncode = int(self._line())
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _line(self) -> bytes:
        line = self._told.readline()
        if not line:
            raise RuntimeError("the process that starts esfeed has ended")
        return line


def run(
    *args: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and what it wrote. Raises ``subprocess.TimeoutExpired``, and ends it then."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = Started(*args, cwd=cwd, stdout=out, stderr=err, environment=environment)
        try:
            code = started.wait(timeout)
        finally:
            started.kill()
        out.seek(0)
        err.seek(0)
        texts = [io.TextIOWrapper(file, encoding="utf-8").read() for file in (out, err)]
    return subprocess.CompletedProcess(["esfeed", *args], code, *texts)


def _descriptor(file: IO[Any] | None, otherwise: int) -> int:
    return otherwise if file is None else file.fileno()


class _Server:
    """The process that has the modules, seen from the tests."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-m", __name__, str(number)]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[number], stdin=subprocess.DEVNULL)
        atexit.register(self._end)

    def ask(self, request: Request, files: list[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        with self._lock:
            self._socket.sendmsg([json.dumps(request).encode()], rights)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


_lock = threading.Lock()
_servers: list[_Server] = []


def _server() -> _Server:
    with _lock:
        if not _servers:
            _servers.append(_Server())
        return _servers[0]


# --- the process that has the modules


def serve(number: int) -> Request | None:
    """Forks for each request. Returns in a forked process what that is to run, and nothing at the end of all."""
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or the first collection of each fork would copy every page that holds an object
    assert len(os.listdir("/proc/self/task")) == 1, "a fork takes only one thread along"
    requests = socket.socket(fileno=number)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, whose end is the end of this
    signal.set_wakeup_fd(wake)
    running: dict[int, int] = {}
    both: list[Any] = [requests, woken]
    while True:
        ready, _, _ = select.select(both, [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
            _tell_ended(running)
        if requests in ready:
            message, rights, _, _ = requests.recvmsg(1 << 18, socket.CMSG_SPACE(4 * array.array("i").itemsize))
            if not message:
                return None
            files = array.array("i")
            files.frombytes(rights[0][2])
            request = Request(*json.loads(message))
            pid = os.fork()
            if pid == 0:
                requests.detach()
                _take_over(files)
                return request
            for one in files[:3]:
                os.close(one)
            running[pid] = files[3]
            os.write(files[3], b"%d\n" % pid)


def _tell_ended(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        tell = running.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(tell, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(tell)


def _take_over(files: array.array[int]) -> None:
    """As a process that was just executed: signals as they come, no files but the three."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in range(3):
        os.dup2(files[number], number)
    os.closerange(3, 1 << 12)


def become(request: Request) -> None:
    """The folder, environment and streams that were asked for."""
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        new = open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        new.reconfigure(line_buffering=number == 2, write_through=old.write_through)  # type: ignore[attr-defined]
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


if __name__ == "__main__":
    asked = serve(int(sys.argv[1]))
    if asked is not None:
        become(asked)
        sys.argv = ["esfeed", *asked.args]
        sys.exit(importlib.import_module("esfeed.cli.main").main())
