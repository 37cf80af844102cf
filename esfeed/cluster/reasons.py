"""Finds the reason of an error in the answer of an engine. No I/O.

The best text is usually in ``root_cause``. If that is empty, and the ``reason`` of the error is also empty (or only
says that shards failed), one of the causes has it, some levels down.
https://www.elastic.co/guide/en/elasticsearch/reference/7.17/common-options.html#common-options-error-options
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_DEEPEST = 100
_MAX_CAUSES = 100
_LONGEST = 300
_SHORT = 200
_SAYS_LITTLE = re.compile(r"(?i)(all shards failed|partial shards failure|no reason given|null)?\W*")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]+")


class Reason(NamedTuple):
    """The type of an error (the name of an exception, if the engine gives one), and its text."""

    kind: str | None
    text: str


def of_body(body: object) -> Reason:
    """The reason in the body of a response: the error of an engine, or the beginning of the body."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Reason(None, _line(text)[:_SHORT])
    if isinstance(found, dict) and "error" in found:
        return of_error(found["error"])
    return Reason(None, _line(text)[:_SHORT])


def of_error(error: object) -> Reason:
    """The reason in an ``error`` (or in the ``reason`` of a failed shard): the first text that says something."""
    if not isinstance(error, dict):
        return Reason(None, _line(str(error))[:_SHORT])
    kind, little = None, ""
    for cause in _causes(error):
        text = _text(cause.get("reason"))
        if not _SAYS_LITTLE.fullmatch(text):
            return Reason(_kind(cause) or kind or _kind(error), text[:_LONGEST])
        kind, little = kind or _kind(cause), little or text
    return Reason(kind, little)


def of_failures(failures: object) -> Reason | None:
    """The reason in the first failure of a shard that has one."""
    for failure in failures[:_MAX_CAUSES] if isinstance(failures, list) else ():
        if isinstance(failure, dict) and failure.get("reason"):
            return of_error(failure["reason"])
    return None


def _causes(error: dict[str, object]) -> Iterator[dict[str, object]]:
    """The causes of an error, the most informative first: root causes, the error, its causes, failed shards."""
    roots = error.get("root_cause")
    yield from (one for one in (roots[:_MAX_CAUSES] if isinstance(roots, list) else ()) if isinstance(one, dict))
    cause: object = error
    for _ in range(_DEEPEST):
        if not isinstance(cause, dict):
            break
        yield cause
        cause = cause.get("caused_by")
    shards = error.get("failed_shards")
    for shard in shards[:_MAX_CAUSES] if isinstance(shards, list) else ():
        cause = shard.get("reason") if isinstance(shard, dict) else None
        for _ in range(_DEEPEST):
            if not isinstance(cause, dict):
                break
            yield cause
            cause = cause.get("caused_by")


def _kind(cause: dict[str, object]) -> str | None:
    kind = cause.get("type")
    return (_line(kind)[:_SHORT] or None) if isinstance(kind, str) else None


def _text(reason: object) -> str:
    if isinstance(reason, dict):  # a reason with its own type, as in the failure of a shard
        return _text(reason.get("reason")) if not isinstance(reason.get("reason"), dict) else ""
    return "" if reason is None else _line(str(reason))


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text[: 4 * _LONGEST]).strip()
