"""A real server of a test module's own (see ``tests.support.services``), with the words that its tests need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.services import VARIABLE, OwnService, selected


class Server:
    """Up once made. What its record holds is an attribute: ``port``, ``tls_port``, ``username``, ``ca_certs``, …"""

    def __init__(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        if name not in selected():
            pytest.skip(f"{VARIABLE} leaves out {name}")
        self._own = OwnService(name, settings)

    def __getattr__(self, key: str) -> Any:
        return getattr(self._own.now, key)

    def start(self) -> None:
        """Starts it again, on its port and data."""
        self._own.start()

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._own.kill()
        self._own.stop()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped meanwhile (SIGSTOP): it takes connections, as the kernel does that, and answers nothing."""
        self._own.pause()
        try:
            yield
        finally:
            self._own.resume()

    def close(self) -> None:
        """Ends it and removes its data."""
        self._own.discard()
