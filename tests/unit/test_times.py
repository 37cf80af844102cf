"""Times on the command line: what a person writes, to epoch milliseconds or to an error that names the option."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.cli.times import milliseconds
from esfeed.errors import ConfigError

NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromtimestamp(milliseconds("--since", text, NOW) / 1000, UTC)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("250ms", NOW - timedelta(milliseconds=250)),
        ("1.5m", NOW - timedelta(seconds=90)),
        ("0s", NOW),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T10:00:00Z", NOW),
        ("2026-11-24T12:00:00+02:00", NOW),
        ("2026-11-24 09:59:59.123", datetime(2026, 11, 24, 9, 59, 59, 123000, tzinfo=UTC)),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_what_can_be_written(text: str, when: datetime) -> None:
    """Durations are ago; ISO 8601 is UTC where it names no zone."""
    assert at(text) == when


@pytest.mark.parametrize(
    "text",
    ["", "soon", "yesterday", "24", "h", "-1h", "1e5s", "24 hours", "2026-13-01", "2026-11-24T25:00", "12:00",
     "99999999999d", "1" * 400 + "d", "nan", "inf", "2026-11-24T10:00:01Z", "2099-01-01", "9999-12-31T23:59:59-23:59",
     "\x00", "2026-11-24T10:00:00Z junk"],
)  # fmt: skip
def test_what_cannot_be_written(text: str) -> None:
    """No time, out of range, or in the future: the option is named, with what to write."""
    with pytest.raises(ConfigError) as caught:
        milliseconds("--since", text, NOW)
    assert caught.value.key == "--since"
    assert caught.value.hint


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    """Nothing else comes out, and no time of the future."""
    try:
        found = milliseconds("--since", text, NOW)
    except ConfigError:
        return
    assert found <= NOW.timestamp() * 1000


@given(st.datetimes(max_value=datetime(2026, 11, 24, 9), timezones=st.timezones()))
def test_every_past_time_is_kept_to_the_millisecond(when: datetime) -> None:
    """Any zone's ISO text comes back as the same instant, rounded down to a millisecond."""
    exactly = when - datetime(1970, 1, 1, tzinfo=UTC)
    assert milliseconds("--until", when.isoformat(), NOW) == exactly // timedelta(milliseconds=1)
