"""Decides by the routes which sink receives which event, and which parts of it. No I/O.

The first route that matches an event (by watch, view, ``types`` and ``where``) decides what its sink receives; only
this route transforms the event (see :mod:`esfeed.routing.transform`). If a route has no answer, esfeed does not use a
later one that could show more, but only one that transforms in the same way.

A ``where`` is a CEL expression (https://cel.dev) over ``op``, ``type``, ``id``, ``watch``, ``before``, ``after``,
``doc`` and ``changed``, compiled once. To convert a document for CEL costs a hundred times as much as the evaluation,
so only the fields that an expression names are converted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from esfeed.errors import EsfeedError
from esfeed.model.event import Event
from esfeed.routing.cel import Where, compile_where
from esfeed.routing.content import Fields, context_of, values_of
from esfeed.routing.patterns import Patterns
from esfeed.routing.tenancy import seen_by
from esfeed.routing.transform import Transform, TransformFailed

if TYPE_CHECKING:
    import cel

__all__ = ["ExpressionFailed", "Route", "RouteFailed", "Router", "Unshapable", "Where", "compile_where", "holds"]


class RouteFailed(EsfeedError):
    """A route cannot decide whether, or in which form, a sink receives an event. It names no value of the document."""


class Unshapable(RouteFailed):
    """The event is for the sink, but the route cannot transform it: a template has no text, or nesting is too deep.

    ``route`` is the index of the route in the settings.
    """

    def __init__(self, route: int, error: TransformFailed) -> None:
        super().__init__(f"routes[{route}]: {error.message}", error.hint)
        self.route = route


class ExpressionFailed(RouteFailed):
    """A ``where`` has no answer for an event, so the route cannot decide whether the sink receives it.

    ``route`` is the index of the route in the settings, ``text`` its expression, ``reason`` why. None contains a value
    of the document.
    """

    def __init__(self, route: int, text: str, reason: str) -> None:
        super().__init__(f"routes[{route}].where has no answer for this event ({text})", reason)
        self.route = route
        self.text = text
        self.reason = reason


class Route(msgspec.Struct, frozen=True):
    """Which events of which watches go to which sinks.

    ``index`` is the index in the settings. Empty ``watches`` means all. ``admin`` chooses the view, for documents that
    have one. ``where = None``: every event. ``types = None``: every type. ``shape = None``: unchanged. ``tenant``: only
    what that project may see, as it may see it (see :mod:`esfeed.routing.tenancy`). ``skips``: an event for which
    ``where`` has no answer does not match, instead of being a failure.
    """

    index: int
    sinks: frozenset[str]
    watches: frozenset[str] = frozenset()
    where: Where | None = None
    admin: bool = False
    types: Patterns | None = None
    shape: Transform | None = None
    tenant: str | None = None
    skips: bool = False

    def like(self, other: Route) -> bool:
        """Whether it shows an event in the same way as the other route."""
        return self.shape is other.shape and self.tenant == other.tenant

    @property
    def whole(self) -> bool:
        """Whether it matches every event without a view, and leaves it unchanged."""
        return self.where is None and self.types is None and self.shape is None and self.tenant is None

    def sees(self, event: Event) -> bool:
        """Whether the view and the type are for this route. Documents without a view are for every route."""
        if event.view is not None and event.view != ("admin" if self.admin else "user"):
            return False
        return self.types is None or self.types.match(event.type)


class Router:
    """Decides for each sink and event whether and how the sink receives the event. Immutable and thread-safe.

    ``sinks`` and ``watches`` are the defined names. Without any route, every watch goes to every sink (in the view of
    users, if there are two). ``timestamps``: by watch, the field from which ``origin.updated_at`` is read.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        sinks: Collection[str],
        watches: Collection[str],
        timestamps: Mapping[str, str] | None = None,
    ) -> None:
        routes = tuple(routes) or (Route(0, frozenset(sinks)),)
        plans: dict[tuple[str, str], list[Route]] = {}
        for route in routes:
            for sink in route.sinks:
                for watch in route.watches or watches:
                    plans.setdefault((sink, watch), []).append(route)
        self._plans = {pair: tuple(plan) for pair, plan in plans.items()}
        self._needs = {pair: _needs(plan) for pair, plan in plans.items()}
        self._whole = frozenset(pair for pair, plan in plans.items() if plan[0].whole)
        self._timestamps = dict(timestamps or {})

    def watches(self, sink: str) -> frozenset[str]:
        """The watches that any route sends to that sink."""
        return frozenset(watch for name, watch in self._plans if name == sink)

    def conditions(self, sink: str, watch: str) -> Sequence[tuple[int, str]]:
        """(index, condition) of the routes with a ``where`` from that watch to that sink."""
        return [(route.index, route.where.text) for route in self._plans.get((sink, watch), ()) if route.where]

    def passes_whole(self, sink: str, watch: str) -> bool:
        """Whether every event of the watch without a view goes to the sink unchanged."""
        return (sink, watch) in self._whole

    def wants(self, sink: str, event: Event) -> bool:
        """Whether any route sends the event to the sink. An event of an undefined watch goes nowhere.

        Raises :class:`ExpressionFailed` if no route matches and some ``where`` has no answer.
        """
        return self._route(sink, event) is not None

    def shape(self, sink: str, event: Event) -> Event | None:
        """The event as the sink receives it; ``None`` if it does not.

        It does not if no route matches, or if the matching one hides everything that changed. Raises
        :class:`RouteFailed` (:class:`ExpressionFailed`, :class:`Unshapable`): then this sink must not receive the
        event, whatever other sinks do.
        """
        if event.view is None and self.passes_whole(sink, event.watch):
            return event
        found = self._route(sink, event)
        if found is None:
            return None
        route, event = found
        try:
            return route.shape.apply(event, self._timestamps.get(event.watch, "")) if route.shape else event
        except TransformFailed as error:
            raise Unshapable(route.index, error) from error

    def _route(self, sink: str, event: Event) -> tuple[Route, Event] | None:
        """The first matching route, and the part of the event that its tenant may see."""
        pair = sink, event.watch
        routes = [route for route in self._plans.get(pair, ()) if route.sees(event)]
        sure = next((route for route in routes if route.where is None), None)
        if sure and sure.tenant is None and all(route.like(sure) for route in routes[: routes.index(sure)]):
            return sure, event
        asked: dict[str | None, _Asked | None] = {None: _Asked(event, self._needs.get(pair, {}))}
        failed: list[tuple[Route, RouteFailed]] = []
        for route in routes:
            try:
                if route.tenant not in asked:
                    shown = _shown(route, event, self._timestamps.get(event.watch, ""))
                    asked[route.tenant] = None if shown is None else _Asked(shown, self._needs.get(pair, {}))
                of_route = asked[route.tenant]
                taken = of_route is not None and of_route.holds(route)
            except RouteFailed as error:
                failed.append((route, error))
                continue
            if taken and of_route and all(one.like(route) for one, _ in failed):
                return route, of_route.event
            if taken:
                break
        for route, why in failed:
            if not (route.skips and isinstance(why, ExpressionFailed)):
                raise why
        return None


