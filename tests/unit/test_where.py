"""What a ``where`` needs of an event, and what is said of one that is wrong, before any event."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.routing.router import ExpressionFailed, compile_where

from .test_routing import event, router


@pytest.mark.parametrize(
    ("where", "needs"),
    [
        ("op == 'x'", {"op": None}),
        ("after.a == 1 && after . b.c == 2", {"after": {"a", "b"}}),
        ("after['a b'] == after[\"c\"]", {"after": {"a b", "c"}}),
        ("after != null && has(after.a)", {"after": {"a"}}),
        ("before.a != after.b", {"before": {"a"}, "after": {"b"}}),
        ("after == before", {"before": None, "after": None}),
        ("after.exists(k, k == 'a')", {"after": None}),
        ("after.size() > 1", {"after": None}),
        ("after[id] == 1", {"id": None, "after": None}),
        ("after['a\\'b'] == 1", {"after": None}),
        ("[1].exists(after, after.x == 1)", {"after": None}),
        ("after.nullable == 1 && after == nullable.x || true", None),
        ("'after.z' == id && after.a == 1", {"id": None, "after": {"a", "z"}}),
    ],
)
def test_needs(where: str, needs: dict[str, Any] | None) -> None:
    """Only fields that are plainly named are picked out; anything else takes the whole document."""
    if needs is None:
        with pytest.raises(ValueError, match='unknown name "nullable"'):
            compile_where(where)
    else:
        assert compile_where(where).needs == needs


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("op ==", "column 6: it ends too soon\n    op ==\n         ^"),
        ("op = 'x'", "column 4: write \"==\" to compare\n    op = 'x'\n       ^"),
        ("op == 'a' and id == 'b'", 'column 11: write "&&", not "and"'),
        ("op == 'a' or id == 'b'", 'column 11: write "||", not "or"'),
        ("not (op == 'a')", 'column 1: unknown function "not"; write "!"'),
        ("after.x == True", 'column 12: unknown name "True"; write "true"'),
        ("after.x == None", 'column 12: unknown name "None"; write "null"'),
        ("op == 'x' ||\n  after.foo = 3", "line 2, column 13: write"),
        ("status == 'ACTIVE'", "write after.status for a field of the document"),
        ("'é😀' == oops", 'column 9: unknown name "oops"'),
        ("after.name.lower() == 'x'", 'column 12: unknown function "lower"; known: '),
        ("after.name.matches('(')", "column 20: '(' is not a regular expression"),
        ("op", "it returns a string, not true or false"),
        ("1 + 1", "it returns a number, not true or false"),
        ("", "the expression is empty"),
        (" \n ", "the expression is empty"),
        ("(" * 300 + "true" + ")" * 300, "nested too deep"),
        ("op == '" + "x" * 4000 + "'", "the limit is 4,000"),
        ("after.?x == 1", "unsupported syntax"),
        ("99999999999999999999 == after.n", "invalid int literal"),
        ("x" * 200 + " == 1 " + "&& true" * 50, "unknown name"),
    ],
)
def test_mistakes(where: str, message: str) -> None:
    """A mistake in an expression is told with its place, before any event."""
    with pytest.raises(ValueError, match=r"(?s).") as caught:
        compile_where(where)
    assert message in str(caught.value)
    assert all(len(line) <= 70 for line in str(caught.value).splitlines()[1:])


TOKENS = st.sampled_from(
    [
        *("op", "type", "after", "before", "changed", ".", "a", "==", "!=", "'x'", "'", "1", "1u", "2.5", "(", ")"),
        *("[", "]", "&&", "||", "!", "in", "has", "size", "null", "?", ":", ",", "-", "{", "}", "matches", "exists"),
    ]
)


@given(st.lists(TOKENS, max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_compiles_or_is_a_value_error(text: str) -> None:
    """Whatever is written as ``where``, it compiles and then answers or fails, or is a ValueError."""
    with suppress(ValueError, ExpressionFailed):
        router(text).wants("s", event())
