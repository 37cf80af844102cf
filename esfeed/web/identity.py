"""Tells who asks: the bearer of one of esfeed's own tokens, a user of OpenStack, or somebody on this very machine."""

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
"""Seconds for which a link lets somebody in, once."""
_VISIT = 86_400.0
_MOST_VISITS = 100
_TRUST = 5.0
_MOST_REMEMBERED = 10_000
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{1,8192}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?", re.ASCII)
_OF_A_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
LOCAL = Caller("local", admin=True)


class Identity:
    """Who may come in. Lives in the server's event loop; what is asked of the state or of Keystone waits in threads.

    A token that is removed or has expired is refused within five seconds, on open streams within a heartbeat: an
    answer is trusted for half a heartbeat, and each reader asks again every half (``recheck``).
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
        """Who sent this request. Raises ``Problem``: 401 without or with a wrong token, 403 from a foreign page."""
        return await self._caller(request, float("inf"))

    def link(self) -> str:
        """What lets one browser in, once and soon. Whoever has it sees everything."""
        made = new_token()
        self._links[digest(made)] = time.monotonic() + LINK_WITHIN
        return made

    def enter(self, link: str) -> str:
        """What a browser that came by that link shows from now on (see ``cookie``); ``Problem`` for a used one."""
        if self._links.pop(digest(link), 0.0) < time.monotonic():
            raise unauthorized("this link was used already, or is too old; start esfeed again, or use a token")
        made = new_token()
        while len(self._visits) >= _MOST_VISITS:
            del self._visits[next(iter(self._visits))]
        self._visits[digest(made)] = time.monotonic() + _VISIT
        return made

    async def still_good(self, request: Request, caller: Caller) -> bool:
        """Whether a request that was let in some time ago, as ``caller``, would be let in as the same now.

        What it goes by is the request's own token. Where Keystone does not answer, nobody can say so: no.
        """
        try:
            return await self._caller(request, self.recheck) == caller
        except Problem:
            return False

    def knows(self, request: Request) -> bool:
        """Whether nobody need be asked who this is: there is no token, or one that was good when last looked up."""
        token, openstack = _tokens(request.headers)
        if token:
            return digest(token) in self._good
        return not openstack or self._keystone is None or self._keystone.knows(openstack)

    async def _caller(self, request: Request, trust: float) -> Caller:
        """``trust``: how old an answer of Keystone may be, if that is less than the settings say."""
        token, openstack = _tokens(request.headers)
        for given in filter(None, (token, openstack)):
            if not _TOKEN.fullmatch(given):
                raise unauthorized("that is no token: it has other signs than letters, digits and -._~+/=:")
        if token:
            return await self._by_token(token)
        if "authorization" in request.headers and not openstack:
            raise unauthorized("the authorization must be Bearer, with a token of `esfeed token add`")
        if openstack:
            return await self._by_keystone(openstack, trust)
        if "x-auth-token" in request.headers:
            raise unauthorized("X-Auth-Token is empty; send a token, or leave the header out")
        return self._visitor(request) or self._anonymous(request)

    def _visitor(self, request: Request) -> Caller | None:
        """Whoever came in by a link, in the browser that did, and from no foreign page."""
        shown = request.cookies.get(cookie(request))
        if shown is None or self._visits.get(digest(shown), 0.0) < time.monotonic():
            return None
        if not same_origin(request.headers):
            raise Problem(403, "no page of another origin may ask; send a token (`esfeed token add`)")
        return LOCAL

    async def _by_token(self, token: str) -> Caller:
        found = await self._find(digest(token))
        if found is None:
            raise unauthorized("no such token, or it was removed or has expired; `esfeed token add` makes one")
        return Caller(f"token {found.name}", found.tenant, found.admin, found.expires)

    async def _find(self, mark: str) -> Token | None:
        """The token of that digest, as good as now. Only good ones are remembered: a guess pushes none of them out."""
        at, found = self._good.get(mark, (0.0, None))
        asked = time.monotonic()
        if found is None or asked - at >= self._trust:
            found = await asyncio.to_thread(self._tokens.find, mark)
            self._good.pop(mark, None)
            if found is not None:
                if len(self._good) >= _MOST_REMEMBERED:
                    self._good.clear()
                # As old as the question: the answer may have waited for a thread.
                self._good[mark] = asked, found
        expired = found is not None and found.expires is not None and found.expires <= self._clock.now().timestamp()
        return None if expired else found

    async def _by_keystone(self, token: str, trust: float) -> Caller:
        if self._keystone is None:
            raise unauthorized("OpenStack's tokens are not taken here; write [http.keystone] in the settings")
        return await self._keystone.caller(token, trust)

    def _anonymous(self, request: Request) -> Caller:
        """Somebody on this machine, who asks this machine by its own name and from no foreign page."""
        if any(name in request.headers for name in _OF_A_PROXY):
            raise unauthorized("send a token: through a proxy nobody counts as being on this machine")
        at_socket = bool(self._settings.socket)  # whose mode said who may come
        client = request.client.host if request.client else ""
        if not at_socket and (self._settings.anonymous == "never" or not is_loopback(client)):
            raise unauthorized("send a token: authorization: Bearer …, made by `esfeed token add`")
        if not at_socket and not is_loopback(_host(request.headers.get("host", ""))):
            # A name that leads here by somebody else's DNS would let any page on the web read the feed.
            raise unauthorized("without a token, ask for http://127.0.0.1 or http://localhost")
        if not same_origin(request.headers):
            # Those of `cors` no more than others: an origin says where a page is from, not who sits before it.
            raise Problem(403, "without a token, no page of another origin may ask; send one (`esfeed token add`)")
        return LOCAL


def cookie(request: Request) -> str:
    """The name of the cookie that a visitor shows. Browsers do not tell ports apart, so it does."""
    return f"esfeed-{request.url.port or request.url.scheme}"


def _tokens(headers: Mapping[str, str]) -> tuple[str, str]:
    """The bearer's token and OpenStack's, as sent; empty where there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return (token.strip() if kind.lower() == "bearer" else ""), headers.get("x-auth-token", "").strip()


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from no page at all, or from one of this server's own."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _host(header: str) -> str:
    """The host that a Host header names, empty where it is none.

    Nothing but a name or an address and a port may stand in it: what else a url may hold (a user, a path, a fragment)
    different parsers read differently. https://www.rfc-editor.org/rfc/rfc9110#section-7.2
    """
    match = _HOST.fullmatch(header)
    return (match[1] or match[2]) if match else ""
