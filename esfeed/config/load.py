"""Reads the settings file: from TOML to validated, frozen settings, or one error that lists everything wrong with it.

A relative path in the file is relative to the working directory, not to the file. A text can be ``"env:NAME"`` or
``"file:/PATH"``. Without any routes, every watch goes to every sink.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from esfeed.config import plugins
from esfeed.config.errors import SECRET, ConfigErrors, Fault, join, of_section, out_of_range, shown, unknown
from esfeed.config.http import HttpSettings
from esfeed.config.models import ClusterSettings, Wait, WatchSettings
from esfeed.config.plugins import one_of
from esfeed.config.routes import RouteSettings
from esfeed.config.types import Section, SinkSection, Size, Text
from esfeed.errors import ConfigError
from esfeed.routing.cel import compile_where
from esfeed.routing.patterns import Patterns
from esfeed.routing.router import Route, Router

__all__ = [
    "ClusterSettings",
    "Config",
    "ConfigErrors",
    "HttpSettings",
    "RouteSettings",
    "WatchSettings",
    "build",
    "load",
    "parse",
]

_Model = TypeVar("_Model", bound=Section)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_EXAMPLES = {
    "clusters": '[clusters.main] with hosts = ["http://127.0.0.1:9200"]',
    "watches": '[watches.mine] with index = "my-index"',
    "sinks": '[sinks.out] with type = "stdout"',
}


def _state(url: str) -> str:
    if not re.match(r"sqlite(\+\w+)?://", url):
        raise ValueError('only SQLite is supported so far; write "sqlite:///esfeed.db"')
    return url


class Config(Section):
    """All settings. ``clusters``, ``watches`` and ``sinks`` by their names, in the order of the file."""

    state: Annotated[Text, AfterValidator(_state)] = Field(
        "sqlite:///esfeed.db", description="where the feed stores its state: a SQLite file"
    )
    ttl: Wait = Field(7 * 86400.0, description="how long the log keeps an event, delivered or not")
    max_log: Size = Field(
        10 << 30,
        ge=1 << 20,
        description="the limit of bytes of events in the log; beyond it, the oldest are removed, delivered or not",
    )
    clusters: dict[str, ClusterSettings] = Field(description="the clusters to read from, by name")
    watches: dict[str, WatchSettings] = Field(description="what to follow, by name")
    sinks: dict[str, SinkSection] = Field(description="the targets of events, by name")
    routes: tuple[RouteSettings, ...] = Field(
        (), description="which events a sink receives; default: every watch goes to every sink"
    )
    http: HttpSettings | None = Field(None, description="serves the feed over HTTP")

    def router(self) -> Router:
        """The compiled routes."""
        routes = [
            Route(
                index,
                frozenset(route.sinks),
                frozenset(route.watches),
                None if route.where is None else compile_where(route.where),
                route.admin,
                None if route.types is None else Patterns(route.types),
                route.shape(),
                route.tenant,
                route.on_error == "skip",
            )
            for index, route in enumerate(self.routes)
        ]
        timestamps = {name: watch.timestamp_field for name, watch in self.watches.items()}
        return Router(routes, self.sinks, self.watches, timestamps)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is valid, but probably a mistake, such as an unused section or ``where`` on unstored contents."""
        return (*self._unused(), *self._shadowed(), *self._not_kept(), *self._in_clear(), *self._anonymous())

    def _unused(self) -> list[str]:
        if not self.routes:
            return []
        sinks = {sink for route in self.routes for sink in route.sinks}
        watches = {watch for route in self.routes for watch in route.watches or self.watches}
        unused = [join("watches", name) for name in self.watches if name not in watches]
        unused += [join("sinks", name) for name in self.sinks if name not in sinks]
        return [f"{key}: no route uses it; name it in a [[routes]] section, or remove it" for key in unused]

    def _shadowed(self) -> list[str]:
        found = []
        taken: dict[tuple[str, str, bool], int] = {}
        for index, route in enumerate(self.routes):
            pairs = [(sink, watch, route.admin) for sink in route.sinks for watch in route.watches or self.watches]
            earlier = [taken.get(pair) for pair in pairs]
            if pairs and None not in earlier:
                found.append(
                    f"routes[{index}]: routes[{earlier[0]}] takes all its events; put the narrower route first"
                )
            if route.where is None and route.types is None and route.tenant is None:
                for pair in pairs:
                    taken.setdefault(pair, index)
        return found

    def _in_clear(self) -> list[str]:
        if self.http is None or not self.http.in_clear:
            return []
        return [f"http.listen: {self.http.listen} serves tokens and events unencrypted; set http.certificate, or listen"
                " at 127.0.0.1 behind a proxy that speaks https"]  # fmt: skip

    def _anonymous(self) -> list[str]:
        if self.http is None or self.http.anonymous == "never":
            return []
        return [
            "http.anonymous: every program on this machine can read everything and redrive, and so can every client "
            "of a proxy here; remove the key, and use a token or the link that `esfeed run` prints"
        ]

    def _not_kept(self) -> list[str]:
        found = []
        for index, route in enumerate(self.routes):
            needs = compile_where(route.where).needs if route.where else {}
            names = [name for name in ("before", "changed") if name in needs]
            forgetful = [name for name in route.watches or self.watches if not self.watches[name].keep_documents]
            if names and forgetful:
                found.append(
                    f"routes[{index}].where: {names[0]} is null in every event of {join('watches', forgetful[0])},"
                    " which has keep_documents = false"
                )
        return found


