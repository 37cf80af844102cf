"""Combines the parts of the server: the routes, and what each request passes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from esfeed.config.http import HttpSettings
from esfeed.errors import EsfeedError
from esfeed.runtime.factory import App
from esfeed.web.admin import Admin
from esfeed.web.feed import Feed
from esfeed.web.feed_metrics import RunningFeed
from esfeed.web.guard import Headers, Pace
from esfeed.web.identity import Identity, cookie
from esfeed.web.keystone import Keystone
from esfeed.web.metrics import HttpMetrics
from esfeed.web.openapi import description
from esfeed.web.problems import Problem
from esfeed.web.query import is_stream
from esfeed.web.tail import Tail

log = structlog.get_logger("esfeed")

Endpoint = Callable[[Request], Awaitable[Response]]
STATIC = Path(__file__).parent / "static"
_PAGES = {"/": "index.html", "/demo/instances": "instances.html"}
_KINDS = {".css": "text/css", ".js": "text/javascript", ".html": "text/html", ".svg": "image/svg+xml"}
_EXPOSED = ("retry-after",)
_ASKED_WITH = ("authorization", "content-type", "last-event-id", "x-auth-token")


class Site:
    """The ASGI application of a feed. ``tail`` ends its streams."""

    def __init__(
        self, app: App, settings: HttpSettings, metrics: HttpMetrics, running: RunningFeed, began: float
    ) -> None:
        keystone = Keystone(settings.keystone) if settings.keystone else None
        self.tail = Tail(app.store.log, app.notifier)
        self._identity = Identity(settings, app.store.tokens, app.clock, keystone)
        self._pace = Pace(settings.requests_per_second)
        # After a restart all readers reconnect at the same moment, and EventSource gives up for good at a 429.
        self._coming_back = Pace(settings.requests_per_second, settings.readers)
        self._loop: asyncio.AbstractEventLoop | None = None
        feed = Feed(app.store.log, self.tail, self._identity, settings, app.config.watches, metrics)
        admin = Admin(app, metrics, running, began)
        routes = [
            self._route("/v1/changes", feed.changes),
            self._route("/v1/status", admin.status),
            self._route("/v1/dead", admin.dead),
            self._route("/v1/redrive", admin.redrive, "POST"),
            self._route("/v1/me", _me),
            Route("/enter", self._public(self._enter), methods=["GET"]),
            self._route("/metrics", admin.metrics),
            Route("/v1/openapi.json", self._public(_openapi), methods=["GET"]),
            Route("/healthz", self._public(admin.healthz), methods=["GET"]),
            Route("/readyz", self._public(admin.readyz), methods=["GET"]),
            *(Route(path, self._public(_page(name)), methods=["GET"]) for path, name in _PAGES.items()),
            Route("/static/{name}", self._public(_static), methods=["GET"]),
        ]
        self.application = Starlette(
            routes=routes,
            middleware=[
                Middleware(Headers, metrics=metrics, https=settings.certificate is not None),
                Middleware(
                    CORSMiddleware,
                    allow_origins=settings.cors,
                    allow_methods=["GET", "POST"],
                    allow_headers=_ASKED_WITH,
                    expose_headers=_EXPOSED,
                ),
            ],
            exception_handlers={Problem: _problem, HTTPException: _refused, EsfeedError: _failed, Exception: _broken},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self.tail.start()
        yield
        self.tail.close()

    def leave(self) -> None:
        """Disconnects all readers; from any thread. The server waits for them before it ends."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.tail.close)

    def link(self) -> str:
        """The path that lets one browser in, once; from any thread."""
        return f"/enter?once={self._identity.link()}"

    async def _enter(self, request: Request) -> Response:
        """Takes the link that was printed at the start, and sets a cookie for it."""
        made = self._identity.enter(request.query_params.get("once", ""))
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(cookie(request), made, httponly=True, samesite="strict", secure=secure)
        return answer

    def _route(self, path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        """A route for known callers only, with a rate limit for known and unknown ones.

        A token that was never valid counts against the limit of its address before it is checked, so guesses cost the
        state and Keystone no more than the limit.
        """

        async def guarded(request: Request) -> Response:
            address = f"address {request.client.host if request.client else ''}"
            pace = self._coming_back if is_stream(request) else self._pace
            unknown = not self._identity.knows(request)
            if unknown:
                pace.take(address)
            try:
                caller = await self._identity.caller(request)
            except Problem:
                if not unknown:
                    pace.take(address)
                raise
            if unknown:
                pace.give_back(address)
            pace.take(caller.name)
            request.state.caller = caller
            return await endpoint(request)

        return Route(path, guarded, methods=[method])

    def _public(self, endpoint: Endpoint) -> Endpoint:
        """A route for everyone, with the same rate limit."""

        async def bounded(request: Request) -> Response:
            self._pace.take(f"address {request.client.host if request.client else ''}")
            return await endpoint(request)

        return bounded


async def _me(request: Request) -> Response:
    caller = request.state.caller
    return JSONResponse({"name": caller.name, "tenant": caller.tenant, "admin": caller.admin})


async def _openapi(request: Request) -> Response:
    return JSONResponse(description())


def _page(name: str) -> Endpoint:
    async def page(request: Request) -> Response:
        return FileResponse(STATIC / name, media_type="text/html", headers={"cache-control": "no-cache"})

    return page


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    known = await asyncio.to_thread(lambda: {file.name: file for file in STATIC.iterdir()})
    if name not in known or Path(name).suffix not in _KINDS:
        raise Problem(404, "no such file")
    return FileResponse(known[name], media_type=_KINDS[Path(name).suffix], headers={"cache-control": "no-cache"})


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _refused(request: Request, error: Exception) -> Response:
    """Errors of the router itself: no such path, or no such method on it."""
    assert isinstance(error, HTTPException)
    detail = {404: "no such path; /v1/openapi.json lists all paths", 405: "this path does not support this method"}
    return Problem(error.status_code, detail.get(error.status_code, str(error.detail)), None, error.headers).response()


async def _failed(request: Request, error: Exception) -> Response:
    """The state is unreadable now; the details are for the log, not for the reader."""
    log.error("web.failed", path=request.url.path, error=str(error))
    return Problem(503, "the state of the feed is not readable now; try again", None, {"retry-after": "5"}).response()


async def _broken(request: Request, error: Exception) -> Response:
    log.error("web.broken", path=request.url.path, exc_info=error)
    return Problem(500, "internal error; see the log of esfeed").response()
