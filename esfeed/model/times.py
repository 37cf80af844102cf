"""Reads and writes times in ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """The time that ``text`` says, in UTC if it names no zone. Raises ``ValueError`` if it is no time."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def rfc3339(time: datetime, timespec: str = "milliseconds") -> str:
    """A time in UTC as text (RFC 3339). ``timespec``: see ``datetime.isoformat``."""
    return time.isoformat(timespec=timespec).replace("+00:00", "Z")