def load(path: Path) -> Config:
    """Reads the settings from a file. Raises one :class:`ConfigError` for all errors, or if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        first = "; ".join(_EXAMPLES.values())
        hint = f"no such file; set --config or ESFEED_CONFIG, or create it: {first}"
        raise ConfigError("--config", str(path), hint) from None
    except IsADirectoryError:
        raise ConfigError("--config", str(path), "it is a directory; name a file") from None
    except UnicodeDecodeError as error:
        hint = f"not UTF-8 at byte {error.start}; save it as UTF-8"
        raise ConfigError("--config", str(path), hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError("--config", str(path), f"it cannot be read: {reason}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Reads the settings from ``text``, the content of ``path`` (for messages). Raises :class:`ConfigError`."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(text, path, error) from None
    return build(data)


def build(data: Mapping[str, Any]) -> Config:
    """Makes the settings from tables and values of TOML. Raises one :class:`ConfigError` that lists every error."""
    return _Builder(data).build()


class _Builder:
    """Checks the tables once and collects all errors, so that a user sees them at the same time."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.faults: list[ConfigError] = []
        self.numbers = dict(out_of_range(data))

    def build(self) -> Config:
        self._top()
        clusters = {name: self._section(ClusterSettings, at, raw) for name, at, raw in self._tables("clusters")}
        watches = {name: self._watch(at, raw) for name, at, raw in self._tables("watches")}
        sinks = {name: self._sink(at, raw) for name, at, raw in self._tables("sinks")}
        routes = [self._route(at, raw) for at, raw in self._routes()]
        http = self._http()
        whole = {
            "clusters": {name: made for name, made in clusters.items() if made},
            "watches": {name: made for name, made in watches.items() if made},
            "sinks": {name: made for name, made in sinks.items() if made},
            "routes": tuple(made for made in routes if made),
            "http": http,
        }
        config = self._section(
            Config, "", {**{key: self.data[key] for key in ("state", "ttl", "max_log") if key in self.data}, **whole}
        )
        faults = [*self.numbers.values(), *(fault for fault in self.faults if fault.key not in self.numbers)]
        if faults or config is None:
            raise faults[0] if len(faults) == 1 else ConfigErrors(faults)
        return config

    def _fault(self, key: str, value: object, hint: str) -> None:
        self.faults.append(Fault(key, shown(value), hint))

    def _top(self) -> None:
        known = [*Config.model_fields]
        guessed = set()
        for name in self.data:
            if name not in known:
                fault = unknown("", name, known)
                guessed |= {table for table in _EXAMPLES if f'"{table}"?' in fault.hint}
                self.faults.append(fault)
        for table, example in _EXAMPLES.items():
            if self.data.get(table, {}) == {} and table not in guessed:
                self._fault(table, None, f"define at least one, such as {example}")

    def _tables(self, table: str) -> list[tuple[str, str, Mapping[str, Any]]]:
        """The named sections of a kind: name, key, content. Anything that is not a table is an error, and left out."""
        raw = self.data.get(table, {})
        if not isinstance(raw, dict):
            self._fault(table, None, f"write one section for each, such as {_EXAMPLES[table]}")
            return []
        found: list[tuple[str, str, Mapping[str, Any]]] = []
        for name, section in raw.items():
            at = join(table, name)
            if not _NAME.fullmatch(name):
                self._fault(at, None, "a name has 1 to 64 letters (a-z, A-Z), digits, _, - or .")
            elif isinstance(section, dict):
                found.append((name, at, section))
            else:
                self._fault(at, None, f"write a section of its own, such as {_EXAMPLES[table]}")
        return found

    def _section(self, model: type[_Model], at: str, raw: Mapping[str, Any]) -> _Model | None:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            self.faults += of_section(model, raw, at, error)
        except Exception as error:
            # A validator can fail in any way on an unexpected value (one of a plugin, or an absurd number).
            if not any(key.startswith(at) for key in self.numbers):
                self._fault(at, None, f"the value is not usable ({type(error).__name__})")
        return None

    def _watch(self, at: str, raw: Mapping[str, Any]) -> WatchSettings | None:
        clusters = self._defined("clusters")
        if "cluster" not in raw and len(clusters) == 1:
            raw = {**raw, "cluster": clusters[0]}
        made = self._section(WatchSettings, at, raw)
        cluster, profile = raw.get("cluster"), raw.get("profile", "plain")
        if "cluster" not in raw and clusters:
            self._fault(join(at, "cluster"), None, f"is missing, because several are defined; {one_of(clusters)}")
        elif isinstance(cluster, str) and clusters:
            self._names(join(at, "cluster"), [cluster], clusters)
        if isinstance(profile, str):
            try:
                plugins.profile(profile)
            except ConfigError as error:
                self._fault(join(at, "profile"), profile, error.hint)
        return made

    def _sink(self, at: str, raw: Mapping[str, Any]) -> SinkSection | None:
        key, kind = join(at, "type"), raw.get("type")
        if not isinstance(kind, str):
            hint = f"{'is missing' if kind is None else 'write a string in quotes'}; {one_of(plugins.sink_names())}"
            self._fault(key, kind, hint)
            return None
        try:
            model: type[SinkSection] = plugins.sink_class(kind).Settings  # type: ignore[attr-defined]  # it was checked
        except ConfigError as error:
            self._fault(key, kind, error.hint)
            return None
        return self._section(model, at, raw)

    def _http(self) -> HttpSettings | None:
        raw = self.data.get("http")
        if raw is None:
            return None
        if not isinstance(raw, dict):
            self._fault("http", None, 'write a section of its own: [http] with listen = "127.0.0.1:8460"')
            return None
        return self._section(HttpSettings, "http", raw)

    def _routes(self) -> list[tuple[str, Mapping[str, Any]]]:
        raw = self.data.get("routes", [])
        if isinstance(raw, list) and all(isinstance(route, dict) for route in raw):
            return [(f"routes[{index}]", route) for index, route in enumerate(raw)]
        self._fault("routes", None, "write each as a section of its own in double brackets: [[routes]]")
        return []

    def _route(self, at: str, raw: Mapping[str, Any]) -> RouteSettings | None:
        made = self._section(RouteSettings, at, raw)
        for key in ("watches", "sinks"):
            if isinstance(raw.get(key), list):
                self._names(join(at, key), raw[key], self._defined(key))
        where = raw.get("where")
        if isinstance(where, str):
            try:
                compile_where(where)
            except ValueError as error:
                self._fault(join(at, "where"), None, str(error))
        if made is not None and made.tenant is not None:
            self._owned(at, made)
        return made

    def _owned(self, at: str, route: RouteSettings) -> None:
        """Checks that the watches of a tenant's route know the owner of each resource in every event."""
        watches = self.data.get("watches")
        for name, watch in watches.items() if isinstance(watches, dict) else ():
            if not isinstance(watch, dict) or (route.watches and name not in route.watches):
                continue
            if watch.get("profile", "plain") == "plain":
                hint = f'watch "{name}" does not know the owners of its documents; set profile = "searchlight" there'
                self._fault(join(at, "tenant"), route.tenant, hint)
            if watch.get("keep_documents") is False:
                hint = f'watch "{name}" would not know the owner of a deleted document; remove keep_documents there'
                self._fault(join(at, "tenant"), route.tenant, hint)
            if watch.get("initial") == "now":
                hint = (
                    f'watch "{name}" would not know the owner of a document that is deleted before it changes; remove '
                    "initial there; where = \"op != 'read'\" here leaves out the existing documents, and every backfill"
                )
                self._fault(join(at, "tenant"), route.tenant, hint)

    def _defined(self, table: str) -> list[str]:
        raw = self.data.get(table)
        return [*raw] if isinstance(raw, dict) else []

    def _names(self, key: str, names: list[object], known: list[str]) -> None:
        for name in names:
            if isinstance(name, str) and name not in known:
                self._fault(key, name, f"no such name; {one_of(known, name)}")


