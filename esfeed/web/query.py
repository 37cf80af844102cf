"""The request of a reader, from its parameters: which events, from where, and how to send them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection

from esfeed.model.event import Event, View
from esfeed.routing.budget import of_reader
from esfeed.routing.cel import Where, compile_where
from esfeed.routing.router import holds
from esfeed.routing.transform import Transform, TransformFailed
from esfeed.web.callers import Caller, seen
from esfeed.web.problems import Problem

Feed = Literal["normal", "longpoll", "eventsource"]

MAX_EVENTS = 1000
MAX_WAIT = 300.0
_MAX_NAMES = 100
_LARGEST = 2**63 - 1
_KNOWN = frozenset({"since", "limit", "feed", "timeout", "type", "id", "watch", "where", "view", "integers"})


def is_stream(request: HTTPConnection) -> bool:
    """Whether it requests a stream of events, by parameter or by the Accept header."""
    feed = request.query_params.get("feed")
    return feed == "eventsource" or (feed is None and "text/event-stream" in request.headers.get("accept", ""))


class TenantFields:
    """What tenants see of the fields of a document. ``timestamps``: the date field of each watch."""

    def __init__(self, shape: Transform, timestamps: Mapping[str, str]) -> None:
        self._shape = shape
        self._timestamps = timestamps

    def apply(self, event: Event) -> Event | None:
        """The event with its visible fields, ``None`` if none of those changed, or if it cannot be transformed."""
        try:
            return self._shape.apply(event, self._timestamps.get(event.watch, ""))
        except TransformFailed:
            return None


class Wanted(msgspec.Struct, frozen=True, eq=False):
    """The events that a reader wants, and its caller. Empty ``types``, ``ids`` and ``watches`` mean all."""

    caller: Caller
    types: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    watches: frozenset[str] = frozenset()
    where: Where | None = None
    view: View | None = None
    tenant_fields: TenantFields | None = None

    @property
    def everything(self) -> bool:
        """Whether there is no filter, so that nearly all events are for this reader."""
        return self.caller.admin and not (self.types or self.ids or self.watches or self.where)

    def of(self, event: Event, known: dict[str, bool] | None = None) -> Event | None:
        """The event as this reader gets it, or ``None``.

        ``known`` caches the result of each expression for this event, so that many readers with the same ``where``
        evaluate it once. If an expression fails for an event, the reader does not get it.
        """
        if (self.types and event.type not in self.types) or (self.watches and event.watch not in self.watches):
            return None
        if self.ids and event.doc_id not in self.ids:
            return None
        visible = seen(event, self.caller, self.view)
        if visible is not None and self.tenant_fields is not None and not self.caller.admin:
            # Before any condition: a tenant must not query what it may not see.
            visible = self.tenant_fields.apply(visible)
        if visible is None or self.where is None:
            return visible
        if visible is not event or known is None:
            return visible if _holds(self.where, visible) else None
        if self.where.text not in known:
            known[self.where.text] = _holds(self.where, visible)
        return visible if known[self.where.text] else None


class Query(msgspec.Struct, frozen=True, eq=False):
    """A request for events. ``since`` is ``None`` for the first position left, -1 for now; ``timeout`` is in seconds.

    ``safe_integers``: send integers beyond 2**53 as strings.
    """

    wanted: Wanted
    since: int | None
    limit: int
    feed: Feed
    timeout: float
    safe_integers: bool


def parse(
    parameters: QueryParams,
    headers: Headers,
    caller: Caller,
    watches: Collection[str],
    tenant_fields: TenantFields | None = None,
) -> Query:
    """Parses and checks the request. Raises ``Problem`` (400) that says how to write a wrong parameter."""
    for name in parameters:
        if name not in _KNOWN:
            raise Problem(400, f"unknown parameter {name[:50]!r}; known: {', '.join(sorted(_KNOWN))}")
    feed = _one_of(parameters, "feed", ("normal", "longpoll", "eventsource"), "")
    if not feed:
        feed = "eventsource" if "text/event-stream" in headers.get("accept", "") else "normal"
    view = _one_of(parameters, "view", ("admin", "user"), "")
    if view == "admin" and not caller.admin:
        raise Problem(403, "view=admin is for administrators; omit it to read the view of your tenant")
    named = frozenset(_names(parameters, "watch"))
    # A tenant must not learn which watches exist: an unknown one has no events for it, as those of others.
    if caller.admin and (unknown := sorted(named - {*watches})):
        raise Problem(400, f"there is no watch {unknown[0][:50]!r}")
    wanted = Wanted(
        caller,
        frozenset(_names(parameters, "type")),
        frozenset(_names(parameters, "id")),
        named,
        _where(_single(parameters, "where")),
        view or None,  # type: ignore[arg-type]  # it is one of the two, or empty
        tenant_fields,
    )
    since = headers.get("last-event-id") if feed == "eventsource" else None
    return Query(
        wanted,
        _since("Last-Event-ID", since) if since else _since("since", _single(parameters, "since")),
        int(_number(parameters, "limit", 100, 1, MAX_EVENTS)),
        feed,  # type: ignore[arg-type]  # it is one of the three
        _number(parameters, "timeout", 30.0, 0, MAX_WAIT),
        _one_of(parameters, "integers", ("exact", "safe"), "exact") == "safe",
    )


def _single(parameters: QueryParams, name: str) -> str | None:
    found = parameters.getlist(name)
    if len(found) > 1:
        raise Problem(400, f"{name} appears {len(found)} times; write it once")
    return found[0] if found else None


def _names(parameters: QueryParams, name: str) -> list[str]:
    found = parameters.getlist(name)
    if len(found) > _MAX_NAMES:
        raise Problem(400, f"{name} appears {len(found)} times; the limit is {_MAX_NAMES}")
    if "" in found:
        raise Problem(400, f"{name} is empty; omit it for all")
    return found


def _one_of(parameters: QueryParams, name: str, choices: tuple[str, ...], default: str) -> str:
    found = _single(parameters, name)
    if found is None:
        return default
    if found not in choices:
        raise Problem(400, f"{name} must be one of {', '.join(choices)}, not {found[:50]!r}")
    return found


def _number(parameters: QueryParams, name: str, default: float, least: float, limit: float) -> float:
    found = _single(parameters, name)
    if found is None:
        return default
    if not re.fullmatch(r"\d{1,9}" if isinstance(default, int) else r"\d{1,9}(\.\d{1,9})?", found, re.ASCII):
        raise Problem(400, f"{name} must be a number from {least:g} to {limit:g}, not {found[:50]!r}")
    number = float(found)
    if not least <= number <= limit:
        raise Problem(400, f"{name} must be a number from {least:g} to {limit:g}, not {found}")
    return number


def _since(name: str, found: str | None) -> int | None:
    if found is None:
        return None
    if found == "now":
        return -1
    if not re.fullmatch(r"\d{1,19}", found, re.ASCII) or int(found) > _LARGEST:
        raise Problem(400, f'{name} must be a position of the log, such as 1841, or "now", not {found[:50]!r}')
    return int(found)


def _where(text: str | None) -> Where | None:
    if text is None:
        return None
    try:
        of_reader(text)
    except ValueError as error:
        raise Problem(422, f"where is too expensive: {error}") from None
    try:
        return _compiled(text)
    except ValueError as error:
        raise Problem(400, f"where: {error}") from None


_cost = lru_cache(maxsize=256)(of_reader)


@lru_cache(maxsize=256)
def _compiled(text: str) -> Where:
    return compile_where(text)


def _holds(where: Where, event: Event) -> bool:
    if not _cost(where.text).bearable(event):
        return False
    try:
        return holds(where, event)
    except ValueError:
        return False
