"""A wire proxy in front of an engine: counts requests, and spoils chosen answers in the ways that networks do.

with Proxy(engine.url) as proxy:
    proxy.on(r"POST /.*/_search", answer(503))            # the first that matches, once
    proxy.on(r"_search/scroll", cut_middle(), nth=2)      # only the second that matches
    proxy.on(r"_stats", rewrite(failed_shard), times=99)  # the first 99
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass
class Request:
    """What came in. ``line`` is what rules are matched against: ``POST /index/_search?…``."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Answer:
    """What goes back. ``keep`` bytes of the body are sent (all: ``None``), then the connection is cut."""

    status: int
    headers: dict[str, str]
    body: bytes
    keep: int | None = None


class Cut(Exception):
    """Closes the connection without an answer."""


Forward = Callable[[Request], Answer]
Action = Callable[[Request, Forward], Answer]


@dataclass
class Rule:
    """Acts on the requests that match from the ``nth`` (1: the first) on, ``times`` times in all."""

    pattern: re.Pattern[str]
    action: Action
    nth: int
    times: int
    met: int = field(default=0)

    def takes(self, request: Request) -> bool:
        if not self.pattern.search(request.line):
            return False
        self.met += 1
        return self.nth <= self.met < self.nth + self.times


# --- actions


def _cut() -> Answer:
    raise Cut


def answer(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Action:
    """Answers by itself; the engine never hears of the request. ``body`` is JSON unless it is bytes."""
    if body is None:
        body = {"error": {"type": "proxy", "reason": f"made up {status}"}, "status": status}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html" if raw.startswith(b"<") else "application/json"
    return lambda request, forward: Answer(status, {"content-type": kind, **(headers or {})}, raw)


def cut_before() -> Action:
    """Closes the connection before the engine has heard anything."""
    return lambda request, forward: _cut()


def cut_after() -> Action:
    """Lets the engine do its work, and closes the connection instead of answering."""
    return lambda request, forward: forward(request) and _cut()


def cut_middle() -> Action:
    """Promises the whole body, sends half of it, and closes the connection."""

    def act(request: Request, forward: Forward) -> Answer:
        found = forward(request)
        found.keep = len(found.body) // 2
        return found

    return act


def truncate() -> Action:
    """Sends half of the body as if that were all: an HTTP message without a fault, with broken JSON."""

    def act(request: Request, forward: Forward) -> Answer:
        found = forward(request)
        found.body = found.body[: len(found.body) // 2]
        return found

    return act


def delay(seconds: float) -> Action:
    """Answers late."""
    return lambda request, forward: time.sleep(seconds) or forward(request)


def hold(until: threading.Event) -> Action:
    """Answers only once ``until`` is set."""

    def act(request: Request, forward: Forward) -> Answer:
        until.wait()
        return forward(request)

    return act


def rewrite(change: Callable[[Any], Any]) -> Action:
    """Hands the parsed JSON answer to ``change``, which alters it or returns another.

    Numbers with a fraction or an exponent are texts there, and come back digit by digit.
    """

    def act(request: Request, forward: Forward) -> Answer:
        found = forward(request)
        parsed = json.loads(found.body, parse_float=lambda text: f"\x01{text}")
        changed = json.dumps(change(parsed) or parsed)
        found.body = re.sub(r'"\\u0001([^"]*)"', r"\1", changed).encode()
        return found

    return act


def failed_shard(parsed: dict[str, Any]) -> None:
    """One shard failed, and said why."""
    failures = [{"reason": {"type": "oops", "reason": "made up"}}]
    parsed["_shards"].update(successful=parsed["_shards"]["total"] - 1, failed=1, failures=failures)


def silent_shard(parsed: dict[str, Any]) -> None:
    """One shard gave nothing, though none failed: an unassigned one."""
    parsed["_shards"].update(successful=parsed["_shards"]["total"] - 1, failed=0)


def timed_out(parsed: dict[str, Any]) -> None:
    """The engine gave what it had when its time was over."""
    parsed["timed_out"] = True


def terminated_early(parsed: dict[str, Any]) -> None:
    """The engine stopped collecting before it had all."""
    parsed["terminated_early"] = True


# --- the proxy


class Proxy:
    """Listens on a port of its own while the context lasts. ``seen`` has every request, answered or not."""

    def __init__(self, target: str) -> None:
        self._host = urlsplit(target).netloc
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self.seen: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def on(self, pattern: str, action: Action, *, nth: int = 1, times: int = 1) -> None:
        """From now on ``action`` meets the requests whose ``METHOD /path`` has ``pattern`` in it."""
        with self._lock:
            self._rules.append(Rule(re.compile(pattern), action, nth, times))

    def reset(self) -> None:
        """Forgets all rules and requests."""
        with self._lock:
            self._rules.clear()
            self.seen.clear()

    def lines(self, pattern: str = "") -> list[str]:
        """``METHOD /path`` of every request so far that has ``pattern`` in it, in order."""
        with self._lock:
            return [request.line for request in self.seen if re.search(pattern, request.line)]

    def take(self, request: Request) -> Answer:
        """Notes a request and answers it. Raises ``Cut``."""
        with self._lock:
            self.seen.append(request)
            acting = [rule for rule in self._rules if rule.takes(request)]
        return acting[0].action(request, self._forward) if acting else self._forward(request)

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self._host, timeout=120)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            connection.request(request.method, request.path, request.body or None, headers)
            found = connection.getresponse()
            kept = {name: value for name, value in found.getheaders() if name.lower() not in _HOP}
            return Answer(found.status, kept, found.read())
        finally:
            connection.close()

    def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                try:
                    found = proxy.take(Request(self.command, self.path, dict(self.headers), body))
                except Cut:
                    return self.cut()
                self.send_response_only(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(found.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(found.body[: found.keep])
                return None if found.keep is None else self.cut()

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

            def cut(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        return Handler
