"""A timeout for any call of a client library: for a lookup, a handshake, or an answer that arrives byte by byte."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def within(seconds: float, work: Callable[[], _Result], name: str = "esfeed-bounded") -> _Result:
    """What ``work()`` returns or raises; ``TimeoutError`` if that takes longer than ``seconds``.

    ``work`` runs in its own thread, which is then abandoned. The caller must close what it waits for (shut the socket
    down), so that it ends soon, and must not use that client again. Timeouts of libraries restart with every byte or
    address, and a lookup has none at all.
    """
    results: list[_Result] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if faults:
        raise faults[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]
