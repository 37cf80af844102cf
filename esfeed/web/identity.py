"""Authenticates callers: by a token of esfeed, by a token of OpenStack, or because they are on this machine."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from esfeed.config.http import HttpSettings, is_loopback
from esfeed.model.tokens import Token, digest, new_token
from esfeed.ports import Clock, Tokens
from esfeed.web.callers import Caller
from esfeed.web.keystone import Keystone
from esfeed.web.problems import Problem, unauthorized

LINK_WITHIN = 900.0
"""Seconds for which a link is valid, for one use."""
_VISIT = 86_400.0
_MAX_VISITS = 100
_TRUST = 5.0
_MAX_REMEMBERED = 10_000
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{1,8192}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?", re.ASCII)
_OF_A_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
LOCAL = Caller("local", admin=True)


class Identity:
    """Authenticates requests. Runs in the event loop of the server; threads call the state and Keystone.

    A removed or expired token is refused within five seconds, on open streams within a heartbeat: an answer is cached
    for half a heartbeat, and each reader is checked again every half (``recheck``).
    """

    def __init__(self, settings: HttpSettings, tokens: Tokens, clock: Clock, keystone: Keystone | None) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._keystone = keystone
        self.recheck = settings.heartbeat / 2
        self._trust = min(_TRUST, self.recheck)
        self._good: dict[str, tuple[float, Token]] = {}
        self._links: dict[str, float] = {}
        self._visits: dict[str, float] = {}

    async def caller(self, request: Request) -> Caller:
        """The caller of a request. Raises ``Problem``: 401 without or with a wrong token, 403 from a foreign page."""
        return await self._caller(request, float("inf"))

    def link(self) -> str:
        """A secret that lets one browser in, once and soon. Its holder sees everything."""
        made = new_token()
        self._links[digest(made)] = time.monotonic() + LINK_WITHIN
        return made

    def enter(self, link: str) -> str:
        """The secret for the cookie of a browser that used ``link``. Raises ``Problem`` for a used or old link."""
        if self._links.pop(digest(link), 0.0) < time.monotonic():
            raise unauthorized("this link was used or has expired; restart esfeed for a new one, or use a token")
        made = new_token()
        while len(self._visits) >= _MAX_VISITS:
            del self._visits[next(iter(self._visits))]
        self._visits[digest(made)] = time.monotonic() + _VISIT
        return made

    async def still_good(self, request: Request, caller: Caller) -> bool:
        """Whether a request that was admitted earlier as ``caller`` would be admitted as the same caller now.

        The token of the request decides. If Keystone does not answer, the result is no.
        """
        try:
            return await self._caller(request, self.recheck) == caller
        except Problem:
            return False

    def knows(self, request: Request) -> bool:
        """Whether the caller is known without a request: there is no token, or one that was valid at the last check."""
        token, openstack = _tokens(request.headers)
        if token:
            return digest(token) in self._good
        return not openstack or self._keystone is None or self._keystone.knows(openstack)

    async def _caller(self, request: Request, trust: float) -> Caller:
        """``trust``: the maximum age of an answer of Keystone, if the settings do not say less."""
        token, openstack = _tokens(request.headers)
        for given in filter(None, (token, openstack)):
            if not _TOKEN.fullmatch(given):
                raise unauthorized("this is not a token: a token has only letters, digits and -._~+/=:")
        if token:
            return await self._by_token(token)
        if "authorization" in request.headers and not openstack:
            raise unauthorized("the authorization must be Bearer with a token from `esfeed token add`")
        if openstack:
            return await self._by_keystone(openstack, trust)
        if "x-auth-token" in request.headers:
            raise unauthorized("X-Auth-Token is empty; send a token, or omit the header")
        return self._visitor(request) or self._anonymous(request)

    def _visitor(self, request: Request) -> Caller | None:
        """The caller behind a cookie of ``enter``, unless the request comes from a foreign page."""
        shown = request.cookies.get(cookie(request))
        if shown is None or self._visits.get(digest(shown), 0.0) < time.monotonic():
            return None
        if not same_origin(request.headers):
            raise Problem(403, "pages of other origins have no access; send a token (`esfeed token add`)")
        return LOCAL

    async def _by_token(self, token: str) -> Caller:
        found = await self._find(digest(token))
        if found is None:
            raise unauthorized("unknown token, or it was removed or has expired; `esfeed token add` creates one")
        return Caller(f"token {found.name}", found.tenant, found.admin, found.expires)

    async def _find(self, mark: str) -> Token | None:
        """The token of that digest, checked within the last ``_trust`` seconds; ``None`` if unknown or expired.

        Only valid tokens are cached, so guesses evict none of them.
        """
        at, found = self._good.get(mark, (0.0, None))
        asked = time.monotonic()
        if found is None or asked - at >= self._trust:
            found = await asyncio.to_thread(self._tokens.find, mark)
            self._good.pop(mark, None)
            if found is not None:
                if len(self._good) >= _MAX_REMEMBERED:
                    self._good.clear()
                # As old as the request: the answer may have waited for a thread.
                self._good[mark] = asked, found
        expired = found is not None and found.expires is not None and found.expires <= self._clock.now().timestamp()
        return None if expired else found

    async def _by_keystone(self, token: str, trust: float) -> Caller:
        if self._keystone is None:
            raise unauthorized("this server does not accept OpenStack tokens; define [http.keystone] in the settings")
        return await self._keystone.caller(token, trust)

    def _anonymous(self, request: Request) -> Caller:
        """A caller on this machine, which uses a name of this machine and comes from no foreign page."""
        if any(name in request.headers for name in _OF_A_PROXY):
            raise unauthorized("send a token: requests through a proxy do not count as local")
        at_socket = bool(self._settings.socket)  # the mode of the socket controls access
        client = request.client.host if request.client else ""
        if not at_socket and (self._settings.anonymous == "never" or not is_loopback(client)):
            raise unauthorized("send a token: authorization: Bearer … (create one with `esfeed token add`)")
        if not at_socket and not is_loopback(_host(request.headers.get("host", ""))):
            # Otherwise a foreign DNS name that resolves here would let any page on the web read the feed.
            raise unauthorized("without a token, use http://127.0.0.1 or http://localhost")
        if not same_origin(request.headers):
            # Not even those of `cors`: an origin says where a page is from, not who uses it.
            raise Problem(403, "without a token, pages of other origins have no access; send one (`esfeed token add`)")
        return LOCAL


def cookie(request: Request) -> str:
    """The name of the cookie of a visitor. Browsers share cookies between ports, so the port is in the name."""
    return f"esfeed-{request.url.port or request.url.scheme}"


def _tokens(headers: Mapping[str, str]) -> tuple[str, str]:
    """The bearer token and the OpenStack token, as sent; empty if missing."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return (token.strip() if kind.lower() == "bearer" else ""), headers.get("x-auth-token", "").strip()


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from no page at all, or from a page of this server."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _host(header: str) -> str:
    """The host in a Host header, empty if it has none.

    The header may contain only a name or an address, and a port: parsers disagree about everything else that a URL may
    contain (a user, a path, a fragment). https://www.rfc-editor.org/rfc/rfc9110#section-7.2
    """
    match = _HOST.fullmatch(header)
    return (match[1] or match[2]) if match else ""
