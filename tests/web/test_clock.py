"""A feed whose machine has its clock set: it goes on as before, and says what happened.

In this process, with a clock that the test sets: libfaketime 0.9.10 breaks ``time.sleep`` of Python 3.11 and later.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from esfeed.config.load import parse
from esfeed.demo.cloud import FLAVOR
from esfeed.runtime import daemon as daemons
from esfeed.runtime.daemon import Daemon
from esfeed.runtime.factory import App
from esfeed.runtime.status import report
from tests.support.clients import eventually
from tests.support.clocks import shifted
from tests.web.conftest import StageMaker


def test_the_clock_is_set(stage: StageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour back, two on, and back: changes are found and delivered all the same, and nothing is stalled."""
    clock = shifted(monkeypatch)
    monkeypatch.setattr(daemons, "StopSignal", lambda: lambda: None)
    set_up = stage()
    live, cloud = set_up.live, set_up.cloud
    live.stop()
    written = Path(live.folder / "audit.jsonl")
    with (
        App(parse(live.config.read_text(), live.config), "run", clock=clock, eager=False) as app,
        capture_logs() as logs,
    ):
        daemon = Daemon(app)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            for number, by in enumerate((0.0, -3600.0, 3600.0, 0.0), 2):
                clock.by = by
                cloud.create(FLAVOR, f"m{number}", vcpus=number)
                eventually(lambda number=number: f'"m{number}"' in written.read_text(), 60)  # type: ignore[misc]
                watch = report(app)["watches"]["cloud"]
                assert watch["state"] == "ok"
                assert watch["lag_seconds"] < 1800
        finally:
            daemon.stopping.set()
            thread.join(60)
    steps = [round(line["seconds"]) for line in logs if line["event"] == "clock.stepped"]
    assert steps == [-3600, 7200, -3600]
