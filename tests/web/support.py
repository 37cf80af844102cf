"""A server over a state that a test fills by hand, and small clients that read it as the world would."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from esfeed.config.load import parse
from esfeed.model.event import Event, Key
from esfeed.model.tokens import Token, digest, new_token
from esfeed.ports import Commit, Entry
from esfeed.runtime.factory import App
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from esfeed.web.server import WebServer

SETTINGS = """\
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["http://127.0.0.1:9"]
[watches.servers]
index = "servers"
[watches.images]
index = "images"
[sinks.audit]
type = "file"
path = "{folder}/audit.jsonl"
[http]
listen = "127.0.0.1:0"
anonymous = "loopback"
requests_per_second = 10000.0
"""


class Desk:
    """A feed that nobody polls for: its log is written by hand, and served by the product's own server."""

    def __init__(self, folder: Path, http: str = "", more: str = "") -> None:
        text = SETTINGS.format(folder=folder)
        if "requests_per_second" in http:
            text = text.replace("requests_per_second = 10000.0\n", "")
        if "anonymous" in http or "unix:" in http:
            text = text.replace('anonymous = "loopback"\n', "")
        if "listen" in http:
            text = text.replace('listen = "127.0.0.1:0"\n', "")
        self._config = parse(text + http + "\n" + more, folder / "esfeed.toml")
        self._stack = ExitStack()
        # No cookie and no kept connection is shared by those who ask, and a client is slow to make.
        self.client = httpx.Client(timeout=httpx.Timeout(30, read=60), verify=False)
        self.url = ""
        self.start()

    def start(self) -> None:
        """Begins to serve; again, after ``stop``, at the same address."""
        settings = self._config.http
        assert settings is not None
        if self.url:
            settings = settings.model_copy(update={"listen": self.url.removeprefix("http://")})
        self.app = self._stack.enter_context(App(self._config, "run"))
        self.server = self._stack.enter_context(WebServer(self.app, settings))
        self.url = self.server.url

    def stop(self) -> None:
        """Ends the server; the state stays."""
        self._stack.close()

    def put(self, *events: Event) -> None:
        """Adds events to the log."""
        for event in events:
            entry = Entry(Key(event.type, event.doc_id), event)
            self.app.store.commits.commit(event.watch, Commit(entries=[entry]))

    def fill(self, number: int, **about: Any) -> None:
        """Adds that many events, one a document, in one transaction."""
        events = [sample_event(doc_id=f"d{n}", **about) for n in range(number)]
        entries = [Entry(Key(event.type, event.doc_id), event) for event in events]
        self.app.store.commits.commit(events[0].watch, Commit(entries=entries))

    def drop(self, until: int) -> None:
        """Takes the oldest rows away, up to a position, as a bounded log does."""
        state = self.app.store
        assert isinstance(state, SqlState)
        with state.sessions.writing() as connection:
            connection.exec_driver_sql("DELETE FROM log WHERE position <= ?", (until,))
        state.log.forget(until)

    def token(self, tenant: str | None = None, admin: bool = False, expires: int | None = None, name: str = "") -> str:
        """A new bearer token."""
        made = new_token()
        token = Token(digest(made), name or made[-8:], tenant, admin, 0, expires)
        assert self.app.store.tokens.add(token)
        return made

    def get(self, path: str, token: str = "", headers: Mapping[str, str] | None = None, **query: Any) -> httpx.Response:
        """One request."""
        sent = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        return self.client.get(self.url + path, params=query, headers=sent)

    def positions(self, **query: Any) -> list[int]:
        """The positions of a page's events."""
        answer = self.get("/v1/changes", **query)
        assert answer.status_code == 200, answer.text
        return [event["data"]["position"] for event in answer.json()["events"]]

    @contextmanager
    def stream(self, token: str = "", since: object = None, last: object = None, **query: Any) -> Iterator[Stream]:
        """A reader of the stream, in a thread of its own."""
        headers = {"accept": "text/event-stream"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if last is not None:
            headers["last-event-id"] = str(last)
        if since is not None:
            query["since"] = since
        with self.client.stream("GET", f"{self.url}/v1/changes", params=query, headers=headers) as answer:
            stream = Stream(answer)
            yield stream
            stream.leave()


class Stream:
    """What came over a stream so far."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.last = ""
        self.ended = threading.Event()
        self._answer = answer
        if self.status != 200:
            answer.read()
            self.body = answer.json()
            self.ended.set()
            return
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._answer.iter_lines():
                self.lines.append(line)
                if line.startswith("id: "):
                    self.last = line[4:]
                elif line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))
        except (httpx.HTTPError, OSError):
            pass
        finally:
            self.ended.set()

    def leave(self) -> None:
        """Hangs up."""
        if not self.ended.is_set():
            with contextlib.suppress(OSError):
                self._answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            self.ended.wait(10)

    def positions(self) -> list[int]:
        return [event["data"]["position"] for event in self.events if "data" in event]
