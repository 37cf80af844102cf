"""Runs the demo: an engine, a cloud that writes, the feed that follows it, and the summary at the end."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from esfeed.config.load import Config, parse
from esfeed.demo.account import suggest, sum_up
from esfeed.demo.cloud import Cloud
from esfeed.demo.demo_index import DemoIndex, EngineClient, demo_index
from esfeed.demo.ledger import Ledger
from esfeed.demo.screen import Screen, Shown
from esfeed.demo.script import SCENES, furnish
from esfeed.errors import EsfeedError
from esfeed.observe.ports import Observer
from esfeed.ports import Sink
from esfeed.runtime.daemon import Daemon
from esfeed.runtime.factory import App

_PACE = 0.9
_SHOWN_WITHIN = 15.0
_IDLE_POLLS = 5
_IDLE_WITHIN = 10.0

_SETTINGS = """\
# Written by `esfeed demo`, which removes it at the end.
state = {state}

[clusters.demo]
hosts = [{url}]

[watches.cloud]
index = {alias}
profile = "searchlight"
interval = "200ms"

[sinks.admin]
type = "file"
path = {admin}

[sinks.user]
type = "file"
path = {user}

[[routes]]
sinks = ["admin"]
admin = true

[[routes]]
sinks = ["user"]
"""


class _App(App):
    """The real feed; it shows what its sinks took, and notes the cost of each poll."""

    def __init__(self, config: Config, screen: Screen) -> None:
        super().__init__(config, "demo", eager=False)
        self._screen = screen
        costs = _Costs()
        self.costs = costs.requests
        self.observers.append(costs)

    def sink(self, name: str) -> Sink:
        return Shown(super().sink(name), self._screen)


class _Costs(Observer):
    """Remembers how many requests each of the last polls needed."""

    def __init__(self) -> None:
        self.requests: deque[int] = deque(maxlen=_IDLE_POLLS)

    def polled(
        self, watch: str, took: float, requests: int, received_bytes: int, events: Mapping[str, int], error: str
    ) -> None:
        self.requests.append(requests)


class _Show:
    """One run of the demo. ``play`` runs alongside the daemon, and stops it unless the feed must keep running."""

    def __init__(
        self, screen: Screen, where: DemoIndex, client: EngineClient, folder: Path, ledger: Ledger, speed: float
    ) -> None:
        self.screen = screen
        self.where = where
        self.client = client
        self.folder = folder
        self.ledger = ledger
        self.cloud = Cloud(where, client, ledger)
        self.settings = folder / "esfeed.toml"
        self.ended = False
        self.equal = False
        self.failure: Exception | None = None
        self._pause = _PACE / speed

    def write_settings(self) -> Config:
        values = {
            "state": f"sqlite:///{self.folder / 'esfeed.db'}",
            "url": self.where.url,
            "alias": self.where.alias,
            "admin": str(self.folder / "admin.jsonl"),
            "user": str(self.folder / "user.jsonl"),
        }
        self.settings.write_text(_SETTINGS.format(**{name: json.dumps(value) for name, value in values.items()}))
        return parse(self.settings.read_text(), self.settings)

    def open(self) -> None:
        self.screen.row("engine", f"{self.where.engine}, {self.where.url}")
        self.screen.row("index", f"{self.where.index}, followed as {self.where.alias} every 200 ms")
        self.screen.row("routes", "one for admins and one for users, each to a file of JSON lines")
        if not self.where.many_types:
            note = "This engine has no types: a field has those of Searchlight, and is shown instead."
            self.screen.row("", note, "dim")
        self.screen.caption("before: documents that exist at the start arrive as read events")

    def play(self, app: _App, stopping: threading.Event, keep: bool) -> None:
        try:
            self._play(app, stopping, keep)
        except Exception as error:
            self.failure = error
        while keep and self.ended and not self.screen.gone and not stopping.wait(0.2):
            pass
        stopping.set()

    def _play(self, app: _App, stopping: threading.Event, keep: bool) -> None:
        self._until_shown(stopping)
        stopping.wait(self._pause)
        for scene in SCENES:
            if stopping.is_set() or self.screen.gone:
                return
            if scene.caption:
                self.screen.caption(scene.caption)
            scene.act(self.cloud)
            self._until_shown(stopping)
            # Not in step with the polls, which would make all delays equal.
            stopping.wait(self._pause * random.uniform(0.8, 1.2))
        self._until_idle(app, stopping)
        if not stopping.is_set():
            self.equal = sum_up(self.screen, self.ledger, self.where, self.client, self.folder, app.costs[-1])
            suggest(self.screen, self.where, self.settings if keep else None)
            self.ended = True

    def _until_shown(self, stopping: threading.Event) -> None:
        until = time.monotonic() + _SHOWN_WITHIN
        while not self.ledger.all_shown(0.1) and not stopping.is_set():
            if time.monotonic() > until:
                raise EsfeedError(f"an event did not arrive within {_SHOWN_WITHIN:g} s", "see the log for why")

    def _until_idle(self, app: _App, stopping: threading.Event) -> None:
        """Waits until several polls in a row cost the same: the cost of an idle poll."""
        until = time.monotonic() + _IDLE_WITHIN
        app.costs.clear()
        while time.monotonic() < until and not stopping.wait(0.05):
            if len(app.costs) == _IDLE_POLLS and len(set(app.costs)) == 1:
                return


Companion = Callable[[App], AbstractContextManager[object]]
"""Creates what runs alongside the feed, such as a server; entered once the feed has its state."""


def show(console: Console, engine: str | None, keep: bool, speed: float, companion: Companion | None = None) -> int:
    """Runs the demo; returns the exit code: 0, 1 if the events do not match the index, 130 on Ctrl-C."""
    ledger = Ledger()
    screen = Screen(console, ledger)
    with _terminable(), contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esfeed-demo-")))
        where, client = stack.enter_context(demo_index(engine))
        this = _Show(screen, where, client, folder, ledger, speed)
        furnish(this.cloud)
        client.request("POST", f"/{where.index}/_refresh")
        this.open()
        app = _App(this.write_settings(), screen)
        with app:
            interrupted = _follow(this, app, keep, companion)
    if interrupted:
        screen.say(Text("\nStopped; the demo has removed everything that it created.", "dim"))
    if screen.gone:
        return 1
    return 130 if not this.ended else 0 if this.equal else 1


def _follow(this: _Show, app: _App, keep: bool, companion: Companion | None) -> bool:
    """Runs the feed and the cloud; returns whether a signal ended them."""
    served = companion(app) if companion else None
    daemon = Daemon(app, served)
    app.interruptible(daemon.stopping)
    thread = threading.Thread(target=this.play, args=(app, daemon.stopping, keep), name="demo cloud", daemon=True)
    thread.start()
    daemon.run()
    thread.join(_SHOWN_WITHIN)
    if this.failure:
        raise this.failure
    return keep or not this.ended


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, at any moment, so that it leaves nothing behind."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
