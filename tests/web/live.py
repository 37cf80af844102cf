"""A feed as its users run it, with its server, on an engine in memory where a small cloud writes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from esfeed.demo.cloud import Cloud
from tests.support import warm
from tests.support.clients import eventually

SETTINGS = """\
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{engine}"]
[watches.cloud]
index = "{index}"
profile = "searchlight"
interval = "100ms"
[sinks.audit]
type = "file"
path = "{folder}/audit.jsonl"
"""


class Live:
    """``esfeed run --http`` in a process of its own."""

    def __init__(self, folder: Path, engine: str, index: str, more: str = "") -> None:
        self.folder = folder
        self.config = folder / "esfeed.toml"
        if "anonymous" not in more:
            section = '[http]\nanonymous = "loopback"\n'
            more = more.replace("[http]\n", section) if "[http]\n" in more else more + section
        self.config.write_text(SETTINGS.format(folder=folder, engine=engine, index=index) + more)
        self.log = folder / "log.jsonl"
        self.url = ""
        self._process: warm.Started | None = None

    def start(self, ready: bool = True) -> None:
        """Runs it; again at the address that it had before. Returns once it serves and (``ready``) has polled."""
        address = self.url.removeprefix("http://") or "127.0.0.1:0"
        known = self._listens()
        with self.log.open("ab") as log:
            options = ("--config", str(self.config))
            self._process = warm.Started(*options, "run", "--http", address, stdout=log, stderr=log)
        eventually(lambda: len(self._listens()) > len(known), 60)
        self.url = self._listens()[-1]
        if ready:
            with httpx.Client(verify=False) as client:
                eventually(lambda: client.get(f"{self.url}/readyz").status_code == 200, 60)

    def _listens(self) -> list[str]:
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line["url"] for line in lines if line["event"] == "web.listening"]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, kindly or not."""
        if self._process is not None:
            self._process.send_signal(how)
            code = self._process.wait(30)
            assert how is signal.SIGKILL or code == 0, self.log.read_text()[-3000:]
            self._process = None

    @property
    def pid(self) -> int:
        """Of the feed."""
        assert self._process is not None
        return self._process.pid

    def clean_up(self) -> None:
        """Whatever happened, nothing goes on running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same settings."""
        return warm.run("--config", str(self.config), *args, timeout=60)


class Target:
    """A webhook's target that can be told to refuse: with 4xx what holds a word, or everything with 503."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.refused_word = ""
        self.down = False
        self.got: list[dict[str, Any]] = []


@contextmanager
def target() -> Iterator[Target]:
    """A target that listens as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            refused = bool(here.refused_word) and here.refused_word in body
            if not (here.down or refused):
                here.got.append(json.loads(body))
            self.send_response(503 if here.down else 422 if refused else 204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Target(f"http://127.0.0.1:{server.server_port}/")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()


__all__ = ["Cloud", "Live", "Target", "target"]
