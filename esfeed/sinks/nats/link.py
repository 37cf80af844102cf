"""One connection to a NATS server, in its own event loop and thread, each call with a deadline.

The thread answers the pings of the server while nothing is sent, and notices at once when the connection ends. It never
reconnects by itself: messages in flight would then be sent later, although the caller already knows them as failed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

_GRACE = 0.5
_Result = TypeVar("_Result")


class Login(NamedTuple):
    """The credentials; at most one of the three kinds is set."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None


class Message(NamedTuple):
    """A message to publish."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def size(self) -> int:
        """What the server counts against its ``max_payload``: headers (in ASCII) and payload."""
        lines = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers.items())
        return len(b"NATS/1.0\r\n\r\n") + lines + len(self.payload)


class Link:
    """A connection; call ``connect`` first. Once it is not ``alive``, only ``close`` is useful."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="esfeed-nats", daemon=True)
        self._thread.start()
        self._client = Client()
        self._noted: Exception | None = None

    def connect(self, hosts: Sequence[str], login: Login, tls: ssl.SSLContext | None, seconds: float) -> None:
        """Connects and logs in. Raises ``nats.errors.Error``, ``OSError`` or ``TimeoutError``."""
        options: dict[str, Any] = {"user_credentials": login.credentials} if login.credentials is not None else {}
        # nats-py calls functions after the server has said whether it uses TLS, and before it sends the credentials.
        for name in ("user", "password", "token"):
            if (value := getattr(login, name)) is not None:
                options[name] = self._once_secure(value, tls is not None)
        if tls is not None:
            options["tls"] = tls
        connecting = self._client.connect(
            servers=[f"nats://{host}" for host in hosts],
            name="esfeed",
            error_cb=self._note,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=max(int(seconds), 1),
            **options,
        )
        try:
            self._run(connecting, seconds)
        except nats.errors.NoServersError:
            raise self._noted or nats.errors.NoServersError() from None
        except (nats.errors.Error, OSError, TimeoutError):
            raise
        except Exception as error:
            # nats-py and nkeys do not define what they raise for a file that is no .creds file.
            if login.credentials is None:
                raise
            raise nats.errors.InvalidUserCredentialsError from error
        if tls is not None and not self._secure:
            raise nats.errors.SecureConnWantedError

    def need_stream(self, stream: str, subject: str | None, seconds: float) -> bool:
        """Whether the stream exists; with ``subject``, creates it if it is missing. Raises like ``connect``."""
        return self._run(self._need_stream(stream, subject, seconds), seconds)

    @property
    def alive(self) -> bool:
        return self._client.is_connected

    @property
    def max_payload(self) -> int:
        """The limit of bytes that the server takes in one message."""
        return self._client.max_payload

    @property
    def noted(self) -> Exception | None:
        """The last error that the server sent apart from its answers, such as a missing permission."""
        return self._noted

    def publish(self, stream: str, messages: Sequence[Message], seconds: float) -> Sequence[BaseException | None]:
        """Publishes all at once. Returns the answer of the server to each: ``None`` if the stream has stored it."""
        self._noted = None
        try:
            return self._run(self._publish(stream, messages, seconds), seconds + _GRACE / 2)
        except (TimeoutError, concurrent.futures.CancelledError):
            return [TimeoutError()] * len(messages)

    def close(self) -> None:
        """Closes the connection, within about ``_GRACE`` seconds, and ends the thread."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(Exception, concurrent.futures.CancelledError):
            self._run(self._client.close(), _GRACE)
        with contextlib.suppress(Exception, concurrent.futures.CancelledError):
            self._run(self._hang_up(), _GRACE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GRACE)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(max(seconds, 0.001))
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimeoutError from None

    async def _need_stream(self, stream: str, subject: str | None, seconds: float) -> bool:
        manager = self._client.jsm(timeout=seconds)
        try:
            await manager.stream_info(stream)
        except NotFoundError:
            if subject is None:
                return False
            await manager.add_stream(StreamConfig(name=stream, subjects=[subject], storage=StorageType.FILE))
        return True

    async def _publish(
        self, stream: str, messages: Sequence[Message], seconds: float
    ) -> Sequence[BaseException | None]:
        context = self._client.jetstream(timeout=seconds)
        answers = await asyncio.gather(
            *(
                context.publish(each.subject, each.payload, timeout=seconds, stream=stream, headers=dict(each.headers))
                for each in messages
            ),
            return_exceptions=True,
        )
        return [answer if isinstance(answer, BaseException) else None for answer in answers]

    async def _hang_up(self) -> None:
        # A server that hangs reads nothing, and the graceful close of nats-py, its only one, would wait for it.
        writer = getattr(getattr(self._client, "_transport", None), "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    @property
    def _secure(self) -> bool:
        return bool(self._client._server_info.get("tls_required"))

    def _once_secure(self, value: str, wanted: bool) -> Any:
        def give() -> str:
            # nats-py would continue unencrypted with a server that does not require TLS.
            if wanted and not self._secure:
                raise nats.errors.SecureConnWantedError
            return value

        return give

    async def _note(self, error: Exception) -> None:
        self._noted = error
