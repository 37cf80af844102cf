"""Decides which sink is to have which event: by watch, by view, and by a route's ``where``. Pure, no I/O.

A ``where`` is a CEL expression (https://cel.dev) over ``op``, ``type``, ``id``, ``watch``, ``before``, ``after`` and
``changed``, compiled once. Handing a document to CEL costs a hundred times what evaluating costs, so only those of its
fields go there that some expression names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import cel
import msgspec

from esfeed.errors import EsfeedError
from esfeed.event import Event, View
from esfeed.where import Fields, Where, compile_where

__all__ = ["ExpressionFailed", "Route", "Router", "Where", "compile_where"]


class ExpressionFailed(EsfeedError):
    """A ``where`` has no answer for an event; whether the sink is to have it cannot be told.

    ``route`` is the index of the route in the settings, ``text`` its expression, ``reason`` why; none holds a value
    of the document.
    """

    def __init__(self, route: int, text: str, reason: str) -> None:
        super().__init__(f"routes[{route}].where has no answer for this event ({text})", reason)
        self.route = route
        self.text = text
        self.reason = reason


class Route(msgspec.Struct, frozen=True):
    """Which events of which watches go to which sinks.

    ``index`` is its place in the settings. Empty ``watches`` means all. ``admin`` chooses the view of documents that
    have one. Where ``where`` is ``None``, every event goes.
    """

    index: int
    sinks: frozenset[str]
    watches: frozenset[str] = frozenset()
    where: Where | None = None
    admin: bool = False

    def sees(self, view: View | None) -> bool:
        """Whether documents of that view are for this route: those without one always are."""
        return view is None or view == ("admin" if self.admin else "user")


class Router:
    """Answers, per sink and event, whether the sink is to have the event. Immutable; any thread may ask.

    ``sinks`` and ``watches`` are the names that are defined. Without any route, every watch goes to every sink (the
    user's view, where there are two).
    """

    def __init__(self, routes: Iterable[Route], sinks: Collection[str], watches: Collection[str]) -> None:
        routes = tuple(routes) or (Route(0, frozenset(sinks)),)
        plans: dict[tuple[str, str], list[Route]] = {}
        for route in routes:
            for sink in route.sinks:
                for watch in route.watches or watches:
                    plans.setdefault((sink, watch), []).append(route)
        self._plans = {pair: tuple(plan) for pair, plan in plans.items()}
        self._needs = {pair: _needs(plan) for pair, plan in plans.items()}

    def watches(self, sink: str) -> frozenset[str]:
        """The watches that any route brings to that sink."""
        return frozenset(watch for name, watch in self._plans if name == sink)

    def wants(self, sink: str, event: Event) -> bool:
        """Whether any route brings the event to the sink; an event of an undefined watch goes nowhere.

        Raises :class:`ExpressionFailed` where no route says yes and some ``where`` has no answer.
        """
        pair = sink, event.watch
        routes = [route for route in self._plans.get(pair, ()) if route.sees(event.view)]
        conditions = [(route.index, route.where) for route in routes if route.where is not None]
        if len(conditions) < len(routes):
            return True
        if not conditions:
            return False
        try:
            values = _values(event, self._needs[pair])
            context = _context(values)
        except _Unreadable as error:
            index, where = conditions[0]
            raise ExpressionFailed(index, where.text, str(error)) from None
        failed: ExpressionFailed | None = None
        for index, where in conditions:
            try:
                if where.holds(context, values):
                    return True
            except ValueError as error:
                failed = failed or ExpressionFailed(index, where.text, str(error))
        if failed:
            raise failed
        return False


class _Unreadable(Exception):
    """The document cannot be handed to CEL."""


def _needs(plan: Iterable[Route]) -> Mapping[str, Fields]:
    """What the expressions of a plan name: variables, and of ``before`` and ``after`` the fields (``None``: all)."""
    needs: dict[str, Fields] = {}
    for route in plan:
        for name, fields in (route.where.needs if route.where else {}).items():
            known = needs.get(name, frozenset())
            needs[name] = None if fields is None or known is None else known | fields
    return needs


def _values(event: Event, needs: Mapping[str, Fields]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, fields in needs.items():
        if name == "before":
            values[name] = _document(event.before, fields)
        elif name == "after":
            values[name] = _document(event.after, fields)
        elif name == "changed":
            values[name] = None if event.changed is None else list(event.changed)
        else:
            values[name] = event.doc_id if name == "id" else getattr(event, name)
    return values


def _context(values: dict[str, Any]) -> cel.Context:
    try:
        return cel.Context(values)
    except ValueError:
        pass
    try:
        # Beyond what CEL can hold: an integer beyond doubles, half of a surrogate pair.
        return cel.Context({name: _clean(value) for name, value in values.items()})
    except (ValueError, RecursionError):
        raise _Unreadable("the document holds what CEL cannot") from None


_shallow = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _document(raw: msgspec.Raw | None, fields: Fields) -> Any:
    """The document, or those ``fields`` of it, as values that CEL can hold."""
    if raw is None:
        return None
    if fields is None:
        return _parse(bytes(raw))
    try:
        parts = _shallow.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse(bytes(raw))
    return {name: _parse(bytes(parts[name])) for name in fields if name in parts}


def _parse(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise _Unreadable("the document is nested too deep to be looked into") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        # Numbers out of range, half surrogates: JSON all the same, and the engine keeps them as they came.
        return _clean(json.loads(raw.decode(errors="replace"), parse_int=_number))
    except (ValueError, RecursionError):
        raise _Unreadable("the document cannot be read as JSON") from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


_HALF = re.compile("[\ud800-\udfff]")


def _clean(value: Any) -> Any:
    """The value with what CEL cannot hold replaced: integers beyond 64 bits by doubles, half surrogates by U+FFFD."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, int) and value.bit_length() > 64:
        return float(str(value)) if value.bit_length() < 10_000 else float("inf") * (1 if value > 0 else -1)
    if isinstance(value, list):
        return [_clean(part) for part in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(part) for name, part in value.items()}
    return value
