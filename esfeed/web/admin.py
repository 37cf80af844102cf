"""Endpoints for operators: status, dead events, redrive, metrics, and health."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from esfeed.errors import EsfeedError
from esfeed.runtime.factory import App
from esfeed.runtime.health import SinkHealth, WatchHealth, sink_health, watch_health
from esfeed.runtime.stalls import stalled
from esfeed.runtime.status import held, report
from esfeed.web.callers import Caller
from esfeed.web.feed_metrics import HISTORY, RunningFeed
from esfeed.web.metrics import CONTENT_TYPE, HttpMetrics, size
from esfeed.web.problems import Problem
from esfeed.web.texts import safe

log = structlog.get_logger("esfeed")

_MAX_BODY = 64 << 10
_MAX_DEAD = 500


class Admin:
    """Answers operators. Runs in the event loop of the server; threads read the state."""

    def __init__(self, app: App, metrics: HttpMetrics, feed: RunningFeed, began: float) -> None:
        self._app = app
        self._metrics = metrics
        self._feed = feed
        self._began = began

    async def status(self, request: Request) -> Response:
        """``GET /v1/status``: the output of ``esfeed status --json``, and the events of the last two minutes."""
        _administrator(request)
        return JSONResponse(safe(await asyncio.to_thread(self._status)))

    def _status(self) -> dict[str, Any]:
        body, history = report(self._app), self._feed.history()
        for name, watch in body["watches"].items():
            watch["history"] = history.get(name, [0] * HISTORY)
        return {**body, "state_bytes": size(self._app), "readers": self._metrics.reading()}

    async def dead(self, request: Request) -> Response:
        """``GET /v1/dead``: events that sinks did not take: dead ones, and parked ones that are retried."""
        _administrator(request)
        sink = request.query_params.get("sink")
        if sink is not None and sink not in self._app.config.sinks:
            raise Problem(400, f"there is no sink {sink[:50]!r}")
        wanted = [sink] if sink else [*self._app.config.sinks]
        return JSONResponse(safe(await asyncio.to_thread(self._dead, wanted)))

    def _dead(self, sinks: list[str]) -> dict[str, Any]:
        counts = self._app.store.dead_letters.counts()
        total = sum(counts[sink].parked + counts[sink].dead for sink in sinks if sink in counts)
        return {"events": held(self._app, dict.fromkeys(sinks), _MAX_DEAD), "total": total}

    async def redrive(self, request: Request) -> Response:
        """``POST /v1/redrive``: sends dead events of a ``sink`` again, all or those at ``positions``.

        An event stays dead if a newer state of its document was delivered, unless ``force`` is true.
        """
        _administrator(request)
        asked = await _body(request)
        sink, positions = asked.get("sink"), asked.get("positions")
        if not isinstance(sink, str) or sink not in self._app.config.sinks:
            raise Problem(400, "sink: name a sink of the settings")
        if positions is not None and not (
            isinstance(positions, list)
            and 1 <= len(positions) <= _MAX_DEAD
            and all(type(one) is int and 0 < one < 2**63 for one in positions)
        ):
            raise Problem(400, f"positions: a list of 1 to {_MAX_DEAD} positions of the log; omit it for all")
        force = asked.get("force", False)
        if not isinstance(force, bool):
            raise Problem(400, "force: must be true or false")
        if unknown := asked.keys() - {"sink", "positions", "force"}:
            raise Problem(400, f"unknown key {sorted(unknown)[0][:50]!r}; known: sink, positions, force")
        body = await asyncio.to_thread(self._redrive, sink, positions or [None], force)
        log.info("sink.redriven", sink=sink, events=body["redriven"], by=request.state.caller.name)
        return JSONResponse(body)

    def _redrive(self, sink: str, positions: Sequence[int | None], force: bool) -> dict[str, int]:
        store = self._app.store
        asked = sum(len(store.dead_letters.redrive([sink], position, force=force)) for position in positions)
        dead = [one.position for one in store.outbox.parked(sink) if one.state == "dead"]
        left = len(dead) if positions == [None] else sum(position in positions for position in dead)
        return {"redriven": asked, "superseded": left}

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``."""
        _administrator(request)
        text = await asyncio.to_thread(self._metrics.text)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def healthz(self, request: Request) -> Response:
        """``GET /healthz``: whether the process of the feed answers and its state is readable. If not, restart it."""
        try:
            alive = await asyncio.to_thread(lambda: self._app.store.log.head() >= 0 and self._feed.alive())
        except EsfeedError:
            alive = False
        return JSONResponse({"status": "alive" if alive else "dead"}, 200 if alive else 503)

    async def readyz(self, request: Request) -> Response:
        """``GET /readyz``: ``ok``; ``degraded`` if some parts fail; ``dead`` if no watch works.

        ``starting`` until the first poll of this process has ended. Only ``ok`` and ``degraded`` give status 200.
        """
        try:
            body = await asyncio.to_thread(self._ready)
        except EsfeedError:
            body = {"status": "dead", "watches": {}, "sinks": {}}
        return JSONResponse(body, 200 if body["status"] in ("ok", "degraded") else 503)

    def _ready(self) -> dict[str, Any]:
        watches = watch_health(self._app.store.notes)
        sinks = sink_health(self._app.store.notes)
        of_watches = self._count(self._app.config.watches, watches, stalled(self._app, watches))
        of_sinks = self._count(self._app.config.sinks, sinks)
        return {"status": _word(of_watches, of_sinks), "watches": of_watches, "sinks": of_sinks}

    def _count(
        self,
        names: Iterable[str],
        healths: Mapping[str, WatchHealth | SinkHealth],
        stuck: frozenset[str] | None = None,
    ) -> dict[str, int]:
        """How many parts are ``ok``, ``failing``, or ``starting`` (they have not reported since this process began).

        For watches, also how many are ``stalled``.
        """
        counted = {"ok": 0, "failing": 0, "starting": 0} | ({} if stuck is None else {"stalled": 0})
        for name in names:
            health = healths.get(name)
            if name in (stuck or ()):
                counted["stalled"] += 1
            elif health is None or health.at < self._began:
                counted["starting"] += 1
            else:
                counted["failing" if health.error else "ok"] += 1
        return counted


def _word(watches: Mapping[str, int], sinks: Mapping[str, int]) -> str:
    bad = watches["failing"] + watches["stalled"]
    if not watches["ok"]:
        return "dead" if bad else "starting"
    return "degraded" if bad or sinks["failing"] else "ok"


def _administrator(request: Request) -> None:
    caller: Caller = request.state.caller
    if not caller.admin:
        raise Problem(403, "only administrators may do this; your token can read /v1/changes")


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object in the body. A page of another origin cannot send that content type without permission."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send JSON, with content-type: application/json")
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BODY:
            raise Problem(413, f"the body may have up to {_MAX_BODY:,} bytes")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Problem(400, 'send a JSON object, such as {"sink": "hooks"}')
    return found
