"""Who waits for the log is woken by what this process commits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from esfeed.ports import LogRow
from esfeed.runtime.notifier import LocalNotifier
from esfeed.testing.events import sample_event


@pytest.mark.parametrize("how", ["publish", "wake"])
def test_waiting_ends(how: str) -> None:
    """Long before its time is over."""
    notifier, woken = LocalNotifier(), threading.Event()

    def wait() -> None:
        notifier.wait(60)
        woken.set()

    threading.Thread(target=wait, daemon=True).start()
    for n in range(200):
        if how == "wake":
            notifier.wake()
        else:
            notifier.publish([LogRow(n, sample_event(), None)])
        if woken.wait(0.05):
            return
    pytest.fail("nothing woke it")


def test_waiting_ends_by_itself() -> None:
    """For who looks at something else as well from time to time."""
    LocalNotifier().wait(0.01)


def test_subscribers_get_rows_in_order_before_others_are_woken() -> None:
    """All of them, in the thread that commits."""
    notifier = LocalNotifier()
    heard: list[tuple[str, list[int], int]] = []

    def subscriber(name: str) -> Callable[[Sequence[LogRow]], None]:
        return lambda rows: heard.append((name, [row.position for row in rows], threading.get_ident()))

    for name in ("one", "two"):
        notifier.subscribe(subscriber(name))
    notifier.publish([LogRow(1, sample_event(), None), LogRow(2, sample_event(), "s")])
    mine = threading.get_ident()
    assert heard == [("one", [1, 2], mine), ("two", [1, 2], mine)]