def _shown(route: Route, event: Event, timestamp_field: str) -> Event | None:
    try:
        return seen_by(event, route.tenant or "", timestamp_field)
    except TransformFailed as error:
        raise Unshapable(route.index, error) from error


class _Asked:
    """An event that routes are matched with. It is parsed once, when the first one reads its content."""

    def __init__(self, event: Event, needs: Mapping[str, Fields]) -> None:
        self.event = event
        self._needs = needs
        self._values: dict[str, Any] = {}
        self._context: cel.Context | None = None

    def holds(self, route: Route) -> bool:
        """Whether the condition of the route is true. Raises :class:`ExpressionFailed`."""
        if route.where is None:
            return True
        if not route.where.cost.bearable(self.event):
            raise ExpressionFailed(route.index, route.where.text, _TOO_MUCH)
        try:
            if self._context is None:
                self._values = values_of(self.event, self._needs)
                self._context = context_of(self._values)
            return route.where.holds(self._context, self._values)
        except ValueError as error:
            raise ExpressionFailed(route.index, route.where.text, str(error)) from None


def holds(where: Where, event: Event) -> bool:
    """Whether a condition is true for an event. Raises ``ValueError`` with the reason if it has no answer."""
    values = values_of(event, where.needs)
    return where.holds(context_of(values), values)


_TOO_MUCH = "the evaluation would take too long for an event of this size; use fewer loops, or a simpler pattern"


def _needs(plan: Iterable[Route]) -> Mapping[str, Fields]:
    """The variables in the expressions of a plan, with the fields of ``before`` and ``after`` (``None``: all)."""
    needs: dict[str, Fields] = {}
    for route in plan:
        for name, fields in (route.where.needs if route.where else {}).items():
            known = needs.get(name, frozenset())
            needs[name] = None if fields is None or known is None else known | fields
    return needs
