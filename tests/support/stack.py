"""A real Searchlight, RabbitMQ and Zaqar for tests: how to start and end them, or parts of them (see scripts/stack)."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripts import SCRIPTS, ScriptFailure, call

VARIABLE = "ESFEED_TEST_STACK"
"""Set to ``none``, tests that need the stack are skipped, and the summary says so."""

SCRIPT = SCRIPTS / "stack"


class Stack:
    """One instance of ``scripts/stack``. ``record`` is what the script says of it: addresses, pids, files."""

    def __init__(self, instance: str, *, engine: str = "es2") -> None:
        self.instance = instance
        self.engine = engine
        self.record: dict[str, Any] = {}

    def up(self, *parts: str) -> Stack:
        """Starts what is not up of the ``parts`` (of all), and reads the record anew."""
        if os.environ.get(VARIABLE) == "none":
            pytest.skip(f"{VARIABLE} leaves out OpenStack's parts")
        (self.record,) = json.loads(self._call("up", *parts, "--json", f"--engine={self.engine}"))
        return self

    def down(self, *parts: str) -> None:
        """Ends the ``parts`` and keeps their data; all, with their data, where none is named."""
        self._call("down", *parts)

    def sync(self) -> None:
        """``searchlight-manage index sync --force``."""
        self._call("sync")

    def kill(self, part: str) -> None:
        """kill -9, and waits until it is gone."""
        pid = self.record["processes"][part]["pid"]
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return
            if state in "ZX":
                return
            time.sleep(0.01)
        raise ScriptFailure(f"{part} ({pid}) does not end")

    def flush_redis(self) -> None:
        """Takes all that Zaqar keeps away from it."""
        port = self.record["ports"]["redis"]
        with socket.create_connection(("127.0.0.1", port), 10) as link:
            link.sendall(b"FLUSHALL\r\n")
            assert link.recv(100) == b"+OK\r\n"

    def put(self, path: str, body: Any) -> None:
        """From now on the services' stand-in answers ``body`` at ``path``."""
        self.stand_in("PUT", f"/_stand-in/at{path}", body)

    def stand_in(self, method: str, path: str, body: Any = None) -> None:
        """Tells the stand-in something (see scripts/_stack_openstack.py)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.record["openstack"] + path, data, method=method)
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    def _call(self, command: str, *arguments: str) -> str:
        return call(SCRIPT, command, *arguments, f"--instance={self.instance}")
