"""A bound on what a client library may take, whatever it is waiting for: a name, a handshake, a dripping answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def within(seconds: float, work: Callable[[], _Result], name: str = "esfeed-bounded") -> _Result:
    """What ``work()`` gives or raises; ``TimeoutError`` where that takes longer than ``seconds``.

    It runs in a thread of its own, which is then left behind: the caller must cut what it waits on (shut the socket
    down), so that it ends soon, and must not use that client again. Time-outs of libraries begin anew with every
    byte or address, and looking up a name has none at all.
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
