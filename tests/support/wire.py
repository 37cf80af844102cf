"""A stretch of a TCP connection between two processes that a test can hold, cut and shut."""

from __future__ import annotations

import contextlib
import socket
import threading

_PIECE = 1 << 16


class Wire:
    """Carries TCP connections to a port of this machine, byte by byte. It listens before its ``target`` is known."""

    def __init__(self, target: int = 0) -> None:
        self.target = target
        self.held = threading.Event()
        self._pattern: bytes | None = None
        self._closing = False
        self._losing = False
        self._free = threading.Event()
        self._sockets: list[socket.socket] = []
        self.port = 0
        self._listen()

    def hold(self, pattern: bytes) -> None:
        """From now on a connection stands still as soon as something with ``pattern`` is sent on it.

        ``held`` is set once that happened; then ``let_go`` or ``lose``.
        """
        self.held.clear()
        self._free.clear()
        self._losing, self._pattern = False, pattern

    def let_go(self) -> None:
        """Nothing is held any more; what was goes on its way."""
        self._pattern = None
        self._free.set()

    def lose(self) -> None:
        """Nothing is held any more; what was is lost, and its connection is cut."""
        self._losing = True
        self.let_go()

    def shut(self) -> None:
        """Every connection is cut and new ones are refused, as by a server that is gone, until it is ``open`` again."""
        self._closing = True
        _cut(self._listener)
        self._accepting.join()
        self.lose()
        for one in [self._listener, *self._sockets]:
            _cut(one)
            one.close()
        self._sockets = []

    def open(self) -> None:
        """On the same port as before."""
        self._listen()

    close = shut

    def _listen(self) -> None:
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except OSError:
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            for one, other, watched in ((near, far, True), (far, near, False)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(one, other, watched), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, watched: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                if watched and self._pattern is not None and self._pattern in piece:
                    self.held.set()
                    self._free.wait()
                    if self._losing:
                        break
                sink.sendall(piece)
        _cut(source, sink)


def _cut(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
