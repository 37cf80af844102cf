"""Reads times in ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """The time that ``text`` says, in UTC if it names no zone. Raises ``ValueError`` if it is no time."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
