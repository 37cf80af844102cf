"""A small Keystone: gives a service its token and says what others are worth, as the Identity API v3 words it.

https://docs.openstack.org/api-ref/identity/v3/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Keystone:
    """What it knows, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tokens: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.down = False

    def give(self, token: str, project: str | None, *roles: str, seconds: float = 3600) -> None:
        """Makes a token good."""
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.tokens[token] = {
            "methods": ["password"],
            "user": {"id": "u1", "name": "anna", "domain": {"id": "default", "name": "Default"}},
            "expires_at": until,
            "issued_at": "2026-11-24T10:00:00.000000Z",
            "roles": [{"id": role, "name": role} for role in roles],
            **({"project": {"id": project, "name": project, "domain": {"id": "default"}}} if project else {}),
        }


@contextmanager
def keystone(password: str) -> Iterator[Keystone]:
    """A Keystone that runs as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, body: object, **headers: str) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            user = asked["auth"]["identity"]["password"]["user"]
            if here.down or self.path != "/v3/auth/tokens" or user["password"] != password:
                self._answer(503 if here.down else 401, {"error": {"code": 401, "message": "no", "title": "no"}})
                return
            here.give("service-token", "service", "service")
            self._answer(201, {"token": here.tokens["service-token"]}, X_Subject_Token="service-token")

        def do_GET(self) -> None:
            if here.down:
                self._answer(503, {"error": {"code": 503, "message": "down", "title": "down"}})
                return
            if self.headers.get("x-auth-token") not in here.tokens:
                self._answer(401, {"error": {"code": 401, "message": "who are you?", "title": "Unauthorized"}})
                return
            subject = self.headers["x-subject-token"]
            here.asked.append(subject)
            if subject in here.tokens:
                self._answer(200, {"token": here.tokens[subject]}, X_Subject_Token=subject)
            else:
                self._answer(404, {"error": {"code": 404, "message": "no such token", "title": "Not Found"}})

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Keystone(f"http://127.0.0.1:{server.server_port}/v3")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
