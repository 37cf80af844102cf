"""Opens the socket of a server: an address and port, or a file."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from esfeed.config.http import HttpSettings
from esfeed.errors import ConfigError

_BACKLOG = 1024
_GRACE = 2.0


def listen(settings: HttpSettings) -> socket.socket:
    """A socket that listens as ``settings.listen`` says. Raises ``ConfigError`` if that fails."""
    if settings.socket:
        return _at_file(settings)
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Accepted connections inherit it: if a reader takes nothing for that long, the kernel ends its connection,
            # so that unsent data does not stay in memory. https://www.rfc-editor.org/rfc/rfc5482
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int((settings.cut_off + _GRACE) * 1000))
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _taken(settings, error, "name another address, such as 127.0.0.1:0") from None
    return sock


def address(settings: HttpSettings, sock: socket.socket) -> str:
    """The URL of a server that listens at ``sock``, or the path of its file."""
    if settings.socket:
        return settings.listen
    host, port = sock.getsockname()[:2]
    scheme = "https" if settings.certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _at_file(settings: HttpSettings) -> socket.socket:
    """Listens at a socket file for its owner and group only; removes the file of a dead process."""
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
        raise _taken(settings, error, "name a path in a folder that exists") from None
    finally:
        os.umask(mask)
    return sock


def _taken(settings: HttpSettings, error: OSError, instead: str) -> ConfigError:
    reason = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return ConfigError("http.listen", settings.listen, f"{reason}; {instead}")
