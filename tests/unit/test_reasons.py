"""What an engine says of a fault is found, wherever it stands, and nothing that it answers can break the search."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.cluster.reasons import of_body, of_error, of_failures

WORD = {"type": "too_many_buckets_exception", "reason": "Trying to create too many buckets."}


def nested(levels: int, **top: Any) -> dict[str, Any]:
    error: dict[str, Any] = dict(WORD)
    for _ in range(levels):
        error = {"type": "wrapped", "reason": "", "caused_by": error}
    return {**error, **top}


@pytest.mark.parametrize(
    "error",
    [
        WORD,
        {**WORD, "root_cause": []},
        {"type": "search_phase_execution_exception", "reason": "all shards failed", "root_cause": [WORD]},
        {"type": "search_phase_execution_exception", "reason": "", "root_cause": [], "caused_by": WORD},
        {
            "type": "search_phase_execution_exception",
            "reason": "all shards failed",
            "root_cause": [],
            "caused_by": WORD,
        },
        {"type": "x", "reason": None, "root_cause": [{"type": "y", "reason": None}], "caused_by": WORD},
        {"type": "x", "reason": "", "root_cause": [], "failed_shards": [{"shard": 0, "reason": WORD}]},
        {"root_cause": "none", "caused_by": {"caused_by": {"caused_by": WORD}}},
        nested(3),
        nested(50, root_cause=[]),
    ],
    ids=range(10),
)
def test_the_word_is_found(error: dict[str, Any]) -> None:
    assert of_error(error) == (WORD["type"], WORD["reason"])
    assert of_body(json.dumps({"error": error, "status": 400}).encode()) == of_error(error)
    assert of_failures([{"shard": 0}, {"shard": 1, "reason": error}]) == of_error(error)


def test_what_is_no_error_of_an_engine() -> None:
    assert of_body(b"<html>\r\nGateway \x1b[31mtimeout</html>") == (None, "<html> Gateway [31mtimeout</html>")
    assert of_body('{"error":"a text"}') == (None, "a text")
    assert of_body(b"\xff\xfe") == (None, "\ufffd\ufffd")
    assert of_body(b"") == (None, "")
    assert of_body(b"[" * 100_000) == (None, "[" * 200)
    assert of_failures(None) is None
    assert of_failures([{"reason": "a text"}]) == (None, "a text")


def test_hostile_shapes_are_bounded() -> None:
    """Deeper than anybody looks, a word stays unfound; nothing takes long or breaks."""
    deep = nested(5000)
    assert of_error(deep) == ("wrapped", "")
    assert len(of_error({"type": "t", "reason": "x" * 10**7}).text) == 300
    assert of_error({"type": ["t"], "reason": {"reason": {"reason": 1}}}) == (None, "")


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "reason", "root_cause", "caused_by", "type", "failed_shards"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@example({"error": {"type": "\x00", "reason": " "}})
@given(_ANY)
def test_whatever_it_is(answer: object) -> None:
    for kind, text in (of_error(answer), of_body(json.dumps(answer)), of_failures(answer) or (None, "")):
        assert kind is None or (isinstance(kind, str) and kind)
        assert isinstance(text, str)
        assert "\n" not in text
