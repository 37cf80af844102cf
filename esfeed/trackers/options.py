"""What a tracker is told to follow, and how long it is patient with an index's refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esfeed.model.reads import Index

_LEAST_PATIENCE = 60.0
_REFRESHES = 10


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """What to follow and how. ``overlap`` in seconds; ``timestamp_field`` empty: by the counters alone. ``assumed``:
    nobody wrote that field, so where there is no such date it is as if it were empty.

    ``learn``: the first reading learns ids and versions and tells nothing. ``eager``: a full reading whenever one is
    called for (a single poll, for cron); a daemon, which polls on, waits for one more poll, as most operations only
    lack a refresh, and spends a tenth of its time on them at most. ``refresh``: ask the engine for a refresh before
    looking. ``verify``: seconds after which a full reading is due, whatever the counters say.
    """

    watch: str
    index: str
    timestamp_field: str = "updated_at"
    overlap: float = 300.0
    learn: bool = False
    max_page_bytes: int = 32 << 20
    refresh: bool = False
    verify: float | None = None
    eager: bool = True
    assumed: bool = False


def slowest(indices: Sequence[Index]) -> float:
    """Seconds between the refreshes of the index that has fewest; infinite, where one has no scheduled ones."""
    return max((one.refresh if one.refresh >= 0 else float("inf") for one in indices), default=0.0)


def patience(indices: Sequence[Index]) -> float:
    """Seconds after which a refresh that was due must have come; never, where an index has no scheduled ones."""
    return max(_LEAST_PATIENCE, _REFRESHES * slowest(indices))
