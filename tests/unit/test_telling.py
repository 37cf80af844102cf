"""What a document's own date is, read without the rest of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.telling import date_of

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


def test_without_a_field_there_is_no_date() -> None:
    assert date_of("")(b'{"": "2026"}') is None
