"""Explains errors in the settings: which key, which value, what to write instead.

Never shows a secret: no value of an unknown key, of a key for secrets, or of a key whose name sounds like one. In other
values, it hides everything before an ``@`` or after a ``?``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from esfeed.config.plugins import one_of
from esfeed.config.types import Misplaced
from esfeed.errors import ConfigError

SECRET = re.compile(r"pass|pasw|pwd|secr|tok|key|aut|cred|cookie|sign|priv", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=//)[^\s\"']*@|[^\s/\"']+@")
_QUERY = re.compile(r"(?<=\?)\S+")

_EXPECTED = {
    "missing": "is missing",
    "string_type": 'write a string in quotes, such as "…"',
    "bool_type": "write true or false, without quotes",
    "int_type": "write a whole number, without quotes",
    "int_from_float": "write a whole number",
    "float_type": "write a number, without quotes",
    "tuple_type": 'write a list, such as ["…"]',
    "list_type": 'write a list, such as ["…"]',
    "too_short": "write at least one",
    "string_too_short": "must not be empty",
    "dict_type": "write a table, such as {{ name = … }}",
    "model_type": "write a table, such as {{ name = … }}",
    "path_type": 'write the path of a file in quotes, such as "…"',
    "is_instance_of": 'write a string in quotes, such as "…"',
    "finite_number": "write a finite number",
    "greater_than": "write more than {gt}",
    "greater_than_equal": "write {ge} or more",
    "less_than": "write less than {lt}",
    "less_than_equal": "write {le} or less",
    "literal_error": "write one of {expected}",
}


class Fault(ConfigError):
    """One error in the settings, with the value in TOML syntax."""

    def __init__(self, key: str, value: object, hint: str) -> None:
        super().__init__(key, value, hint)
        self.message = key if value is None else f"{key} = {_toml(value)}"


class ConfigErrors(ConfigError):
    """All errors of one file, in ``errors``. ``key``, ``value`` and ``hint`` are those of the first one."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors[0].key, errors[0].value, errors[0].hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def join(at: str, part: object) -> str:
    """The dotted path of a key or index inside ``at``, in TOML syntax."""
    if isinstance(part, int):
        return f"{at}[{part}]"
    name = str(part)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        name = json.dumps(name, ensure_ascii=False)
    return ".".join(filter(None, (at, name if len(name) < 100 else f"{name[:99]}…")))


def shown(value: object) -> object:
    """The part of a value that a message may show: plain values only, shortened, without user and password."""
    if isinstance(value, str):
        value = _QUERY.sub("…", _USER_INFO.sub("***@", value))
        return value if len(value) <= 100 else f"{value[:99]}…"
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value.bit_length() < 100 else None
    return value if isinstance(value, bool | float) else None


_MEANT = {
    **dict.fromkeys(("user", "username", "password", "auth", "http_auth"), "basic_auth"),
    **dict.fromkeys(("url", "urls", "host"), "hosts"),
}
"""Names that other programs use, with the one that is meant."""


def unknown(at: str, name: str, known: Sequence[str]) -> Fault:
    """The error for an unknown key, with the most similar known one."""
    meant = _MEANT.get(name)
    hint = f'did you mean "{meant}"?' if meant in known else one_of(known, name)
    return Fault(join(at, name), None, f"unknown key; {hint}")


def out_of_range(data: object) -> Iterator[tuple[str, Fault]]:
    """The numbers in ``data`` that are not finite, or too large for TOML, as (key, fault)."""
    todo: list[tuple[str, bool, object]] = [("", False, data)]
    while todo:
        at, secret, value = todo.pop()
        if isinstance(value, dict):
            todo += [(join(at, name), secret or bool(SECRET.search(name)), part) for name, part in value.items()]
        elif isinstance(value, list):
            todo += [(join(at, index), secret, part) for index, part in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            yield at, Fault(at, None if secret else value, "write a finite number")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield at, Fault(at, None if secret else shown(value), "the number is too large")


def of_section(model: type[BaseModel], raw: Mapping[str, Any], at: str, error: ValidationError) -> list[Fault]:
    """The errors that a model found in the section ``raw`` at the key ``at``; one for each key."""
    faults: dict[str, Fault] = {}
    details = error.errors(include_url=False, include_input=False)
    for detail in details:
        if detail["type"] == "too_short" and any(detail["loc"] == other["loc"][:-1] for other in details):
            # pydantic does not count members that have errors themselves
            continue
        fault = _fault(model, raw, at, detail)
        known = faults.get(fault.key)
        if known and fault.hint not in known.hint:
            fault = Fault(fault.key, known.value, f"{known.hint}, or {fault.hint}")
        faults[fault.key] = known if known and fault.hint in known.hint else fault
    return list(faults.values())


def _fault(model: type[BaseModel], raw: Mapping[str, Any], at: str, detail: ErrorDetails) -> Fault:
    kind, context = detail["type"], detail.get("ctx", {})
    cause = context.get("error")
    where: list[int | str] = list(detail["loc"])
    if isinstance(cause, Misplaced):
        where.append(cause.key)
    path: list[int | str] = []
    value: Any = raw
    for part in where:
        # A part that is missing in the data is pydantic's name for a branch of a union, or the missing key.
        try:
            value = value[part]
        except (LookupError, TypeError):
            continue
        path.append(part)
    if kind == "missing":
        path.append(where[-1])
    inside = key = at
    for part in path:
        inside, key = key, join(key, part)
    if kind == "extra_forbidden":
        owner = _owner(model, path[:-1])
        names = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
        return unknown(inside, str(path[-1]), names)
    hidden = not path or kind == "missing" or isinstance(cause, Misplaced) or _secret(model, path)
    return Fault(key, None if hidden else shown(value), _hint(model, path, detail, cause))


def _hint(model: type[BaseModel], path: Sequence[int | str], detail: ErrorDetails, cause: object) -> str:
    kind = detail["type"]
    if cause is not None:
        # The text of a check can quote the value, and the author of a plugin may not know what is secret.
        return _USER_INFO.sub("***@", str(cause))
    if kind == "missing":
        owner = _owner(model, path[:-1])
        field = owner.model_fields.get(str(path[-1])) if owner else None
        return f"is missing: {field.description}" if field and field.description else "is missing"
    text = _EXPECTED.get(kind)
    if text is None:
        return detail["msg"][:1].lower() + detail["msg"][1:]
    return text.format(**detail.get("ctx", {})).replace("'", '"')


def _owner(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that the keys at ``path`` belong to, if there is one."""
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        models = [kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)] if field else []
        if not models:
            return None
        model = models[0]
    return model


def _secret(model: type[BaseModel], path: Sequence[int | str]) -> bool:
    """Whether the value at ``path`` must not be shown, by the type of its field or by any name on the path."""
    field = model.model_fields.get(str(path[0]))
    kinds = _kinds(field.annotation) if field else set()
    if SecretStr in kinds:
        return True
    return Path not in kinds and any(SECRET.search(str(part)) for part in path)


def _kinds(annotation: Any) -> set[type]:
    """Every class that an annotation contains, at any depth."""
    found = {annotation} if isinstance(annotation, type) else set()
    for part in get_args(annotation):
        found |= _kinds(part)
    return found


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
