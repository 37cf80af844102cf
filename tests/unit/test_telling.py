"""What a document's own date is, read without the rest of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esfeed.changes.events import EventFactory, date_of
from esfeed.changes.lines import LineTemplate
from esfeed.changes.profiles.plain import PlainProfile
from esfeed.envelopes.cloudevents import cloudevent
from esfeed.model.event import Document, Key

_NAMES = st.sampled_from(["at", "updated_at", "value", "a.b", "", "é", '"'])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


def _expected(document: Any, field: str) -> str | None:
    for part in field.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document if isinstance(document, str) else None if document is None else str(document)


@given(document=st.dictionaries(_NAMES, _VALUES, max_size=4), field=st.sampled_from(["at", "updated_at", "at.value"]))
@example(document={"at": {"value": {"value": "deep"}}}, field="at.value")
@example(document={"at": [{"value": "in a list"}]}, field="at.value")
@example(document={"at": "not an object"}, field="at.value")
@example(document={"at": 2**70, "other": 10**400}, field="at")
def test_the_date_is_what_stands_there(document: dict[str, Any], field: str) -> None:
    assert date_of(field)(json.dumps(document).encode()) == _expected(document, field)


@pytest.mark.parametrize(
    ("source", "date"),
    [
        (b'{"other": 1e999, "at": "2026"}', "2026"),
        (b'{"other": "\\ud83d", "at": "2026"}', "2026"),
        (b'{"at": "1", "at": "2"}', "2"),
        (b'["at"]', None),
        (b"7", None),
        (b'{"at": ' + b"[" * 3000 + b"]" * 3000 + b"}", None),
    ],
)
def test_of_documents_that_are_read_slowly_or_not_at_all(source: bytes, date: str | None) -> None:
    assert date_of("at")(source) == date


@pytest.mark.parametrize(
    ("source", "date"),
    [
        (b'{"event.ingested": "2026"}', "2026"),
        (b'{"event": {"ingested": "2026"}, "event.ingested": "2025"}', "2026"),
        (b'{"event": {"other": 1}, "event.ingested": "2026"}', "2026"),
        (b'{"event": "event.ingested"}', None),
        (b'{"event.ingested": null}', None),
        (b'{"event.ingested": "2026", "other": 1e999, "half": "\\ud83d"}', "2026"),
    ],
)
def test_a_name_with_dots_in_it(source: bytes, date: str | None) -> None:
    """To an engine it is the same field."""
    assert date_of("event.ingested")(source) == date


def test_names_that_stand_together_in_part() -> None:
    assert date_of("a.b.c")(b'{"a": {"b.c": "2026"}}') == "2026"
    assert date_of("a.b.c")(b'{"a.b": {"c": "2026"}}') == "2026"
    assert date_of("a.b.c")(b'{"a.b": {"d": 1}, "a": {"b.c": "2026"}}') == "2026"


def test_without_a_field_there_is_no_date() -> None:
    assert date_of("")(b'{"": "2026"}') is None


_IDS = st.text(max_size=6) | st.sampled_from(["a", "a b", 'a"b', "a\\b", "é", "\x7f", "%s", "\n", ""])
_DATES = st.sampled_from(
    [
        b'"2026-11-24T10:00:00Z"',
        b"null",
        b"17",
        b"1.5",
        b'"\\u0041"',
        '"é"'.encode(),
        b'{"a": 1}',
        b"[1]",
        b"true",
        None,
    ]
)
_REST = st.sampled_from([b'"n": 1', b'"n": 9007199254740993, "x": 1e999', b'\n "n": {"at": "inner"}\r\n', b'"s": "%d"'])
_DOCS = st.lists(
    st.builds(
        lambda name, kind, routing, within, version, number, parent, date, rest: Document(
            Key(kind, name, routing, within), "i-1", "uu/id", version, number,
            b"{" + rest + (b"" if date is None else b', "at": ' + date) + b"}", parent,
        ),
        _IDS, st.sampled_from(["_doc", "OS::Nova::Server", 'a"b', "100%"]), st.sampled_from([None, None, "r"]),
        st.sampled_from([None, "i-1"]), st.integers(-2, 2**63 - 1), st.none() | st.integers(0, 2**53),
        st.sampled_from([None, None, "p"]), _DATES, _REST,
    ),
    max_size=5,
)  # fmt: skip


class _Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 24, 10, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@given(docs=_DOCS, field=st.sampled_from(["at", "at.a", "", "n"]), first=st.integers(1, 2**53))
@settings(max_examples=400)
def test_lines_are_what_the_events_would_be(docs: list[Document], field: str, first: int) -> None:
    event_factory = EventFactory("w/%d", "main é", field, PlainProfile(), _Clock())
    entries = event_factory.reads(docs, first)
    assert event_factory.lines(docs, first) == [cloudevent(entry.event) + b"\n" for entry in entries]


def test_only_a_profile_that_never_looks_is_passed_by() -> None:
    class Other(PlainProfile):
        transparent = False

    assert EventFactory("w", "main", "at", Other(), _Clock()).lines([], 1) is None


def test_plain_documents_go_the_short_way() -> None:
    def long(doc: Document, position: int, now: str) -> bytes:
        raise AssertionError(doc)

    docs = [Document(Key("_doc", f"doc-{n}"), "i", "u", 1, n, b'{"at": "2026", "n": [1]}') for n in range(3)]
    docs.append(Document(Key("_doc", "none"), "i", "u", 1, None, b'{"other": 1}'))
    assert len(LineTemplate("w", "main", "at", long).of(docs, 1, "now")) == 4
