"""Reads the header ``Retry-After``. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(text: str | None, now: datetime) -> float | None:
    """The seconds that a ``Retry-After`` asks for; ``None`` if it is missing or unreadable.

    Both forms of RFC 9110 §10.2.3: seconds, or an HTTP date. The caller sets a limit.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)  # "-0000" means UTC, from an unknown time zone
    return max(0.0, (date - now).total_seconds())
