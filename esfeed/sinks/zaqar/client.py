"""All access to Zaqar: python-zaqarclient on connections with deadlines, with Keystone tokens for each project.

The client has no timeout, opens a connection for each request, and takes 413, 429 and 502 for success. So it gets its
own transport: one ``requests`` session with a deadline, in which every status but 2xx is an error.
https://docs.openstack.org/python-zaqarclient/latest/
"""

from __future__ import annotations

import ssl
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import requests
from keystoneauth1 import exceptions as keystone
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
from zaqarclient.queues.v2.client import Client
from zaqarclient.transport.http import HttpTransport

from esfeed import __version__
from esfeed.errors import ConfigError
from esfeed.sinks.common.http_faults import why
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.restricted_http import Limits
from esfeed.sinks.common.restricted_requests import restricted_session
from esfeed.sinks.common.tls import trust
from esfeed.sinks.zaqar.settings import ZaqarSettings

_MAX_PROJECTS = 4096
_LIMIT = "_max_messages_post_size"


class Answer(Exception):
    """Zaqar answered, but not 2xx."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class Unreachable(Exception):
    """No answer from Zaqar or Keystone; the text says why and contains neither password nor token."""


class Denied(Exception):
    """Keystone gives no token for a project; the text says why. Other projects may work."""


class ZaqarClient:
    """Posts to queues of any project. For one thread."""

    def __init__(self, settings: ZaqarSettings) -> None:
        self._settings = settings
        self._limits = Limits(allow_private=True)
        self._session: requests.Session | None = None
        self._clients: OrderedDict[str | None, _Client] = OrderedDict()
        self._cloud: Any = None

    def open(self) -> None:
        """Checks that Zaqar answers, and Keystone, as far as the project is known without an event.

        Raises ``ConfigError`` for what a later try does not correct: wrong credentials, files, addresses.
        """
        self.close()
        self._session = self._new_session()
        fixed = self._settings.project is None or self._settings.project.fixed
        if not fixed and self._settings.url is None:
            return  # the address of Zaqar is known with the token of the first project
        project = self._settings.project.text if self._settings.project and fixed else None
        if not fixed and self._settings.auth == "keystone":
            return
        try:
            self._ask(project, lambda client: client.send("ping"))
        except Denied as error:
            raise ConfigError("auth_url", self._settings.auth_url, str(error)) from error
        except Answer as error:
            if error.status == 404:
                hint = (
                    'there is no Zaqar (404); write the address without "/v2", such as "http://zaqar.example.org:8888"'
                )
                raise ConfigError("url", self._settings.url, hint) from error

    def post(self, project: str | None, queue: str, content: bytes) -> None:
        """Posts the messages in ``content``, the body of the request.

        Raises :class:`Answer`, :class:`Unreachable` or :class:`Denied`.
        https://docs.openstack.org/api-ref/message/#post-message
        """
        self._ask(project, lambda client: client.send("message_post", queue, content))

    def limit(self, project: str | None, queue: str) -> int | None:
        """The limit of bytes of the queue for a request, ``None`` if it has none. Raises as ``post``."""
        found = self._ask(project, lambda client: client.send("queue_get", queue)) or {}
        limit = found.get(_LIMIT) if isinstance(found, dict) else None
        return limit if isinstance(limit, int) and limit > 0 else None

    def forget(self, project: str | None) -> None:
        """Drops the token of a project, so that the next request gets a new one."""
        self._clients.pop(project, None)

    def close(self) -> None:
        """Closes all connections."""
        self._clients.clear()
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _ask(self, project: str | None, request: Callable[[_Client], Any]) -> Any:
        self._limits.start(self._settings.timeout)
        try:
            return request(self._client(project))
        except requests.RequestException as error:
            raise Unreachable(f"zaqar: {self._reason(error)}") from None
        except keystone.ClientException as error:
            self.forget(project)
            self._refuse(error)

    def _refuse(self, error: keystone.ClientException) -> NoReturn:
        status = getattr(error, "http_status", None) or 0
        if isinstance(error, keystone.Unauthorized | keystone.Forbidden | keystone.NotFound):
            raise Denied(f"keystone issues no token ({status}): {shown(error.message or '')}") from None
        if isinstance(error, keystone.EndpointNotFound | keystone.EmptyCatalog):
            raise Denied("keystone's catalog has no messaging service for this interface and region; set url") from None
        if isinstance(error, keystone.AuthPluginException | keystone.AuthorizationFailure):
            raise Denied(f"keystone: {shown(str(error))}") from None
        cause = error.__cause__ or error.__context__
        reason = self._reason(cause) if isinstance(cause, Exception) else shown(str(error))
        raise Unreachable(f"keystone: {reason}") from None

    def _reason(self, error: BaseException) -> str:
        return why(error, self._settings.timeout)

    # --- authentication

    def _client(self, project: str | None) -> _Client:
        found = self._clients.get(project)
        if found is None:
            if self._session is None:
                self._session = self._new_session()
            if len(self._clients) >= _MAX_PROJECTS:
                self._clients.popitem(last=False)
            found = self._clients[project] = _Client(self._session, self._settings, self._auth(project))
        self._clients.move_to_end(project)
        return found

    def _auth(self, project: str | None) -> dict[str, Any]:
        """The arguments of the client for authentication."""
        settings = self._settings
        if settings.auth == "noauth":
            return {"backend": "noauth", "options": {"os_project_id": project}}
        auth = self._cloud_auth(project) if settings.cloud else self._own_auth(project)
        session = keystone_session.Session(
            auth, session=self._session, verify=self._verify(), timeout=settings.timeout, user_agent=_agent()
        )
        return {"backend": "keystone", "session": session}

    def _own_auth(self, project: str | None) -> Any:
        settings = self._settings
        scope: dict[str, Any] = {"project_id": project}
        if project is None:
            scope = {"project_name": settings.project_name, "project_domain_name": settings.project_domain_name}
        if settings.token is not None:
            return v3.Token(settings.auth_url or "", settings.token.get_secret_value(), **scope)
        password = settings.password.get_secret_value() if settings.password else ""
        return v3.Password(
            settings.auth_url or "",
            username=settings.username,
            password=password,
            user_domain_name=settings.user_domain_name,
            **scope,
        )

    def _cloud_auth(self, project: str | None) -> Any:
        # Takes half a second to import, and only this way of authentication needs it.
        import openstack.config
        from openstack import exceptions

        try:
            self._cloud = self._cloud or openstack.config.OpenStackConfig()
            more = {} if project is None else {"project_id": project, "project_name": None}
            return self._cloud.get_one(cloud=self._settings.cloud, **more).get_auth()
        except (exceptions.ConfigException, keystone.ClientException, OSError) as error:
            hint = f"clouds.yaml has no usable credentials: {shown(str(error))}"
            raise ConfigError("cloud", self._settings.cloud, hint) from error

    def _verify(self) -> bool | str:
        return self._settings.ca_certs or True if self._settings.verify_certs else False

    def _new_session(self) -> requests.Session:
        if self._settings.ca_certs:
            # For its error, which names the key.
            trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._settings.ca_certs)
        return restricted_session(self._limits, self._verify())


class _Client(Client):  # type: ignore[misc]  # the client has no types
    """The client of one project, with our transport."""

    def __init__(self, session: requests.Session, settings: ZaqarSettings, auth: dict[str, Any]) -> None:
        self._interface = settings.interface
        self._region = settings.region_name
        keystone_auth = auth.pop("session", None)
        conf = {"auth_opts": {"options": {}, **auth}, "client_uuid": str(uuid.uuid4())}
        self.api_url: str | None = None
        super().__init__(settings.url, version=2, conf=conf, session=keystone_auth)
        self._transport = _Transport(session, settings.timeout)

    def _get_transport(self, request: Any) -> _Transport:
        return self._transport

    def send(self, operation: str, queue: str | None = None, content: bytes | None = None) -> Any:
        """Sends a request of the API by its name in the schema of the client; ``content`` is sent unchanged."""
        if self.api_url is None and self.session is not None:
            where = {"service_type": "messaging", "interface": self._interface, "region_name": self._region}
            endpoint = self.session.get_endpoint(**where)
            if endpoint is None:
                raise keystone.EndpointNotFound
            self.api_url = endpoint.rstrip("/").removesuffix("/v2")
        request, transport = self._request_and_transport()
        request.operation = operation
        if queue is not None:
            request.params["queue_name"] = queue
        request.content = content
        response = transport.send(request)
        if operation == "message_post" and response.status_code != 201:
            # Something in between that answers for Zaqar, such as a page of a gateway, has stored nothing.
            raise Unreachable(f"zaqar: {response.status_code} instead of 201; check that url is that of Zaqar")
        return response.deserialized_content


class _Transport(HttpTransport):  # type: ignore[misc]  # the client has no types
    """The HTTP transport of the client on a persistent session, with a deadline; every status but 2xx is an error."""

    def __init__(self, session: requests.Session, timeout: float) -> None:
        super().__init__({})
        self.client = self
        self._session = session
        self._timeout = timeout

    def request(self, method: str, url: str, verify: object = None, **more: Any) -> requests.Response:
        """The transport calls this to send; the session handles certificates."""
        more["headers"]["user-agent"] = _agent()
        response = self._session.request(method, url, timeout=self._timeout, allow_redirects=False, **more)
        if not 200 <= response.status_code < 300:
            raise Answer(response.status_code, response.headers, response.content)
        return response


def _agent() -> str:
    return f"esfeed/{__version__}"
