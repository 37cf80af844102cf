"""Serves a running feed from a separate process, so that readers cost the feed no time, memory or connections.

The process of the server gets only the settings that it needs (nothing that opens a cluster or a sink), reads the state
itself, and requests the rest from the feed over a socket pair (``control``). It ends with the feed; if it dies, another
one starts at the same socket.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
from types import TracebackType
from typing import NamedTuple

import structlog

from esfeed.config.http import HttpSettings
from esfeed.config.load import Config
from esfeed.config.types import SinkSection
from esfeed.errors import ConfigError, EsfeedError
from esfeed.runtime.factory import App
from esfeed.web.control import Answer, Ask, Channel, Leave, Logged, Message, News, Ready, Refused
from esfeed.web.feed_metrics import FeedMetrics
from esfeed.web.listen import listen

log = structlog.get_logger("esfeed")

_STARTS_WITHIN = 30.0
_ENDS_WITHIN = 2.5
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


class Began(NamedTuple):
    """What the process of the server gets: settings, when the feed began, and its file descriptors."""

    config: Config
    settings: HttpSettings
    at: float
    listening: int
    channel: int
    feed: int


class WebProcess:
    """The server of a feed, in a separate process. A context: it listens inside.

    Create it before anything of ``app`` is used, because its metrics are observers.
    """

    def __init__(self, app: App, settings: HttpSettings) -> None:
        self._app = app
        self._settings = settings
        self._metrics = FeedMetrics(app.config)
        self._news = threading.Event()
        self._leaving = threading.Event()
        self._ready = threading.Event()
        self._refused: EsfeedError | None = None
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._threads: list[threading.Thread] = []
        self._at = 0.0
        self.url = ""
        self._link = ""
        app.observers.append(self._metrics)

    def __enter__(self) -> WebProcess:
        """Raises ``ConfigError`` if it cannot listen at that address, or not with that certificate."""
        # ``steady`` opens the state, and migrates it if needed, before the other process reads it.
        self._app.notifier.subscribe(lambda _: self._news.set())
        self._at = self._app.steady.now().timestamp()
        self._sock = listen(self._settings)
        try:
            self._start()
        except OSError as error:
            self._sock.close()
            raise EsfeedError(f"cannot start the process that serves HTTP: {error}") from error
        for work in (self._keep, self._tell):
            self._threads.append(threading.Thread(target=work, name=f"web {work.__name__}", daemon=True))
            self._threads[-1].start()
        self._ready.wait(_STARTS_WITHIN)
        if self._refused is None and not self._ready.is_set():
            self._refused = EsfeedError(
                f"the process that serves HTTP was not ready within {_STARTS_WITHIN:g} s", "see the log for why"
            )
        if self._refused is not None:
            self._end()
            raise self._refused
        return self

    def link(self) -> str:
        """The URL that lets one browser in, once; empty if not needed or not usable."""
        return self._link

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._leaving.set()
        self._news.set()
        if self._channel is not None:
            self._channel.send(Leave())
        if self._process is not None:
            try:
                self._process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for thread in self._threads:
            thread.join(_ENDS_WITHIN)
        if self._sock is not None:
            self._sock.close()

    def _start(self) -> None:
        """Starts the process. Raises ``OSError``."""
        assert self._sock is not None
        ours, theirs = socket.socketpair()
        with theirs:
            # Its own group: Ctrl-C on a terminal is for the feed, which disconnects its readers.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "esfeed.web"],
                stdin=subprocess.PIPE,
                pass_fds=(theirs.fileno(), self._sock.fileno()),
                process_group=0,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"},
            )
            began = Began(
                for_readers(self._app.config),
                self._settings,
                self._at,
                self._sock.fileno(),
                theirs.fileno(),
                os.getpid(),
            )
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError), self._process.stdin:
                pickle.dump(began, self._process.stdin)
        self._channel = Channel(ours)

    def _keep(self) -> None:
        """Answers the server, and starts another if it dies."""
        pause = _FIRST_PAUSE
        while True:
            assert self._channel is not None
            assert self._process is not None
            for message in self._channel.receive():
                self._take(message)
                if isinstance(message, Ready):
                    pause = _FIRST_PAUSE
            self._channel.close()
            code = self._process.wait()
            if not self._ready.is_set():
                self._refused = self._refused or EsfeedError(
                    f"the process that serves HTTP ended with code {code} before it was ready", "see the log for why"
                )
                self._ready.set()
                return
            if self._leaving.is_set():
                return
            log.error("web.died", code=code, hint="the feed continues; the server restarts in a moment")
            if self._leaving.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                self._start()
            except OSError as error:
                log.error("web.not_started", error=str(error))

    def _take(self, message: Message) -> None:
        assert self._channel is not None
        match message:
            case Ask(number, "metrics"):
                self._channel.send(Answer(number, self._metrics.metrics().decode()))
            case Ask(number, "history"):
                self._channel.send(Answer(number, history=self._metrics.history()))
            case Ask(number):
                self._channel.send(Answer(number))
            case Logged(level, event, fields):
                getattr(log, level)(event, **fields)
            case Refused(message=text, hint=hint, key=key):
                self._refused = ConfigError(key, text, hint) if key else EsfeedError(text, hint)
            case Ready(url, link):
                self.url, self._link = url, link
                self._ready.set()
                log.info("web.listening", url=url)

    def _tell(self) -> None:
        """Notifies the server of new log entries, never in the thread that logs them."""
        while not self._leaving.is_set():
            self._news.wait()
            self._news.clear()
            if self._channel is not None:
                self._channel.send(News())


def for_readers(config: Config) -> Config:
    """The settings for readers: no cluster, no route, and of a sink only the common settings."""
    common = SinkSection.model_fields
    sinks = {
        name: SinkSection.model_construct(**{key: getattr(one, key) for key in common})
        for name, one in config.sinks.items()
    }
    return config.model_copy(update={"clusters": {}, "routes": (), "sinks": sinks})
