"""Whatever documents hold: nothing that a route hides is anywhere in an event, and patterns mean what is written."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.envelopes import Format, envelope
from esfeed.routing.router import Route, RouteFailed, Router
from esfeed.testing.events import sample_event

from .test_shape import KEY, shape, shaped

FORMATS: Sequence[Format] = ("cloudevents", "debezium", "searchlight", "raw")
NAMES = st.sampled_from(["a", "b", "secret", "secret_x", "a.secret", "o", "ünï", "secret.b", "A"])
SECRET_NAME = ("secret", "secret_x", "a.secret", "secret.b")


def _documents(inside_secret: bool = False) -> st.SearchStrategy[Any]:
    """JSON in which everything under a name with ``secret`` in it has SECRET in its texts, and nothing else has."""
    leaf = (
        st.text("xyz", max_size=2).map(lambda text: f"SECRET{text}")
        if inside_secret
        else st.none() | st.booleans() | st.integers(0, 9) | st.text("xyz", max_size=3)
    )

    def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)

    return st.recursive(leaf, grow, max_leaves=8)


def _marked(value: Any, under: bool = False) -> Any:
    """The value with each text, number and name below a secret name replaced by one that holds SECRET."""
    if isinstance(value, dict):
        return {
            (f"SECRET{name}" if under else name): _marked(part, under or name in SECRET_NAME)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_marked(part, under) for part in value]
    return f"SECRET{value}" if under else value


OBJECTS = st.dictionaries(NAMES, _documents(), max_size=6).map(_marked)
HIDING = st.sampled_from(
    [
        {"fields": ["-*secret*"]},
        {"fields": ["-/secret/"]},
        {"fields": ["a", "o", "-*secret*"]},
        {"redact": [{"fields": ["*secret*"], "action": "mask"}]},
        {"redact": [{"fields": ["/secret/"], "action": "hash", "key": KEY}]},
        {"redact": [{"fields": ["a.secret", "*.secret", "secret"]}, {"fields": ["*secret*"], "action": "mask"}]},
        {"fields": ["-secret", "-*.secret", "-*secret_x*"], "redact": [{"fields": ["*secret*"]}]},
        {"fields": ["-*secret*"], "rename": {"a": "x", "o": "a", "b": "b2", "o.a": "secret"}},
    ]
)
TEMPLATES = st.sampled_from([{}, {"route": "{a}"}, {"subject": "{o.a}-{type}"}, {"route": "{o}", "subject": "{route}"}])


@given(OBJECTS, OBJECTS, HIDING, TEMPLATES, st.sampled_from(["created", "updated", "deleted", "read"]))
@example({"secret": {"secret": "SECRET"}}, {"secret": ["SECRET"]}, {"fields": ["-*secret*"]}, {}, "updated")
@example({"a": [[{"secret": "SECRET1"}]]}, {"a": [[{"secret": "SECRET2"}]]}, {"fields": ["-*secret*"]}, {}, "updated")
def test_nothing_hidden_is_anywhere_in_any_form(
    before: Any, after: Any, hiding: Mapping[str, Any], templates: Mapping[str, Any], op: Any
) -> None:
    """In no envelope, nor in the subject, the route, ``changed`` or a failure, is anything of a hidden field."""
    try:
        made = shape(**hiding, **templates)
    except ValueError:  # the settings refuse a template that names what is hidden
        return
    raws = [json.dumps(one, ensure_ascii=False).encode() for one in (before, after)]
    event = sample_event(
        op=op,
        before=raws[0] if op in ("updated", "deleted") else None,
        after=raws[1] if op != "deleted" else None,
        changed=tuple(sorted(before.keys() | after.keys())) if op == "updated" else None,
    )
    router = Router([Route(0, frozenset("s"), shape=made)], ["s"], ["servers"])
    try:
        through = router.shape("s", event)
    except RouteFailed as error:
        through, failure = None, str(error)
    else:
        failure = ""
    assert "SECRET" not in failure
    if through is None:
        assert failure or op == "updated"
        return
    everything = [envelope(name).encode(through) for name in FORMATS] + [msgspec.json.encode(through)]
    assert not [text for text in everything if b"SECRET" in text]
    assert "secret" not in (through.changed or ()) or "redact" in hiding or "rename" in hiding


@given(OBJECTS)
def test_all_that_is_not_hidden_is_still_there(document: Any) -> None:
    """Leaving out what nothing is named like changes nothing."""
    assert shaped(json.dumps(document).encode(), fields=["-nothing.of.this", "-/^nor this$/"]) == document


@given(OBJECTS, st.sampled_from([["a"], ["a.a", "o"], ["*.a"], ["/a/"], ["o.*", "-o.a"]]))
def test_keep_and_drop_part_a_document(document: Any, keep: list[str]) -> None:
    """Shaping what was shaped changes nothing more."""
    once = shaped(document, fields=keep)
    assert shaped(once, fields=keep) == once


PATTERNS = st.lists(
    st.tuples(
        st.sampled_from(["", "-"]),
        st.lists(st.sampled_from(["a", "b", "o", "*", "?", "[ab]", "secret", "s*"]), min_size=1, max_size=3).map(
            ".".join
        )
        | st.sampled_from(["/a/", "/^o.b$/", "/[ab]$/", "/\\.secret/"]),
    ).map("".join),
    min_size=1,
    max_size=3,
)


def _plainly(value: Any, patterns: Sequence[str], path: str = "") -> Any:
    """What is left of a value by the plain words of the documentation: no shortcuts, each path looked at by itself."""

    def takes(pattern: str) -> bool:
        parts = path.split(".")
        around = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
        if pattern.startswith("/"):
            return any(re.search(pattern[1:-1], one) for one in around)
        return any(fnmatch.fnmatchcase(one, pattern) for one in around)

    keep = [pattern for pattern in patterns if not pattern.startswith("-")]
    kept = not keep or any(map(takes, keep))
    if path and any(takes(pattern[1:]) for pattern in patterns if pattern.startswith("-")):
        return ...
    if isinstance(value, dict):
        inner = {name: _plainly(part, patterns, f"{path}.{name}" if path else name) for name, part in value.items()}
        inner = {name: part for name, part in inner.items() if part is not ...}
        return inner if inner or kept or not path else ...
    if isinstance(value, list):
        parts = [part for one in value if (part := _plainly(one, patterns, path)) is not ...]
        return parts if parts or kept else ...
    return value if kept else ...


@given(OBJECTS, PATTERNS)
def test_patterns_mean_what_is_written(document: Any, patterns: list[str]) -> None:
    """For any patterns, what is left is what a plain reading of the documentation leaves."""
    assert shaped(json.dumps(document).encode(), fields=patterns) == _plainly(document, patterns)
