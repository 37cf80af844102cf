"""Serves a feed over HTTP: uvicorn in a thread of the current process (``process`` starts a separate one)."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import threading
import time
from types import TracebackType

import structlog
import uvicorn

from esfeed.config.http import HttpSettings
from esfeed.errors import ConfigError, EsfeedError
from esfeed.runtime.factory import App
from esfeed.web.connections import Connections
from esfeed.web.feed_metrics import FeedMetrics, RunningFeed
from esfeed.web.listen import address, listen
from esfeed.web.metrics import HttpMetrics
from esfeed.web.site import Site

log = structlog.get_logger("esfeed")

_STARTS_WITHIN = 10.0
_LOOK_AGAIN = 0.01
_ENDS_WITHIN = 0.9
_OTHER_FILES = 512
_LEAST_CONNECTIONS = 16


class WebServer:
    """The server of a feed. A context: it listens inside, and disconnects its readers at the end.

    ``feed`` answers what only the feed itself knows; without one, the feed runs in this process, and you must create
    the server before anything of ``app`` is used. ``sock`` listens already. ``began``: when the feed began, by its
    steady clock.
    """

    def __init__(
        self,
        app: App,
        settings: HttpSettings,
        feed: RunningFeed | None = None,
        sock: socket.socket | None = None,
        began: float | None = None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._feed = feed or _observing(app)
        self.metrics = HttpMetrics(app, self._feed)
        self._sock = sock
        self._began = began
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._site: Site | None = None
        self.url = ""

    def __enter__(self) -> WebServer:
        """Raises ``ConfigError`` if it cannot listen at that address."""
        limit = self._max_connections()
        sock = self._sock or listen(self._settings)
        try:
            began = self._app.steady.now().timestamp() if self._began is None else self._began
            self._site = Site(self._app, self._settings, self.metrics, self._feed, began)
            config = uvicorn.Config(
                self._site.application,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=1,
                ssl_certfile=self._settings.certificate,
                ssl_keyfile=self._settings.key,
                loop="auto",
                http=Connections(limit, min(limit, self._settings.limit_of_one), self.metrics.answered).protocol(),
            )
            config.load()
        except (OSError, ValueError) as error:
            sock.close()
            hint = f"it is not usable with http.key: {error}"
            raise ConfigError("http.certificate", str(self._settings.certificate), hint) from error
        except EsfeedError:
            sock.close()
            raise
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([sock],), name="web", daemon=True)
        self._thread.start()
        until = time.monotonic() + _STARTS_WITHIN
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(_LOOK_AGAIN)
        if not self._server.started:
            raise EsfeedError(f"the web server did not start within {_STARTS_WITHIN:g} s", "see the log for why")
        self.url = address(self._settings, sock)
        return self

    def link(self) -> str:
        """The URL that lets one browser in, once; empty if not needed or not usable."""
        if self._site is None or self._settings.socket or self._settings.anonymous != "never":
            return ""
        return self.url + self._site.link()

    def _max_connections(self) -> int:
        """The limit of connections, low enough that the feed always has file descriptors left."""
        wanted = self._settings.limit
        _allow_files(wanted + _OTHER_FILES)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= wanted + _OTHER_FILES:
            return wanted
        fewer = max(_LEAST_CONNECTIONS, soft - _OTHER_FILES)
        log.warning("web.few_files", files=soft, connections=fewer, wanted=wanted)
        return fewer

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        if self._site is not None:
            self._site.leave()
        self._thread.join(_ENDS_WITHIN)
        self._server.force_exit = True
        self._thread.join(_ENDS_WITHIN)


def _observing(app: App) -> RunningFeed:
    metrics = FeedMetrics(app.config)
    app.observers.append(metrics)
    return metrics


def _allow_files(number: int) -> None:
    """Raises the limit of open files and connections of this process to ``number``, up to its hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
