"""The process that serves a feed over HTTP. ``process`` starts it."""

from __future__ import annotations

import ctypes
import itertools
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal, NoReturn

import msgspec
import structlog

from esfeed.errors import ConfigError, EsfeedError
from esfeed.runtime.factory import App
from esfeed.runtime.heaps import share_heaps
from esfeed.web.control import Answer, Ask, Channel, Leave, Logged, News, Ready, Refused
from esfeed.web.process import Began
from esfeed.web.server import WebServer

_ANSWERS_WITHIN = 5.0
_PR_SET_PDEATHSIG = 1
_NICER = 10
"""How much lower than the feed's its priority is. On two cores, a tenant who sends requests without a pause would
otherwise double the delay of every event.
"""


class RemoteFeed:
    """The feed in the other process, as a ``RunningFeed``."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[Answer]] = {}

    def metrics(self) -> bytes:
        found = self._ask("metrics")
        return found.metrics.encode() if found else b""

    def history(self) -> Mapping[str, Sequence[int]]:
        found = self._ask("history")
        return found.history if found else {}

    def alive(self) -> bool:
        return self._ask("alive") is not None

    def take(self, answer: Answer) -> None:
        """Passes an answer to the thread that waits for it."""
        waiting = self._waiting.get(answer.number)
        if waiting is not None:
            waiting.put(answer)

    def _ask(self, what: Literal["metrics", "history", "alive"]) -> Answer | None:
        number = next(self._numbers)
        waiting = self._waiting[number] = queue.SimpleQueue()
        try:
            return waiting.get(timeout=_ANSWERS_WITHIN) if self._channel.send(Ask(number, what)) else None
        except queue.Empty:
            return None
        finally:
            del self._waiting[number]


def main() -> None:
    """Serves until the feed ends or is gone."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # Signals reach the whole process group; the feed ends this process.
    began: Began = pickle.load(sys.stdin.buffer)
    _end_with(began.feed)
    os.nice(_NICER)
    share_heaps()
    channel = Channel(socket.socket(fileno=began.channel))
    _log_to(channel)
    with App(began.config, "web") as app:
        feed = RemoteFeed(channel)
        server = WebServer(app, began.settings, feed, socket.socket(fileno=began.listening), began.at)
        try:
            server.__enter__()
        except ConfigError as error:
            channel.send(Refused(str(error.value), error.hint, error.key))
            return
        except EsfeedError as error:
            channel.send(Refused(error.message, error.hint))
            return
        channel.send(Ready(server.url, server.link()))
        for message in channel.receive():
            match message:
                case News():
                    app.notifier.wake()
                case Answer():
                    feed.take(message)
                case Leave():
                    server.__exit__(None, None, None)
                    return
    _gone()


def _end_with(feed: int) -> None:
    """Makes the kernel end this process when the feed ends, in any way, if the kernel can (Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != feed:
        _gone()


def _gone() -> NoReturn:
    """The feed is gone, and nothing else needs this process."""
    os._exit(1)


def _log_to(channel: Channel) -> None:
    """Sends everything that is logged to the log of the feed."""

    def send(_: object, level: str, event: MutableMapping[str, Any]) -> NoReturn:
        name = str(event.pop("event"))
        channel.send(Logged(level, name, msgspec.to_builtins(dict(event), str_keys=True, enc_hook=str)))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, send], cache_logger_on_first_use=False)
    threading.excepthook = lambda args: structlog.get_logger("esfeed").error(
        "web.broken", exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )


if __name__ == "__main__":
    main()
