"""Reads what lies behind the cursor of a sink into a page: routed, and merged if the sink coalesces.

A sink that coalesces works window by window. A window holds the rows that were logged within its span after the first
one. It depends only on the log, and the cursor moves from the end of one window to the end of the next, never into the
middle. So after any crash, the same rows become the same events with the same ids.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.page import DeliveryPage, Unsure, grouped, seconds, within
from esfeed.delivery.retry_queue import RetryQueue
from esfeed.model.event import Event
from esfeed.ports import Log, LogRow
from esfeed.routing.router import RouteFailed, Router

MAX_PARKED = 10_000
"""The limit of events of a sink that are parked for a retry. Beyond it, the cursor waits."""

_LOOK_FURTHER = 1000


class LogReader:
    """Reads for one sink. ``in_window``: some merged events of the current window are not sent yet."""

    def __init__(self, name: str, router: Router, event_log: Log, options: DeliveryOptions) -> None:
        self._name = name
        self._router = router
        self._watches = router.watches(name)
        self._log = event_log
        self._options = options
        self._window: int | None = None
        self._rows: tuple[int, Sequence[LogRow]] = (-1, ())

    @property
    def in_window(self) -> bool:
        return self._window is not None

    def shape(self, event: Event) -> Event | None:
        """The event as the sink gets it, ``None`` if it does not get it. Raises :class:`~.page.Unsure`."""
        try:
            return self._router.shape(self._name, event)
        except RouteFailed as error:
            raise Unsure(str(error)) from error

    def page(
        self, at: int, now: float, retry_queue: RetryQueue, taken: Collection[int], doubt: bool
    ) -> DeliveryPage | None:
        """What lies behind ``at``, without ``taken``; ``None`` for nothing. ``doubt``: look further than usual.

        ``wait`` of the page is the time in seconds until the window closes. Until then, the page has no items.
        """
        wide = doubt or self._options.coalesce or self._options.linger
        limit = max(self._options.batch, _LOOK_FURTHER) if wide else self._options.batch
        if self._window is None or self._rows[0] != at:
            self._rows = at, self._log.read(at, limit)
        rows = self._rows[1]
        if not rows:
            self._window = None
            return None
        mine = [row for row in rows if row.sink in (None, self._name) and row.event.watch in self._watches]
        page = DeliveryPage(rows[-1].position, more=len(rows) >= limit)
        page.done += {row.position for row in rows}.difference(row.position for row in mine)
        if not (self._options.coalesce and mine):
            self._fill(page, [(row.event, [row]) for row in mine], now, retry_queue, taken)
            return page
        if self._window is None:
            count = within(mine, self._options.coalesce)
            if count == len(mine) and not page.more:
                page.wait = left_of(self._options.coalesce, mine[0].event, now)
            if page.wait:
                page.last = mine[0].position - 1
                return page
            self._window = mine[count - 1].position
        window = [row for row in mine if row.position <= (self._window or 0)]
        page.last = page.last if len(window) == len(mine) else self._window
        self._fill(page, grouped(window), now, retry_queue, taken)
        return page

    def settled(self, position: int, page: DeliveryPage) -> None:
        """Ends the window if the cursor, now at ``position``, has passed ``page``."""
        if position >= page.last:
            self._window = None

    def _fill(
        self,
        page: DeliveryPage,
        groups: Sequence[tuple[Event | None, Sequence[LogRow]]],
        now: float,
        retry_queue: RetryQueue,
        taken: Collection[int],
    ) -> None:
        oldest = self._options.oldest(now)
        for index, (raw, group) in enumerate(groups):
            if group[-1].position in taken:
                continue
            parked = group[0].document in retry_queue
            if parked and retry_queue.count + len(page.waiting) >= MAX_PARKED:
                page.last = min(rows[0].position for _, rows in groups[index:]) - 1
                return
            page.add(raw, group, self.shape, oldest, parked)


def left_of(span: float, first: Event, now: float) -> float:
    """Seconds until ``span`` has passed since ``first`` was logged; 0 if it has, or if that time is unknown.

    A time in the future means that the clock was set back. Then the result is 0 too: waiting would take as long as the
    clock was set back.
    """
    begun = seconds(first)
    return 0.0 if begun > now else max(0.0, begun + span - now)
