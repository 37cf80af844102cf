"""Security headers for every answer, and the rate limit for callers.

https://owasp.org/www-project-secure-headers/
"""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from esfeed.web.metrics import HttpMetrics
from esfeed.web.problems import Problem

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_A_YEAR = "max-age=31536000"
_MAX_REMEMBERED = 10_000


class Headers:
    """Middleware: adds the security headers to every answer, and counts answers by status."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics, https: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if self._https:
                    headers.setdefault("strict-transport-security", _A_YEAR)
                self._metrics.answered(message["status"])
            await send(message)

        await self._app(scope, receive, sending)


class Pace:
    """The rate limit for each caller: ``per_second`` on average, ``at_once`` in a burst (a token bucket).

    ``at_once`` defaults to twice ``per_second``.
    """

    def __init__(self, per_second: float, at_once: float | None = None) -> None:
        self._rate = per_second
        self._burst = max(1.0, 2 * per_second if at_once is None else at_once)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, now: float | None = None) -> None:
        """Counts a request of ``name`` at ``now`` (monotonic seconds). Raises ``Problem`` 429 beyond the limit."""
        now = time.monotonic() if now is None else now
        left, at = self._buckets.get(name, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        if left < 1:
            wait = max(1, round((1 - left) / self._rate + 0.5))
            detail = f"more than {self._rate:g} requests a second (http.requests_per_second); wait {wait} s"
            raise Problem(429, detail, headers={"retry-after": str(wait)})
        if name not in self._buckets and len(self._buckets) >= _MAX_REMEMBERED:
            # A caller without recent requests has a full bucket, as an unknown caller does.
            self._buckets = {
                each: (rest, then)
                for each, (rest, then) in self._buckets.items()
                if rest + (now - then) * self._rate < self._burst
            }
        self._buckets[name] = left - 1, now

    def give_back(self, name: str) -> None:
        """Uncounts the last request of ``name``."""
        if name in self._buckets:
            left, at = self._buckets[name]
            self._buckets[name] = min(self._burst, left + 1), at
