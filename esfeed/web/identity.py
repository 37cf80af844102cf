"""Tells who asks: the bearer of one of esfeed's own tokens, a user of OpenStack, or somebody on this very machine."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from esfeed.http_section import HttpSettings, is_loopback
from esfeed.ports import Clock
from esfeed.store.tokens import SqlTokens, Token, digest
from esfeed.web.callers import Caller
from esfeed.web.keystone import Keystone
from esfeed.web.problems import Problem, unauthorized

_TRUST = 5.0
_MOST_REMEMBERED = 10_000
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{1,8192}")
_OF_A_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
LOCAL = Caller("local", admin=True)


class Identity:
    """Who may come in. Lives in the server's event loop; what is asked of the state or of Keystone waits in threads.

    A token that is removed or has expired is refused within five seconds, on open streams within a heartbeat.
    """

    def __init__(self, settings: HttpSettings, tokens: SqlTokens, clock: Clock, keystone: Keystone | None) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._keystone = keystone
        self._remembered: dict[str, tuple[float, Token | None]] = {}
        self._digests: dict[str, str] = {}

    async def caller(self, request: Request) -> Caller:
        """Who sent this request. Raises ``Problem``: 401 without or with a wrong token, 403 from a foreign page."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else ""
        openstack = request.headers.get("x-auth-token", "")
        for given in filter(None, (token, openstack)):
            if not _TOKEN.fullmatch(given):
                raise unauthorized("that is no token: it has other signs than letters, digits and -._~+/=:")
        if token:
            return await self._by_token(token)
        if openstack:
            return await self._by_keystone(openstack)
        if "authorization" in request.headers:
            raise unauthorized("the authorization must be Bearer, with a token of `esfeed token add`")
        return self._anonymous(request)

    async def still_good(self, caller: Caller) -> bool:
        """Whether a caller that was let in some time ago would be let in now."""
        if caller.expires is not None and caller.expires <= self._clock.now().timestamp():
            return False
        known = self._digests.get(caller.name)
        return known is None or await self._find(known) is not None

    async def _by_token(self, token: str) -> Caller:
        mark = digest(token)
        found = await self._find(mark)
        if found is None:
            raise unauthorized("no such token, or it was removed or has expired; `esfeed token add` makes one")
        name = f"token {found.name}"
        self._digests[name] = mark
        return Caller(name, found.tenant, found.admin, found.expires)

    async def _find(self, mark: str) -> Token | None:
        at, found = self._remembered.get(mark, (-_TRUST, None))
        if time.monotonic() - at >= _TRUST:
            found = await asyncio.to_thread(self._tokens.find, mark)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[mark] = time.monotonic(), found
        expired = found is not None and found.expires is not None and found.expires <= self._clock.now().timestamp()
        return None if expired else found

    async def _by_keystone(self, token: str) -> Caller:
        if self._keystone is None:
            raise unauthorized("OpenStack's tokens are not taken here; write [http.keystone] in the settings")
        return await self._keystone.caller(token)

    def _anonymous(self, request: Request) -> Caller:
        """Somebody on this machine, who asks this machine by its own name and from no foreign page."""
        client = request.client.host if request.client else ""
        if self._settings.anonymous == "never" or not is_loopback(client):
            raise unauthorized("send a token: authorization: Bearer …, made by `esfeed token add`")
        if any(name in request.headers for name in _OF_A_PROXY):
            raise unauthorized("send a token: through a proxy nobody counts as being on this machine")
        if not is_loopback(_host(f"//{request.headers.get('host', '')}")):
            # A name that leads here by somebody else's DNS would let any page on the web read the feed.
            raise unauthorized("without a token, ask for http://127.0.0.1 or http://localhost")
        if not same_origin(request.headers) and request.headers.get("origin") not in self._settings.cors:
            raise Problem(403, "without a token, no page of another origin may ask")
        return LOCAL


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from no page at all, or from one of this server's own."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
