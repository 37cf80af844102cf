"""Makes the reference of settings from the models themselves, so that it cannot say anything else than they do.

``.. esfeed-section:: module:Model`` with ``:prefix: watches.NAME`` lists the keys of one model. ``.. esfeed-sinks::``
does so for every type of sink that this package declares by entry point, each under a heading of its own.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from docutils import nodes
from docutils.parsers.rst import directives
from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from esfeed.config.types import SinkSection, from_outside, seconds, size_bytes
from esfeed.routing.template import Template

_BY_READER = {seconds: 'a duration, such as "5s"', size_bytes: 'a size, such as "64MB"'}
_BY_NAME = {"_share": 'a share, such as "30%"', "_file": "a path of a file", "_credentials": "a secret text"}
_BY_TYPE: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path of a file",
    SecretStr: "a secret text",
    Template: 'text with placeholders, such as "{project_id}"',
    Any: "any value",
}
_TIMES = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10))


def words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """The kind of value that a key takes, in plain words."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return words(inner, [*more, *metadata])
    readers = [note.func for note in metadata if isinstance(note, BeforeValidator)]
    for reader in readers:
        if reader in _BY_READER:
            return _BY_READER[reader] + _bounds(metadata, reader)
        if getattr(reader, "__name__", "") in _BY_NAME:
            return _BY_NAME[reader.__name__]
    named = ', "env:NAME" or "file:/PATH"' if from_outside in readers else ""
    return _plain(annotation) + _bounds(metadata) + named