def _broken(text: str, path: Path, error: Exception) -> ConfigError:
    """A TOML error with its position and the line, unless the line may contain a secret."""
    what = str(error) if isinstance(error, ValueError) else "nested too deep"
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", what)
    what = what[: match.start()] if match else what
    what = re.sub(r"Cannot (overwrite|mutate|declare) .*", "a key or section appears twice", what)
    what = re.sub(r"Illegal character '\\n'", "a quote is not closed on its line", what)
    what = what[:1].lower() + what[1:300]
    if not match:
        return ConfigError(str(path), None, f"not TOML: {what}")
    lines = text.split("\n")
    line = int(match[1] or len(lines))
    column = int(match[2] or len(lines[-1]) + 1)
    return ConfigError(f"{path}, line {line}, column {column}", None, f"{what}\n    {_line(lines, line - 1)}")


def _line(lines: list[str], number: int) -> str:
    """A line for a message: only its first word if it, or the value that it continues, may be secret."""
    start = number
    while start > 0 and not re.match(r"\s*(\[[^\]\"']+\]|[\w.\"' -]+=)", lines[start]):
        start -= 1
    if SECRET.search("\n".join(lines[start : number + 1])):
        word = re.match(r"\s*[\w.-]*", lines[number]) if start == number else None
        return f"{word[0][:100] if word else ''} …"
    return str(shown(lines[number]))
