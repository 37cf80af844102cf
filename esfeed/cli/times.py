"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from esfeed.config.types import seconds
from esfeed.errors import ConfigError
from esfeed.model.times import moment

_EPOCH = datetime.fromtimestamp(0, UTC)


def milliseconds(option: str, text: str, now: datetime) -> int:
    """Epoch milliseconds of ``text``: ISO 8601 (UTC if it has no zone), or a duration ago such as ``24h``.

    Raises ``ConfigError`` that names the option if the text is no time, or a time in the future.
    """
    try:
        when = now - timedelta(seconds=seconds(text))
    except ValueError:
        try:
            when = moment(text)
        except ValueError:
            hint = 'write a time such as "2026-11-24T10:00:00Z", or how long ago, such as "24h" or "7d"'
            raise ConfigError(option, text, hint) from None
    except OverflowError:
        raise ConfigError(option, text, "that is too long ago; write a shorter duration") from None
    if when > now:
        raise ConfigError(option, text, f"that is in the future (it is {now:%Y-%m-%dT%H:%M:%SZ} now)")
    return (when - _EPOCH) // timedelta(milliseconds=1)