def _plain(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        kinds = [words(part) for part in inner if part is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return "one of " + ", ".join(_shown(value) for value in inner) if len(inner) > 1 else _shown(inner[0])
    if origin in (tuple, list, frozenset, set):
        return "a list: " + words(inner[0])
    if origin is dict:
        return "a table; each value is " + words(inner[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a table with the keys below"
    if annotation in _BY_TYPE:
        return _BY_TYPE[annotation]
    raise TypeError(f"say in docs/_ext/esfeed_settings.py what {annotation!r} is in plain words")


def _bounds(metadata: Iterable[Any], reader: Any = None) -> str:
    def said(value: Any) -> str:
        return _time(value) if reader is seconds else _size(value) if reader is size_bytes else f"{value:g}"

    found = {key: getattr(note, key) for note in metadata for key in ("ge", "gt", "le", "lt") if hasattr(note, key)}
    parts = [
        f"{word} {said(found[key])}"
        for key, word in (("ge", "from"), ("gt", "more than"), ("le", "to"), ("lt", "less than"))
        if key in found and not (reader is size_bytes and found[key] == 1)
    ]
    return f" ({(', ' if 'gt' in found else ' ').join(parts)})" if parts else ""


def _time(value: float) -> str:
    for unit, size in _TIMES:
        if value >= size and value % size == 0:
            return f"{value / size:.0f}{unit}"
    return f"{value * 1000:.0f}ms" if value else "0s"


def _size(value: int) -> str:
    for unit, size in _SIZES:
        if value >= size and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def default(field: FieldInfo) -> str | None:
    """What a key stands for where it is left out, as TOML would write it; ``None`` where it must be written."""
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    readers = [note.func for note in _notes(field) if isinstance(note, BeforeValidator)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        if seconds in readers:
            return f'"{_time(value)}"'
        if size_bytes in readers:
            return f'"{_size(value)}"'
    return _shown(value)


def _notes(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    pending = [field.annotation]
    while pending:
        part = pending.pop()
        if get_origin(part) is Annotated:
            yield from get_args(part)[1:]
        if get_origin(part) in (Annotated, Union, types.UnionType):
            pending += [inner for inner in get_args(part) if inner is not type(None)]


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined or value in ((), {}, [], ""):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    if isinstance(value, BaseModel):
        return "that of each key below"
    return f'"{value}"' if isinstance(value, str | Path | Template) else str(value)


def prose(text: str) -> str:
    """A description as reStructuredText: what stands in backticks is literal, nothing else is markup."""
    parts = re.split(r"(`+[^`]+`+)", text)
    told = "".join(
        f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"([*|\\]|_(?!\w))", r"\\\1", part)
        for part in parts
    )
    told = re.sub(r"docs/([\w/-]+)\.rst", r":doc:`/\1`", told)
    told = told.strip()
    # A description that begins with a value ("false: …") keeps it as it is written.
    told = told if re.match(r"\w+:", told) else told[:1].upper() + told[1:]
    return told + ("" if told.endswith((".", "…")) else ".")


def section(model: type[BaseModel], prefix: str, without: Iterable[str] = ()) -> list[str]:
    """The keys of a model, those that must be written first, as lines of reStructuredText."""
    lines: list[str] = []
    for name, field in sorted(model.model_fields.items(), key=lambda item: not item[1].is_required()):
        key = field.alias or name
        if key in without:
            continue
        if not field.description:
            raise ValueError(f"{model.__name__}.{name} needs a description: the reference of settings is made from it")
        told = default(field)
        lines += [f".. confval:: {prefix}{key}", f"   :type: {_literal(words(field.annotation, field.metadata))}"]
        lines += ["   :default: must be written" if told is None else f"   :default: {_literal(told, told != 'none')}"]
        lines += ["", f"   {prose(field.description)}", ""]
        for inner in _models(field.annotation):
            many = get_origin(field.annotation) in (tuple, list, Annotated)
            lines += [f"   {line}" if line else "" for line in section(inner, f"{prefix}{key}{'[]' if many else ''}.")]
    return lines


def _literal(text: str, code: bool = False) -> str:
    return f"``{text}``" if code else re.sub(r"([*|`])", r"\\\1", text)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


class SectionDirective(SphinxDirective):
    """``.. esfeed-section:: module:Model``."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"prefix": directives.unchanged, "without": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        model = getattr(import_module(module), name)
        prefix = self.options.get("prefix", "")
        lines = section(model, f"{prefix}." if prefix else "", self.options.get("without", "").split())
        return self.parse_text_to_nodes("\n".join(lines))


def own_sinks() -> list[EntryPoint]:
    """The types of sink that esfeed itself declares; whatever else is installed here is not its to document."""
    found = {p.name: p for p in entry_points(group="esfeed.sinks") if p.dist is not None and p.dist.name == "esfeed"}
    return [found[name] for name in sorted(found)]


class SinksDirective(SphinxDirective):
    """``.. esfeed-sinks::``."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for point in own_sinks():
            model: type[SinkSection] = point.load().Settings
            about = (model.__doc__ or "").strip().split("\n\n")[0]
            lines += [f".. _settings-sink-{point.name}:", "", point.name, "~" * len(point.name), ""]
            lines += [prose(" ".join(about.split())), ""]
            if point.extras:
                lines += [f"Needs ``pip install 'esfeed[{','.join(point.extras)}]'``.", ""]
            for page in (f"sinks/{point.name}", point.name):
                if (Path(self.env.srcdir) / f"{page}.rst").exists():
                    lines += [f"How it works: :doc:`/{page}`.", ""]
                    break
            changed = [n for n, f in SinkSection.model_fields.items() if _differs(model.model_fields[n], f)]
            common = [name for name in SinkSection.model_fields if name not in changed]
            lines += section(model, f"sinks.{point.name}.", ["type", *common])
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _differs(own: FieldInfo, common: FieldInfo) -> bool:
    return (own.annotation, own.default, own.metadata) != (common.annotation, common.default, common.metadata)


def setup(app: Sphinx) -> dict[str, Any]:
    """Told to Sphinx."""
    app.add_directive("esfeed-section", SectionDirective)
    app.add_directive("esfeed-sinks", SinksDirective)
    return {"version": "1", "parallel_read_safe": True, "env_version": 1}
