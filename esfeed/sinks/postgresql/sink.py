"""Documents, or events, into a table of PostgreSQL: one transaction per batch; a bad row does not affect the others.

``sql`` builds the statements and explains why a repeat is harmless; this module runs them.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Outcome, not_tried, rejected, retry
from esfeed.sinks.common.deadline import within
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.tls import client_context
from esfeed.sinks.postgresql.settings import PostgresqlSettings
from esfeed.sinks.postgresql.sql import parameters, statements

_Result = TypeVar("_Result")
_LOGIN = re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist")
_OF_THE_ROW = (
    errors.DataError,
    errors.IntegrityError,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    errors.RaiseException,
)
_PRUNE_EVERY = 3600.0


class PostgresqlSink:
    """Keeps a table equal to the watched index (``mirror``), or adds each event to it (``log``).

    ``ok`` means that the transaction is committed, or that the table already has a newer state of the document.
    """

    Settings = PostgresqlSettings

    def __init__(self, settings: PostgresqlSettings) -> None:
        self._settings = settings
        self._address = settings.address
        self._encode = envelope(settings.format).encode
        self._statements = statements(settings)
        self._connection: psycopg.Connection[Any] | None = None
        self._pruned: float | None = None

    def open(self) -> None:
        """Connects, and creates or checks the table.

        Raises ``ConfigError`` for unusable credentials, certificates or tables, ``Retryable`` if the server does not
        answer.
        """
        self.close()
        end = time.monotonic() + self._settings.timeout
        self._connection = self._bounded(self._connect, end)
        self._bounded(self._prepare, end)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Writes the events in one transaction. Raises nothing.

        A row that the table refuses is ``rejected`` with the text of the server, and the others are written without it.
        A fault of the server is ``retry``.
        """
        if not events:
            return []
        end = time.monotonic() + self._settings.timeout
        try:
            if self._connection is None or self._connection.broken or self._connection.closed:
                self._connection = self._bounded(self._connect, end)
            outcomes = self._bounded(lambda: self._write(events), end)
            self._prune(end)
            return outcomes
        except ConfigError as error:  # it was right when the sink was opened
            fault = Retryable(f"{self._address.shown}: {error.key} is no longer accepted", error.hint)
        except Retryable as error:
            fault = error
        return [retry(str(fault)), *[not_tried(fault)] * (len(events) - 1)]

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    # --- connecting

    def _connect(self) -> psycopg.Connection[Any]:
        settings, address = self._settings, self._address
        options: dict[str, Any] = {"sslmode": "prefer"}
        if settings.tls:
            client_context(settings)  # for its errors, which name the key
            options = {
                "sslmode": "verify-full" if settings.verify_certs else "require",
                "sslcert": settings.client_cert,
                "sslkey": settings.client_key or settings.client_cert,
            }
            if settings.verify_certs:
                options["sslrootcert"] = settings.ca_certs or "system"
        password = settings.password.get_secret_value() if settings.password else address.password
        connection = psycopg.connect(
            host=address.host,
            port=address.port,
            dbname=address.path,
            user=settings.user or address.user,
            password=password,
            connect_timeout=max(2, round(settings.timeout)),
            application_name="esfeed",
            client_encoding="utf8",
            autocommit=True,
            **{name: value for name, value in options.items() if value is not None},
        )
        # A statement that timed out here must not run for hours there; 0 would mean no limit.
        connection.execute(f"SET statement_timeout = {max(1, round(settings.timeout * 1000))}")
        return connection

    def _prepare(self) -> None:
        assert self._connection is not None
        table = self._settings.table
        try:
            with self._connection.transaction():
                # PostgreSQL requires the privilege to create even if there is nothing to create.
                missing = self._missing() if self._settings.create_table else False
                for statement in self._statements.create if missing else ():
                    self._connection.execute(statement)
                self._connection.execute(self._statements.check)
        except errors.UndefinedTable as error:
            hint = "there is no such table; create it, or set create_table = true"
            raise ConfigError("table", table, hint) from error
        except (errors.UndefinedColumn, errors.WrongObjectType, errors.DatatypeMismatch) as error:
            raise ConfigError(
                "table", table, f"it has other columns ({_said(error)}); name a table for this sink only"
            ) from error
        except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
            raise ConfigError(
                "table", table, f"{_said(error)}; grant the privilege to the user, or name another table"
            ) from error

    def _missing(self) -> bool:
        assert self._connection is not None
        try:
            with self._connection.transaction():
                self._connection.execute(self._statements.check)
        except errors.UndefinedTable:
            return True
        return False

    # --- writing

    def _write(self, events: Sequence[Event]) -> list[Outcome]:
        """All rows at once; if a row is at fault, one by one."""
        assert self._connection is not None
        try:
            with self._connection.transaction(), self._connection.pipeline():
                return [self._row(event, as_text=False) for event in events]
        except _OF_THE_ROW:
            with self._connection.transaction():
                return [self._by_itself(event) for event in events]

    def _by_itself(self, event: Event) -> Outcome:
        r"""Writes a row within a savepoint. What jsonb refuses, such as ``\u0000``, is stored as text instead.

        A mirror that omitted such a state would show an older one as if it were current.
        """
        assert self._connection is not None
        for as_text in (False, True):
            try:
                with self._connection.transaction():
                    return self._row(event, as_text)
            except errors.DataError as error:
                fault: psycopg.Error = error
            except _OF_THE_ROW as error:
                return rejected(_said(error))
        return rejected(_said(fault))

    def _row(self, event: Event, as_text: bool) -> Outcome:
        assert self._connection is not None
        data = self._data(event)
        if data is not None and len(data) > self._settings.max_bytes:
            limit = self._settings.max_bytes
            return rejected(f"the event has {len(data)} bytes; the limit is {limit} (max_bytes)")
        if data is None and event.op != "deleted":
            return rejected("the event has no document, which a mirror needs")
        statement = self._statements.remove if event.op == "deleted" else self._statements.put
        self._connection.execute(statement, parameters(event, self._settings, data, as_text))
        return OK

    def _data(self, event: Event) -> bytes | None:
        if self._settings.mode == "log":
            return self._encode(event)
        raw = event.before if event.op == "deleted" else event.after
        return None if raw is None else bytes(raw)

    def _prune(self, end: float) -> None:
        """Deletes rows of ``TABLE_gone`` older than ``keep_deletes``, once an hour. A failure affects no event."""
        now, prune = time.monotonic(), self._statements.prune
        if prune is None or (self._pruned is not None and now - self._pruned < _PRUNE_EVERY):
            return
        self._pruned = now

        def work() -> None:
            assert self._connection is not None
            self._connection.execute(prune, {"seconds": self._settings.keep_deletes})

        with contextlib.suppress(Retryable):
            self._bounded(work, end)

    # --- faults

    def _bounded(self, work: Callable[[], _Result], end: float) -> _Result:
        """What ``work`` returns. Raises ``ConfigError`` for refused credentials, ``Retryable`` for any other fault."""
        where = self._address.shown
        try:
            return within(max(end - time.monotonic(), 0.001), work)
        except (TimeoutError, errors.QueryCanceled) as error:
            self._cut()
            hint = "check its load and locks, or raise timeout"
            raise Retryable(f"{where}: no complete answer within {self._settings.timeout:g} s", hint) from error
        except psycopg.Error as error:
            said = _said(error)
            connecting = self._connection is None
            self._cut()
            if connecting and _LOGIN.search(str(error)):
                key = "url" if self._settings.password is None else "password"
                hint = f"{where} does not accept it ({said}); correct user and password"
                raise ConfigError(key, None, hint) from error
            if connecting and re.search(r"database .* does not exist", str(error)):
                raise ConfigError("url", where, f"{said}; create it, or name another") from error
            if connecting and "private key file" in str(error):
                raise ConfigError("client_key", self._settings.client_key, said) from error
            raise Retryable(f"{where}: {said}", _hint(error)) from error

    def _cut(self) -> None:
        """Shuts the socket down: closing the connection here could break a thread that still waits on it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def _said(error: psycopg.Error) -> str:
    return shown(error.diag.message_primary or str(error)) or type(error).__name__


def _hint(error: psycopg.Error) -> str:
    if isinstance(error, errors.InsufficientPrivilege):
        return "grant the privilege to the user"
    if isinstance(error, errors.DiskFull):
        return "free space on its disk"
    if isinstance(error, errors.ProgrammingError):
        return "correct the table, or let esfeed create it"
    return "start the server, or correct url" if error.sqlstate is None else "check its log"
