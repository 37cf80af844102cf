"""Validates OpenStack tokens with Keystone, through keystoneauth1, and caches the answers for a while.

https://docs.openstack.org/api-ref/identity/v3/#validate-and-show-information-for-token
"""

from __future__ import annotations

import asyncio
import hashlib
import time

import msgspec
import structlog

from esfeed.config.http import KeystoneSettings
from esfeed.errors import ConfigError
from esfeed.model.times import moment
from esfeed.sinks.common.restricted_http import ThreadLimits
from esfeed.web.callers import Caller
from esfeed.web.problems import Problem, unauthorized

log = structlog.get_logger("esfeed")

_MAX_REMEMBERED = 10_000
_REFUSED_FOR = 10.0


class Keystone:
    """Validates OpenStack tokens.

    The project of a token is its tenant; a user with one of ``admin_roles`` sees everything. Raises ``ConfigError`` if
    keystoneauth1 is not installed.
    """

    def __init__(self, settings: KeystoneSettings) -> None:
        try:
            from keystoneauth1 import exceptions, session
            from keystoneauth1.identity import v3

            from esfeed.sinks.common.restricted_requests import restricted_session
        except ImportError:
            hint = "it needs keystoneauth1; run: pip install 'esfeed[keystone]'"
            raise ConfigError("http.keystone", None, hint) from None
        self._settings = settings
        self._failures = exceptions.ClientException
        self._not_found = (exceptions.NotFound, exceptions.BadRequest)
        auth = v3.Password(
            auth_url=settings.auth_url,
            username=settings.username,
            password=settings.password.get_secret_value(),
            project_name=settings.project_name,
            user_domain_name=settings.user_domain_name,
            project_domain_name=settings.project_domain_name,
        )
        verify = True if settings.ca_certs is None else str(settings.ca_certs)
        # Each thread has its own deadline. If a request first needs esfeed's own token, both must fit.
        self._limits = ThreadLimits(allow_private=True)
        carrier = restricted_session(self._limits, verify)
        self._session = session.Session(auth=auth, session=carrier, verify=verify, timeout=settings.timeout)
        self._good: dict[str, tuple[float, Caller]] = {}
        self._refused: dict[str, float] = {}

    def knows(self, token: str) -> bool:
        """Whether Keystone accepted this token at the last check."""
        return _mark(token) in self._good

    async def caller(self, token: str, trust: float = float("inf")) -> Caller:
        """The owner of the token. The answer of Keystone is at most ``trust`` seconds old, and at most ``cache``.

        Raises ``Problem``: 401 for an invalid token, 503 if Keystone does not answer.
        """
        mark, asked = _mark(token), time.monotonic()
        at, found = self._good.get(mark, (0.0, None))
        if asked - self._refused.get(mark, -_REFUSED_FOR) < _REFUSED_FOR:
            found = None
        elif found is None or asked - at >= min(trust, self._settings.cache):
            found = await asyncio.to_thread(self._ask, token, mark)
            self._keep(mark, asked, found)
        if found is None or (found.expires is not None and found.expires <= time.time()):
            raise unauthorized("Keystone does not know this token, or it has expired, or it has no project")
        return found

    def _keep(self, mark: str, at: float, found: Caller | None) -> None:
        """Caches an answer; valid and invalid tokens separately, so that guesses evict only guesses."""
        self._good.pop(mark, None)
        self._refused.pop(mark, None)
        for kept in (self._good, self._refused):
            if len(kept) >= _MAX_REMEMBERED:
                kept.clear()
        if found is None:
            self._refused[mark] = at
        else:
            self._good[mark] = at, found

    def _ask(self, token: str, mark: str) -> Caller | None:
        self._limits.start(self._settings.timeout)
        try:
            answer = self._session.get(
                f"{self._settings.auth_url}/auth/tokens?nocatalog",
                headers={"X-Subject-Token": token, "Accept": "application/json"},
                authenticated=True,
            )
        except self._not_found:
            return None
        except self._failures as error:
            # The text of the error may quote the request, and with it a token.
            log.error("web.keystone_failed", error=type(error).__name__)
            raise Problem(503, "Keystone does not answer; try again later", None, {"retry-after": "5"}) from None
        try:
            body = msgspec.convert(answer.json(), _Answer).token
            return _caller(body, mark, frozenset(self._settings.admin_roles))
        except (msgspec.ValidationError, ValueError, RecursionError):
            log.error("web.keystone_failed", error="its answer does not describe a token")
            raise Problem(503, "Keystone does not answer; try again later", None, {"retry-after": "5"}) from None


def _mark(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class _Project(msgspec.Struct):
    id: str


class _Role(msgspec.Struct):
    name: str


class _Token(msgspec.Struct):
    project: _Project | None = None
    roles: list[_Role] = []
    expires_at: str | None = None


class _Answer(msgspec.Struct):
    token: _Token


def _caller(body: _Token, mark: str, admin_roles: frozenset[str]) -> Caller | None:
    project = body.project.id if body.project else None
    admin = bool({role.name for role in body.roles} & admin_roles)
    if not project and not admin:
        return None
    until = moment(body.expires_at).timestamp() if body.expires_at else None
    return Caller(f"keystone {mark[:12]}", None if admin else project, admin, until)
