"""The page on conditions in CEL: each condition in its tables has the result that stands beside it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from esfeed.model.event import Event, Op, Origin
from esfeed.routing.router import ExpressionFailed, Route, Router, compile_where
from tests.support.pages import ROOT, blocks

PAGE = "docs/cel.rst"
TEXT = (ROOT / PAGE).read_text()
ORIGIN = Origin("main", "i", 1, None, None, None, None, False)
AFTER = json.loads(next(block.text for block in blocks(PAGE) if block.language == "json"))
BEFORE = {**AFTER, "status": "BUILD"}


def conditions() -> list[tuple[Op, str, str]]:
    """Each row of a table below ``.. cel: OP``: the op, the condition, the result."""
    found: list[tuple[Op, str, str]] = []
    for op, table in re.findall(r"^\.\. cel: (\w+)\n\n=+ =+\n.*\n=+ =+\n((?:``.*\n)+)=+ =+$", TEXT, re.MULTILINE):
        for row in table.splitlines():
            condition, result = row.rsplit(None, 1)
            found.append((op, condition.strip().strip("`"), result))
    return found


def event(op: Op) -> Event:
    """The page's event of that kind."""

    def raw(document: dict[str, Any] | None) -> msgspec.Raw | None:
        return None if document is None else msgspec.Raw(json.dumps(document).encode())

    before = raw(BEFORE if op in ("updated", "deleted") else None)
    after = raw(None if op == "deleted" else AFTER)
    return Event("e", "servers", "t", op, "_doc", "1", ("status",) if op == "updated" else None, before, after, ORIGIN)


def result(condition: str, of: Event) -> str:
    """What a route with that condition makes of the event, as the page writes it."""
    router = Router([Route(0, frozenset({"s"}), where=compile_where(condition))], ["s"], ["servers"])
    try:
        return str(router.wants("s", of)).lower()
    except ExpressionFailed:
        return "error"


@pytest.mark.parametrize(("op", "condition", "said"), conditions())
def test_condition_has_the_result_on_the_page(op: Op, condition: str, said: str) -> None:
    assert result(condition, event(op)) == said


def test_every_condition_on_the_page_is_in_a_table_that_is_tried() -> None:
    """A row that the pattern does not match would be a claim that nobody tries."""
    rows = re.findall(r"^``.*`` +(?:true|false|error)$", TEXT, re.MULTILINE)
    assert len(rows) == len(conditions()) > 60


def test_the_error_on_the_page_is_the_one_that_is_shown() -> None:
    shown = next(block.text for block in blocks(PAGE) if block.text.startswith("routes[0].where"))
    route = Router([Route(0, frozenset({"s"}), where=compile_where("int(after.status) == 1"))], ["s"], ["servers"])
    with pytest.raises(ExpressionFailed) as caught:
        route.wants("s", event("updated"))
    assert shown.split() == f"{caught.value.message}: {caught.value.reason}".split()


@pytest.mark.parametrize("condition", ["after.?owner == 'x'", "has(after['name'])", "op == 'x' and id == 'y'"])
def test_what_is_said_to_be_unsupported_is_refused(condition: str) -> None:
    with pytest.raises(ValueError, match="column"):
        compile_where(condition)
