"""What a tracker follows, and how long it waits for the refreshes of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esfeed.model.reads import Index

_LEAST_PATIENCE = 60.0
_REFRESHES = 10


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """What to follow and how.

    ``overlap`` is in seconds. An empty ``timestamp_field`` means: by the counters alone. ``assumed``: the settings do
    not name this field, so if there is no such date, the tracker treats it as empty.

    ``learn``: the first reading stores ids and versions and reports nothing. ``eager``: read everything whenever that
    is needed, as for a single poll from cron. A daemon waits for one more poll, because most operations only lack a
    refresh, and spends up to a tenth of its time on full readings. ``refresh``: ask the engine for a refresh before
    each look. ``verify``: seconds after which a full reading is due, whatever the counters show.
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
    """Seconds between two refreshes of the slowest index; infinite if an index has no scheduled refreshes."""
    return max((one.refresh if one.refresh >= 0 else float("inf") for one in indices), default=0.0)


def patience(indices: Sequence[Index]) -> float:
    """Seconds after which a due refresh must have come; infinite if an index has no scheduled refreshes."""
    return max(_LEAST_PATIENCE, _REFRESHES * slowest(indices))
