"""A feed as its users run it: a settings file, the ``esfeed`` command, and the lines of its file sink."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support.clients import esfeed, eventually
from tests.support.warm import Started


class Feed:
    """One watch ``w`` on ``index``, one file sink ``audit``. More ``watch`` keys as they stand in the settings.

    ``cluster``: more keys of the cluster.
    """

    def __init__(
        self, folder: Path, url: str, index: str, cluster: Mapping[str, Any] | None = None, **watch: Any
    ) -> None:
        self.folder = folder
        self.url = url
        self.events = folder / "events.jsonl"
        self.config = folder / "esfeed.toml"
        keys = {"index": index, "interval": "100ms", **watch}
        self.config.write_text(
            f'state = "sqlite:///{folder}/state.db"\n'
            f'[clusters.main]\nhosts = ["{url}"]\n'
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in (cluster or {}).items())
            + "[watches.w]\n"
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            + f'[sinks.audit]\ntype = "file"\npath = "{self.events}"\n'
        )
        self.process: Started | None = None
        self.log = folder / "log.jsonl"
        self._starts = 0

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return esfeed(*args, config=self.config)

    def poll(self) -> None:
        """``esfeed poll``, which must succeed."""
        done = self("poll")
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """``esfeed run`` in the background."""
        self._starts = self._started()
        with self.log.open("ab") as log:
            self.process = Started("--config", str(self.config), "run", cwd=self.folder, stdout=log, stderr=log)

    def backfill(self, *args: str, through: str) -> Started:
        """``esfeed backfill`` in the background, on the same state, but reaching the cluster at that other url."""
        config = self.folder / "through.toml"
        config.write_text(self.config.read_text().replace(self.url, through))
        return Started("--config", str(config), "backfill", *args, cwd=self.folder)

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> float:
        """SIGTERM, once it is there; it must exit with 0. Returns the seconds that it took."""
        assert self.process is not None
        eventually(lambda: self._started() > self._starts)
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(timeout=20)
        self.process = None
        assert code == 0, self.log.read_text()[-2000:]
        return time.monotonic() - began

    def _started(self) -> int:
        return self.log.read_text().count("feed.started") if self.log.exists() else 0

    def clean_up(self) -> None:
        """Whatever happened, nothing goes on running."""
        if self.process is not None:
            self.kill()

    def lines(self) -> list[dict[str, Any]]:
        """The events so far, parsed; a line that is being written right now is left out."""
        if not self.events.exists():
            return []
        raw = self.events.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        return [json.loads(line, parse_float=Decimal) for line in whole.splitlines()]
