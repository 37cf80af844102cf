"""Whether a backfill can select documents by the dates in a field, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from esfeed.model.reads import BARE_DATE

_DATES = ("date", "date_nanos")
_FEW = 5

Mapped = Mapping[str, Mapping[str, str]]
"""The types of fields, by index and field."""


def why_not(field: str, mapped: Mapped, *, by_date: bool, empty: bool) -> str:
    """Why a backfill cannot use ``field``, and which fields it can use; empty if it can use ``field``.

    An index without the field does no harm if another has it as a date: its documents have no date. ``by_date``: the
    engine must count and sort by the field. ``empty``: there is no document, so no field need exist.
    """
    good = (*_DATES,) if by_date else (*_DATES, BARE_DATE)
    kinds = {index: fields[field] for index, fields in mapped.items() if field in fields}
    wrong = {index: kind for index, kind in kinds.items() if kind not in good}
    if (kinds and not wrong) or (empty and not kinds):
        return ""
    return f"{_what(wrong, len(mapped))}, so a backfill cannot go by it; {_instead(field, mapped, good)}"


def _what(wrong: Mapping[str, str], indices: int) -> str:
    if not wrong:
        return "no document has such a field"
    index, kind = min(wrong.items())
    where = "" if indices == 1 else f" in {index!r}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
    return f"it is mapped as {kind}{where}, not as a date"


def _instead(field: str, mapped: Mapped, good: Sequence[str]) -> str:
    """Names the fields that are dates in every index that has them."""
    names = {name for fields in mapped.values() for name in fields}
    kinds = {name: {fields[name] for fields in mapped.values() if name in fields} for name in names}
    dates = sorted(name for name, found in kinds.items() if found <= {*good})
    if not dates:
        return "there is no date field behind this name"
    near = get_close_matches(field, dates, _FEW)
    some = [*near, *(name for name in dates if name not in near)]
    more = f" and {len(some) - _FEW} more" if len(some) > _FEW else ""
    return f"write one of the date fields there: {', '.join(some[:_FEW])}{more}"
