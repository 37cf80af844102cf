"""The errors of esfeed: few types; each says what happened and how to correct it.

This module imports nothing of esfeed, so every package may raise these errors.
"""

from __future__ import annotations

_BRIEF = 200


def brief(text: str) -> str:
    """``text`` shortened for a message: if it is long, only its beginning and its end."""
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 50]} … {text[-40:]}"


def many(number: int, one: str, more: str = "") -> str:
    """``number`` and its noun, in the plural (``more``, or ``one`` with an s) unless it is 1."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


class EsfeedError(Exception):
    """Base of all errors that esfeed raises on purpose.

    ``message`` says what happened; ``hint`` says, in the imperative, what the reader can do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class ConfigError(EsfeedError):
    """A setting or argument is missing, unknown or wrong. Exit code 2.

    ``key`` is the dotted path as the user wrote it (``watches.servers.interval``), ``value`` the current value
    (``None`` if it is secret or absent), ``hint`` what to write instead.
    """

    def __init__(self, key: str, value: object, hint: str) -> None:
        shown = "" if value is None else f" = {brief(repr(value))}"
        super().__init__(f"{key}{shown}", hint)
        self.key = key
        self.value = value
        self.hint = hint


class ClusterError(EsfeedError):
    """The cluster gave no complete, reliable answer: no checkpoint moves and nothing counts as deleted."""


class Forbidden(ClusterError):
    """These credentials have no privilege for the request."""


class NameGone(ClusterError):
    """The watched name resolves to nothing, or to an index that is not readable now (closed, red)."""


class NothingThere(NameGone):
    """The watched name is made of patterns that match nothing; a name that must exist raises another error."""


class NameMoved(ClusterError):
    """The indices behind the watched name changed during a read; the next poll starts again."""


class MassDelete(ClusterError):
    """More documents are gone than ``mass_delete_limit`` of the watch allows without confirmation."""


class StateError(EsfeedError):
    """The state is not usable: held by another process, corrupt, read-only, full, or of a newer esfeed."""


class Retryable(EsfeedError):
    """A try failed in a way that a later one may not.

    ``wait`` is how many seconds the other side asked for (``Retry-After``), or ``None`` if it did not say. A sink
    raises this from ``open`` or ``send`` when nothing of the batch arrived, or when it does not know what did.
    """

    def __init__(self, message: str, hint: str = "", wait: float | None = None) -> None:
        super().__init__(message, hint)
        self.wait = wait


class Unforeseen(EsfeedError):
    """A part of esfeed, or a plugin, raised an unexpected error: a bug. ``__cause__`` is that error."""

    def __init__(self, part: str, error: BaseException) -> None:
        said = " ".join(str(error).split())[:300]
        super().__init__(
            f"{part} raised {type(error).__name__}{f' ({said})' if said else ''}",
            "this is a bug in its code; please report it with this message",
        )


class ReaderGone(EsfeedError):
    """The reader of the feed has left, as ``head`` does once it has enough.

    No later try can succeed, and no event is at fault. The run ends, as any program in a pipeline does, and the cursor
    of the sink stays. The next run sends again what the reader had not read.
    """
