"""What can go wrong, in few types; each says what happened and how to correct it.

Nothing here imports anything of esfeed, so every room of the house may raise these.
"""

from __future__ import annotations

_BRIEF = 200


def brief(text: str) -> str:
    """``text`` as it may stand in a message: its beginning and its end, where it is longer than a reader reads."""
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

    ``key`` is the dotted path as the user wrote it (``watches.servers.interval``), ``value`` what stands there
    (``None`` where it must not be shown or nothing stands there), ``hint`` what to write instead.
    """

    def __init__(self, key: str, value: object, hint: str) -> None:
        shown = "" if value is None else f" = {brief(repr(value))}"
        super().__init__(f"{key}{shown}", hint)
        self.key = key
        self.value = value
        self.hint = hint


class ClusterError(EsfeedError):
    """The cluster gave no whole, trustworthy answer: no checkpoint moves and nothing counts as deleted."""


class Forbidden(ClusterError):
    """These credentials do not suffice for what was asked."""


class NameGone(ClusterError):
    """The watched name resolves to nothing, or to something that cannot be read now (closed, red)."""


class NothingThere(NameGone):
    """The watched name is of patterns that lead to nothing; a name that must be there is another error."""


class NameMoved(ClusterError):
    """The indices behind the watched name changed in the middle of a read; the next poll starts anew."""


class MassDelete(ClusterError):
    """More documents are gone than the watch's ``mass_delete_limit`` allows without asking."""


class StateError(EsfeedError):
    """The state cannot be used: held by another process, corrupt, read-only, full, or of a newer esfeed."""


class Retryable(EsfeedError):
    """A try failed in a way that a later one may not.

    ``wait`` is how many seconds the other side asked for (``Retry-After``), or ``None`` where it did not say.
    A sink raises this from ``open`` or ``send`` when nothing of the batch arrived, or when it cannot tell what did.
    """

    def __init__(self, message: str, hint: str = "", wait: float | None = None) -> None:
        super().__init__(message, hint)
        self.wait = wait


class Unforeseen(EsfeedError):
    """A part of esfeed, or a plugin, raised what it must not: a mistake in its code. ``__cause__`` is that."""

    def __init__(self, part: str, error: BaseException) -> None:
        said = " ".join(str(error).split())[:300]
        super().__init__(
            f"{part} raised {type(error).__name__}{f' ({said})' if said else ''}",
            "that is a mistake in its code: please report it, with this",
        )


class ReaderGone(EsfeedError):
    """Whoever read the feed has left, as ``head`` does once it has enough.

    No later try can succeed, and no event is at fault: the run is to end, as any program in a pipeline does, with
    the sink's cursor where it is. What the reader had not read is sent again by the next run.
    """
