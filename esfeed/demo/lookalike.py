"""An engine for the demo without Java or network: osmem-server, behind a proxy that corrects its counters.

osmem reports how many operations an index had (``primaries.indexing.index_total``, including deletes). For a shard it
reports how many documents it holds, so an update or a delete would not change its counters; and its refreshes stay 0
although each write is visible at once. The proxy passes everything through and corrects those two numbers. No test may
rely on this engine for a claim about real engines.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import urllib3

from esfeed.errors import ConfigError, EsfeedError

_READY_WITHIN = 20.0
_ENDS_WITHIN = 5.0
_COUNTED = "indices.*.primaries.indexing.index_total"


@contextlib.contextmanager
def lookalike() -> Iterator[str]:
    """The URL of a new, empty engine in memory. It ends with the context, or with this process."""
    try:
        from osmem_server import OsmemError, resolve_binary  # type: ignore[import-untyped]  # it has no py.typed
    except ImportError:
        hint = "it needs the Python package osmem-server, which is not installed; run: pip install 'esfeed[demo]'"
        raise ConfigError("esfeed demo", None, hint) from None
    try:
        binary = resolve_binary()
    except OsmemError as error:
        raise EsfeedError(str(error), "name a real engine: esfeed demo --engine http://127.0.0.1:9200") from error
    with _process(binary) as behind, _proxy(behind) as url:
        yield url


@contextlib.contextmanager
def _process(binary: str) -> Iterator[str]:
    # Started here instead of by OsmemServer.start(): in its own session, so that Ctrl-C does not stop the engine before
    # the feed, and with its last line in a file instead of on the terminal.
    command = [binary, "--parent-pid", str(os.getpid()), "--no-ja"]
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
            )
        except OSError as error:
            raise EsfeedError(f"{binary} does not start ({error.strerror})", _otherwise()) from error
        late = threading.Timer(_READY_WITHIN, process.kill)
        late.start()
        try:
            url = _ready(process)
            late.cancel()
            if url is None:
                said.seek(0)
                raise EsfeedError(f"{binary} does not start: {said.read(300).decode(errors='replace')}", _otherwise())
            yield url
        finally:
            late.cancel()
            _end(process)


def _otherwise() -> str:
    return "name a real engine: esfeed demo --engine http://127.0.0.1:9200"


def _ready(process: subprocess.Popen[bytes]) -> str | None:
    """The URL, from the line of JSON that it prints once it listens; ``None`` if it ended instead."""
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return str(json.loads(line)["url"])
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends it by closing its standard input."""
    with contextlib.suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


@contextlib.contextmanager
def _proxy(behind: str) -> Iterator[str]:
    with urllib3.PoolManager(maxsize=20) as pool:
        server = _Server(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"behind": behind, "pool": pool}))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="demo engine", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores callers that hang up."""


class _Proxy(BaseHTTPRequestHandler):
    behind: str
    pool: urllib3.PoolManager
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        stats = "/_stats" in urlsplit(self.path).path
        path = self.path.replace("filter_path=", f"filter_path={_COUNTED},") if stats else self.path
        headers = {"content-type": self.headers.get("content-type") or "application/json"}
        try:
            answer = self.pool.request(
                self.command, self.behind + path, body=body or None, headers=headers, retries=False, redirect=False
            )
        except urllib3.exceptions.HTTPError:
            self.send_error(502, "the engine is gone")
            return
        data = answer.data
        if stats and answer.status == 200:
            data = _repaired(data)
        self.send_response(answer.status)
        self.send_header("content-type", answer.headers.get("content-type", "application/json"))
        # The answer to HEAD has the length of the body that it omits.
        self.send_header(
            "content-length", answer.headers["content-length"] if self.command == "HEAD" else str(len(data))
        )
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Logs no requests."""


def _repaired(data: bytes) -> bytes:
    """The answer of ``_stats`` with the counters of a real engine for each shard (exact for an index of one shard)."""
    stats = json.loads(data)
    for index in stats.get("indices", {}).values():
        operations = index.get("primaries", {}).get("indexing", {}).get("index_total")
        copies = [copy for shard in index.get("shards", {}).values() for copy in shard]
        for copy in copies if operations is not None else ():
            copy.setdefault("indexing", {}).update(index_total=operations, delete_total=0)
            # Immediate visibility is equal to a refresh after each operation.
            copy.setdefault("refresh", {}).update(total=operations, external_total=operations)
    return json.dumps(stats).encode()
