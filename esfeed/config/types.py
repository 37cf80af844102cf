"""The types of values in settings: durations, sizes, secrets, and the base model of every section.

Sections are defined where they are used (those of a sink beside the sink, the rest in ``config``). All reject unknown
keys.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from esfeed.envelopes import Format

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 3650 * _UNITS["d"]
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZES = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
_SIZE = re.compile(r"\s*(\d+)\s*([kmg]?b?)\s*", re.IGNORECASE)
_LONGEST_TEXT = 64 << 10


def seconds(value: object) -> float:
    """The seconds of ``"1s"``, ``"5m"``, ``"250ms"``, ``"24h"``, ``"7d"`` or a bare number. Raises ``ValueError``."""
    found: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(min(value, 2 * _LONGEST))
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        found = float(match[1]) * _UNITS[match[2]]
    if found is not None and 0 <= found <= _LONGEST:
        return found
    if found is not None and found > _LONGEST:
        raise ValueError("write a duration of up to ten years")
    raise ValueError('write a duration such as "250ms", "1s", "5m", "24h" or "7d"')


def size_bytes(value: object) -> int:
    """The bytes of ``"10MB"``, ``"64kb"`` (powers of 1024) or a bare number. Raises ``ValueError``."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        unit = match[2].lower()
        return int(match[1]) * _SIZES[unit if unit in _SIZES else unit + "b"]
    raise ValueError('write a size such as "512KB", "64MB" or "1GB"')


def as_tuple(value: object) -> object:
    """A list as a tuple, any other value unchanged: frozen settings have no lists, TOML has nothing else."""
    return tuple(value) if isinstance(value, list) else value


def from_outside(value: object) -> object:
    """The environment variable NAME for ``"env:NAME"``, the text of the file for ``"file:/PATH"``, without the end of
    its last line; any other value unchanged. Raises ``ValueError``.
    """
    path = named_file(value)
    return from_environment(value) if path is None else _text(path)


def named_file(value: object) -> Path | None:
    """PATH for ``"file:/PATH"``; ``None`` for any other value, also a URL (``file://``)."""
    if isinstance(value, str) and value.startswith("file:/") and not value.startswith("file://"):
        return Path(value.removeprefix("file:"))
    return None


def from_environment(value: object) -> object:
    """The environment variable NAME for ``"env:NAME"``; any other value unchanged. Raises ``ValueError``."""
    if not (isinstance(value, str) and value.startswith("env:")):
        return value
    name = value.removeprefix("env:")
    if name not in os.environ:
        raise ValueError(f"the environment variable {name} is not set; set it, or write the value in the settings")
    return os.environ[name]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_TEXT + 1)
    except OSError as error:
        raise ValueError(
            f"the file {path} cannot be read ({error.strerror}); create it, or let the user of esfeed read it"
        ) from None
    if len(raw) > _LONGEST_TEXT:
        raise ValueError(f"the file {path} has more than {_LONGEST_TEXT:,} bytes; name a file that has only the value")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is not UTF-8; name a file that has only the value") from None
    if not text.rstrip("\r\n"):
        raise ValueError(f"the file {path} is empty; write the value into it")
    return text.removesuffix("\n").removesuffix("\r")


class Misplaced(ValueError):
    """An error of several keys of a section together, which belongs to one ``key``."""

    def __init__(self, key: str, hint: str) -> None:
        super().__init__(hint)
        self.key = key


Duration = Annotated[float, BeforeValidator(seconds)]
Size = Annotated[int, BeforeValidator(size_bytes)]
Text = Annotated[str, BeforeValidator(from_outside)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Secret = Annotated[SecretStr, BeforeValidator(from_outside)]


class Section(BaseModel):
    """Base of every section of the settings: frozen, strict about types, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SinkSection(Section):
    """The keys that all sinks have in common; a sink adds its own."""

    type: str = Field(description="the type of the sink")
    format: Format = Field("cloudevents", description="the format of events")
    batch: int = Field(100, ge=1, le=10_000, description="the limit of events per batch")
    batch_bytes: Size = Field(16 << 20, ge=1, description="the limit of bytes per batch; a larger event goes alone")
    linger: Duration = Field(0.0, le=3600, description="how long a batch waits for more events")
    attempts: int = Field(
        25,
        ge=1,
        le=10_000,
        description="how often to try an event before it is a dead letter (see `esfeed dead`), with pauses of up to ten"
        " minutes (25: two hours); while the whole target is down, attempts do not count",
    )
    ttl: Duration | None = Field(None, gt=0, description="drop events that are older")
    persist: bool = Field(
        True,
        description="false: best effort, from memory; nothing is stored, retried or sent after a restart",
    )
    coalesce: Duration = Field(
        0.0,
        le=3600,
        description="send only the latest state of a document within this time",
    )

    @model_validator(mode="after")
    def _what_needs_the_log(self) -> Self:
        if not self.persist and (needs := sorted({"attempts", "coalesce"} & self.model_fields_set)):
            raise Misplaced(
                needs[0], "remove it or persist = false: a sink without the log does not retry or merge events"
            )
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__doc__:
            raise TypeError(f"{cls.__name__} needs a docstring: the reference of settings is made from it")
