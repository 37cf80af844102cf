"""Serves a running feed: uvicorn in a thread beside the daemon, whose loops it must never hold up."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

import structlog
import uvicorn

from esfeed.app import App
from esfeed.errors import ConfigError, EsfeedError
from esfeed.http_section import HttpSettings
from esfeed.web.connections import Connections
from esfeed.web.meters import Meters
from esfeed.web.site import Site

log = structlog.get_logger("esfeed")

_BACKLOG = 1024
_STARTS_WITHIN = 10.0
_LOOK_AGAIN = 0.01
_ENDS_WITHIN = 0.9
_GRACE = 2.0
_OTHER_FILES = 512
_LEAST_CONNECTIONS = 16


class WebServer:
    """The server of a feed. A context: it listens inside, and its readers are sent away at the end.

    Make it before anything of ``app`` is used, since its measures are observers.
    """

    def __init__(self, app: App, settings: HttpSettings) -> None:
        self._app = app
        self._settings = settings
        self._meters = Meters(app)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._site: Site | None = None
        self.url = ""
        app.observers.append(self._meters)

    def __enter__(self) -> WebServer:
        """Raises ``ConfigError`` where it cannot listen at that address."""
        most = self._most_connections()
        sock = _listen(self._settings)
        try:
            self._site = Site(self._app, self._settings, self._meters)
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
                http=Connections(most, min(most, self._settings.most_of_one), self._meters.answered).protocol(),
            )
            config.load()
        except (OSError, ValueError) as error:
            sock.close()
            hint = f"it cannot be used with http.key: {error}"
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
            raise EsfeedError(f"the web server did not start within {_STARTS_WITHIN:g} s", "the log may tell why")
        self.url = self._settings.listen if self._settings.socket else self._address(sock)
        log.info("web.listening", url=self.url)
        return self

    def _address(self, sock: socket.socket) -> str:
        host, port = sock.getsockname()[:2]
        scheme = "https" if self._settings.certificate else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def link(self) -> str:
        """The address that lets one browser in, once; empty where nobody needs one, or none can use it."""
        if self._site is None or self._settings.socket or self._settings.anonymous != "never":
            return ""
        return self.url + self._site.link()

    def _most_connections(self) -> int:
        """How many connections there may be, so that the feed never wants for a file of its own."""
        wanted = self._settings.most
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


def _allow_files(number: int) -> None:
    """Lets this process have that many files and connections open, as far as its own hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(settings: HttpSettings) -> socket.socket:
    if settings.socket:
        return _listen_at_file(settings)
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Accepted connections inherit it: one whose reader takes nothing for that long is ended by the kernel, so
            # that what is on its way to it does not stay in memory. https://www.rfc-editor.org/rfc/rfc5482
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int((settings.cut_off + _GRACE) * 1000))
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _taken(settings, error, "name another address, such as 127.0.0.1:0") from None
    return sock


def _listen_at_file(settings: HttpSettings) -> socket.socket:
    """Listens at a socket for its owner and group alone; one that a dead process left is taken away."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = Path(settings.socket)
    mask = os.umask(0o117)
    try:
        if path.is_socket() and sock.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()
        sock.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(path))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _taken(settings, error, "name another path, in a folder that is there") from None
    finally:
        os.umask(mask)
    return sock


def _taken(settings: HttpSettings, error: OSError, instead: str) -> ConfigError:
    reason = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return ConfigError("http.listen", settings.listen, f"{reason}; {instead}")
