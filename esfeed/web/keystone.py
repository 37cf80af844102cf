"""Has OpenStack's tokens checked by Keystone, through keystoneauth1, and remembers its answers for a while.

https://docs.openstack.org/api-ref/identity/v3/#validate-and-show-information-for-token
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import datetime
from typing import Any

import structlog

from esfeed.errors import ConfigError
from esfeed.http_section import KeystoneSettings
from esfeed.web.callers import Caller
from esfeed.web.problems import Problem, unauthorized

log = structlog.get_logger("esfeed")

_MOST_REMEMBERED = 10_000
_REFUSED_FOR = 10.0


class Keystone:
    """The one that knows what an OpenStack token is worth.

    A token's project is its tenant; who has one of ``admin_roles`` sees everything. Raises ``ConfigError`` where
    keystoneauth1 is not installed.
    """

    def __init__(self, settings: KeystoneSettings) -> None:
        try:
            from keystoneauth1 import exceptions, session
            from keystoneauth1.identity import v3
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
        self._session = session.Session(auth=auth, verify=verify, timeout=settings.timeout)
        self._remembered: dict[str, tuple[float, Caller | None]] = {}

    async def caller(self, token: str) -> Caller:
        """Whom the token is of. Raises ``Problem``: 401 for a bad one, 503 where Keystone does not answer."""
        mark = hashlib.sha256(token.encode()).hexdigest()
        until, found = self._remembered.get(mark, (0.0, None))
        if time.monotonic() >= until:
            found = await asyncio.to_thread(self._ask, token, mark)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            trust = self._settings.cache if found else _REFUSED_FOR
            self._remembered[mark] = time.monotonic() + trust, found
        if found is None or (found.expires is not None and found.expires <= time.time()):
            raise unauthorized("Keystone does not know this token, or it has expired, or it has no project")
        return found

    def _ask(self, token: str, mark: str) -> Caller | None:
        try:
            answer = self._session.get(
                f"{self._settings.auth_url}/auth/tokens?nocatalog",
                headers={"X-Subject-Token": token, "Accept": "application/json"},
                authenticated=True,
            )
        except self._not_found:
            return None
        except self._failures as error:
            # What it says may quote the request, and with it a token.
            log.error("web.keystone_failed", error=type(error).__name__)
            raise Problem(503, "Keystone does not answer; try again", None, {"retry-after": "5"}) from None
        return _caller(answer.json().get("token") or {}, mark, frozenset(self._settings.admin_roles))


def _caller(body: dict[str, Any], mark: str, admin_roles: frozenset[str]) -> Caller | None:
    project = (body.get("project") or {}).get("id")
    roles = {role.get("name") for role in body.get("roles") or ()}
    admin = bool(roles & admin_roles)
    if not project and not admin:
        return None
    expires = body.get("expires_at")
    until = datetime.fromisoformat(expires).timestamp() if expires else None
    return Caller(f"keystone {mark[:12]}", None if admin else project, admin, until)
