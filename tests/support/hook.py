"""A webhook's other end: keeps what it takes, and answers as told, per event."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], str]
Word = Callable[[dict[str, Any]], "int | Answer | float | None"]


class Hook:
    """A server on a free port of 127.0.0.1. Use it as a context.

    ``word`` is asked about each event: a status, or (status, headers, body); a float: hang so many seconds, then 200;
    ``None``: 200. ``got`` are the events that were answered with 200, ``asked`` counts requests.
    """

    def __init__(self, word: Word = lambda event: None) -> None:
        self.word = word
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self.lock = threading.Lock()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                event = json.loads(body)
                word = hook.word(event)
                with hook.lock:
                    hook.asked += 1
                if isinstance(word, float):
                    time.sleep(word)
                    word = None
                status, headers, said = word if isinstance(word, tuple) else (word or 200, {}, "")
                if status == 200:
                    with hook.lock:
                        hook.got.append(event)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(said.encode()))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # a client that was killed is no news

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Hook:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ids(self) -> list[str]:
        """Of the documents of the events taken so far, in order."""
        with self.lock:
            return [event["data"]["id"] for event in self.got]
