"""``/healthz`` and ``/readyz``: alive or not; and whether the feed does all, some or none of its work."""

from __future__ import annotations

from typing import Any

import pytest

from esfeed.errors import StateError
from esfeed.runtime.health import SinkHealth, WatchHealth, pack
from tests.web.support import Desk


def note(desk: Desk, watches: dict[str, str], sinks: dict[str, str], at: float | None = None) -> None:
    """Has the parts say how they are: an error each, empty for none."""
    now = desk.app.clock.now().timestamp() + 1 if at is None else at
    for name, error in watches.items():
        desk.app.store.notes.put("watch", name, pack(WatchHealth(now, 0.1, 1, 1, "seq_no", "", "", {}, error)))
    for name, error in sinks.items():
        desk.app.store.notes.put("sink", name, pack(SinkHealth(now, 1, error, int(bool(error)))))


def ready(desk: Desk) -> tuple[int, Any]:
    answer = desk.get("/readyz")
    return answer.status_code, answer.json()["status"]


def test_words(desk: Desk) -> None:
    """Starting, ok, degraded by a sink or by one watch of two, and dead where no watch is well."""
    assert ready(desk) == (503, "starting")
    note(desk, {"servers": "", "images": ""}, {"audit": ""}, at=1.0)
    assert ready(desk) == (503, "starting"), "what was before this process began says nothing"
    note(desk, {"servers": "", "images": ""}, {})
    assert ready(desk) == (200, "ok")
    note(desk, {}, {"audit": "disk full"})
    assert ready(desk) == (200, "degraded")
    note(desk, {"images": "refused"}, {"audit": ""})
    assert ready(desk) == (200, "degraded")
    note(desk, {"servers": "refused"}, {})
    assert ready(desk) == (503, "dead")
    assert desk.get("/healthz").json() == {"status": "alive"}


def test_nothing_is_told_to_anybody_but_words_and_counts(desk: Desk) -> None:
    """No name and no error is in what needs no token."""
    note(desk, {"servers": "secret-host refused"}, {"audit": "secret-path full"})
    told = desk.get("/readyz").text
    assert "secret" not in told
    assert "servers" not in told


def test_a_state_that_cannot_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is death: a supervisor is to start the process anew."""

    def broken(*_: object) -> None:
        raise StateError("disk I/O error", "look at the disk")

    monkeypatch.setattr(desk.app.store.log, "head", broken)
    monkeypatch.setattr(desk.app.store.notes, "all", broken)
    assert (desk.get("/healthz").status_code, desk.get("/healthz").json()) == (503, {"status": "dead"})
    assert ready(desk) == (503, "dead")
