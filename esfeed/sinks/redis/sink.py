"""Events to a Redis stream: one XADD each, a batch in one pipeline, every answer checked.

Redis generates the ids of entries. Ids made from the position in the log would prevent repeats for free, but a stream
accepts only growing ids: an event that waited while other documents continued could never be added. Instead, with
``idempotent``, one script writes a marker key together with the entry, which prevents repeats.
https://redis.io/docs/latest/commands/xadd/
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, cast

import redis
from redis import exceptions as faults
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, rejected, retry
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.common.deadline import within
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.ordering import in_waves
from esfeed.sinks.common.tls import client_context
from esfeed.sinks.redis.settings import RedisSettings

_ONCE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return id
"""
"""First the entry, then its marker: in the other order, a failed XADD would leave a marker without an entry."""

_LATER = ("OOM", "MISCONF", "NOREPLICAS", "BUSY", "LOADING", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")
_HINTS = {
    "OOM": "raise its maxmemory, or set maxlen",
    "MISCONF": "free space on its disk",
    "READONLY": "name the master, not a replica",
    "NOPERM": "allow this user to run XADD on this key",
    "WRONGTYPE": "delete this key, or name another stream",
}
_DOWN = (faults.ConnectionError, faults.TimeoutError, faults.RedisClusterException, OSError)
_PASSING = (*_DOWN, faults.ClusterError, faults.NoPermissionError, faults.OutOfMemoryError, faults.ReadOnlyError)


class RedisSink:
    """Adds each event as an entry with the fields ``id``, ``type``, ``subject`` and ``data``.

    ``ok`` means that Redis answered with the id of the entry (or, with ``idempotent``, that it has the event already).
    How much a crash of Redis itself can lose depends on its ``appendfsync``.
    """

    Settings = RedisSettings

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._address = settings.address
        self._encode = envelope(settings.format).encode
        self._client: redis.Redis | RedisCluster | None = None
        self._limit = settings.max_bytes
        self._end = 0.0

    def open(self) -> None:
        """Connects, logs in and checks the stream.

        Raises ``ConfigError`` for unusable credentials or files, or a key that is no stream; ``Retryable`` if the
        server does not answer.
        """
        self.close()
        self._end = time.monotonic() + self._settings.timeout
        self._client = self._bounded(self._connect)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Adds the events. Raises nothing.

        Events that are too large or that Redis refuses are ``rejected``; other failures are ``retry``. The events of
        one document are added one after the other's answer, those of different documents together.
        """
        self._end = time.monotonic() + self._settings.timeout
        return in_waves(events, self._wave)

    def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                if isinstance(client, redis.Redis):
                    client.connection_pool.disconnect(inuse_connections=True)
                client.close()

    # --- connecting

    def _connect(self) -> redis.Redis | RedisCluster:
        settings, address = self._settings, self._address
        options: dict[str, Any] = {
            "username": settings.user or address.user,
            "password": settings.password.get_secret_value() if settings.password else address.password,
            "socket_timeout": settings.timeout,
            "socket_connect_timeout": settings.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # 3 begins with a HELLO that servers before 6.0 do not know
        }
        if address.scheme == "rediss":
            client_context(settings)  # for its errors, which name the key
            options |= {
                "ssl": True,
                "ssl_ca_certs": settings.ca_certs,
                "ssl_certfile": settings.client_cert,
                "ssl_keyfile": settings.client_key or settings.client_cert,
                "ssl_cert_reqs": "required" if settings.verify_certs else "none",
                "ssl_check_hostname": settings.verify_certs,
            }
        if settings.cluster:
            # Not lazily: the client of a cluster requests the slots when it is created.
            node = ClusterNode(address.host, address.port)  # type: ignore[no-untyped-call]
            client: redis.Redis | RedisCluster = RedisCluster(startup_nodes=[node], **options)
        else:
            client = redis.Redis(address.host, address.port, db=settings.database, **options)
        try:
            client.ping()
            self._look(client)
        except BaseException:
            client.close()
            raise
        return client

    def _look(self, client: redis.Redis | RedisCluster) -> None:
        with contextlib.suppress(faults.ResponseError):  # CONFIG is often forbidden; then the setting applies
            said = cast(dict[str, str], client.config_get("proto-max-bulk-len"))
            self._limit = min(self._settings.max_bytes, int(said["proto-max-bulk-len"]))
        if self._settings.stream.fixed:
            name = self._settings.stream.text.replace("{{", "{").replace("}}", "}")
            with contextlib.suppress(faults.NoPermissionError):
                kind = cast(bytes, client.type(name)).decode()
                if kind not in ("none", "stream"):
                    raise ConfigError("stream", name, f"this key is a {kind}; delete it, or name another")

    def _bounded(self, work: Any) -> Any:
        """What ``work`` returns. Raises ``ConfigError`` for refused credentials, ``Retryable`` for any other fault."""
        where = self._address.shown
        try:
            return within(max(self._end - time.monotonic(), 0.001), work)
        except faults.AuthenticationError as error:
            key = "url" if self._settings.password is None else "password"
            hint = f"{where} does not accept it ({shown(str(error))}); correct user and password"
            raise ConfigError(key, None, hint) from error
        except faults.NoPermissionError as error:
            raise ConfigError(
                "user", self._settings.user, f"{shown(str(error))}; allow the user to run PING and XADD"
            ) from error
        except (TimeoutError, faults.TimeoutError) as error:
            self.close()
            hint = "check its load, or raise timeout"
            raise Retryable(f"{where}: no complete answer within {self._settings.timeout:g} s", hint) from error
        except _DOWN as error:
            self.close()
            raise Retryable(f"{where}: {_plain(error)}", "start the server, or correct url") from error
        except faults.RedisError as error:
            self.close()
            raise Retryable(f"{where}: {shown(str(error))}", _hint(str(error))) from error

    # --- sending

    def _wave(self, events: Sequence[Event]) -> Sequence[Outcome]:
        commands = [self._command(event) for event in events]
        going = [command for command in commands if not isinstance(command, Outcome)]
        try:
            if going and self._client is None:
                self._client = self._bounded(self._connect)
            answers = iter(self._bounded(lambda: self._pipeline(going)) if going else [])
        except ConfigError as error:  # it was right when the sink was opened
            raise Retryable(f"{self._address.shown}: {error.key} is no longer accepted", error.hint) from error
        return [command if isinstance(command, Outcome) else _judge(next(answers)) for command in commands]

    def _pipeline(self, commands: Sequence[Sequence[Any]]) -> Sequence[Any]:
        assert self._client is not None
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return cast(Sequence[Any], pipeline.execute(raise_on_error=False))

    def _command(self, event: Event) -> Sequence[Any] | Outcome:
        try:
            stream = self._settings.stream.render(event)
        except TemplateFailed as error:
            return rejected(str(error))
        data = self._encode(event)
        if len(data) > self._limit:
            return rejected(f"the event has {len(data)} bytes, and at most {self._limit} are taken (max_bytes)")
        trim = () if self._settings.maxlen is None else ("MAXLEN", "~", self._settings.maxlen)
        entry = ("id", event.id, "type", f"esfeed.{event.op}", "subject", event.subject, "data", data)
        if self._settings.idempotent is None:
            return ("XADD", stream, *trim, "*", *entry)
        life = max(1, round(self._settings.idempotent * 1000))
        return ("EVAL", _ONCE, 2, stream, _marker(stream, event.id), life, *trim, "*", *entry)


def _marker(stream: str, event_id: str) -> str:
    """The key that marks an event of a stream as added; a hash tag puts it into the slot of the stream.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    begin = stream.find("{")
    end = stream.find("}", begin + 1)
    tag = stream[begin + 1 : end] if begin >= 0 and end > begin + 1 else stream
    return f"esfeed:{{{tag}}}:{stream}:{event_id}"


def _judge(answer: object) -> Outcome:
    if not isinstance(answer, Exception):
        return OK
    said = shown(str(answer))
    hint = _hint(str(answer))
    if hint or _code(str(answer)) in _LATER or isinstance(answer, _PASSING):
        return retry(f"{said}: {hint}" if hint else said)
    return rejected(said)


def _code(text: str) -> str:
    return text.partition(" ")[0]


def _hint(text: str) -> str:
    """What to do about an error of the server. The client removes some codes, so the text is searched, too."""
    words = {"maxmemory": "OOM", "read only": "READONLY", "no permissions": "NOPERM", "MISCONF": "MISCONF"}
    code = next((code for word, code in words.items() if word in text), _code(text))
    return _HINTS.get(code, "")


def _plain(error: BaseException) -> str:
    return shown(str(error)) or type(error).__name__
