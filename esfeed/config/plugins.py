"""Finds sinks and profiles by name, through the entry points ``esfeed.sinks`` and ``esfeed.profiles``.

Imports only what the settings name, so an unused sink does not need its client library.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points

from esfeed.config.types import SinkSection
from esfeed.errors import ConfigError
from esfeed.ports import Profile

SINKS = "esfeed.sinks"
PROFILES = "esfeed.profiles"


@cache
def declared(group: str) -> EntryPoints:
    """The entry points of that group, read once: this reads a file of every installed package."""
    return entry_points(group=group)


def sink_names() -> list[str]:
    """The declared types of sinks, sorted. Imports nothing."""
    return sorted({point.name for point in declared(SINKS)})


def profile_names() -> list[str]:
    """The declared profiles, sorted. Imports nothing."""
    return sorted({point.name for point in declared(PROFILES)})


def sink_class(type_name: str) -> type:
    """The class of the sinks of a type. Its attribute ``Settings`` is the model of its section.

    Raises :class:`ConfigError` (key ``type``) if the type is not declared or cannot be loaded.
    """
    found = _load(SINKS, "type", type_name)
    settings = getattr(found, "Settings", None)
    if not (isinstance(found, type) and isinstance(settings, type) and issubclass(settings, SinkSection)):
        raise ConfigError("type", type_name, f"{found!r} is not a sink: it has no Settings based on SinkSection")
    return found


def profile(name: str) -> Profile:
    """A new profile of that name. Raises :class:`ConfigError` (key ``profile``) as :func:`sink_class` does."""
    found = _load(PROFILES, "profile", name)
    try:
        made = found()  # type: ignore[operator]  # whatever the entry point names; the check follows
    except Exception as error:
        raise ConfigError("profile", name, f"it cannot be created: {_text(error)}") from error
    if not callable(getattr(made, "describe", None)):
        raise ConfigError("profile", name, f"{found!r} is not a profile: it has no method describe(change)")
    return made  # type: ignore[no-any-return]


def one_of(names: Iterable[str], near: object = None) -> str:
    """A hint about ``names``: the one most similar to ``near``, otherwise all of them."""
    names = sorted(names)
    close = difflib.get_close_matches(near, names, 1) if isinstance(near, str) and len(near) < 100 else []
    if close:
        return f'did you mean "{close[0]}"?'
    return "none is defined" if not names else "known: " + ", ".join(f'"{name}"' for name in names)


def _load(group: str, key: str, name: str) -> object:
    points = {point.value: point for point in declared(group) if point.name == name}
    if not points:
        names = {point.name for point in declared(group)}
        if not names:
            raise ConfigError(key, name, f"no package declares {group}; install esfeed with pip")
        raise ConfigError(key, name, f"no such {key}; {one_of(names, name)}")
    if len(points) > 1:
        raise ConfigError(key, name, f"two packages declare it ({', '.join(sorted(points))}); uninstall one of them")
    (point,) = points.values()
    try:
        return point.load()
    except ImportError as error:
        raise ConfigError(key, name, _install(point, error)) from error
    except Exception as error:
        # The import of a plugin can run anything. Its errors are those of the plugin, not of the user.
        raise ConfigError(key, name, f"{point.value} cannot be loaded: {_text(error)}") from error


def _install(point: EntryPoint, error: ImportError) -> str:
    package = point.dist.name if point.dist else "esfeed"
    extra = point.extras[0] if point.extras else point.name
    own = (error.name or "").partition(".")[0] == point.module.partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or own:
        why = f"{point.value} cannot be imported ({error})"
    else:
        why = f"it needs the Python module {error.name}, which is not installed"
    return f"{why}; run: pip install '{package}[{extra}]'"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
