"""The table of sinks in the documentation: every sink stands in it, and every cell names a test that is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "sinks" / "index.rst"
COLUMNS = ("Sink", "Order", "At least once", "Partial failure", "Restart of the target", "Too large")


def _rows() -> list[list[str]]:
    table = PAGE.read_text().partition(".. list-table::")[2]
    rows = re.split(r"^   \* - ", table, flags=re.MULTILINE)[1:]
    return [[cell.strip() for cell in re.split(r"^     - ", row, flags=re.MULTILINE)] for row in rows]


@cache
def _names(file: Path) -> set[str]:
    """The tests and the classes of tests of a file."""
    found = ast.parse(file.read_text()).body
    return {each.name for each in found if isinstance(each, ast.FunctionDef | ast.ClassDef)}


def test_every_sink_stands_in_it() -> None:
    """As they are declared, once each, under the same columns."""
    head, *rows = _rows()
    assert tuple(head) == COLUMNS
    declared = {p.name for p in entry_points(group="esfeed.sinks") if p.dist is not None and p.dist.name == "esfeed"}
    assert sorted(row[0] for row in rows) == sorted(f"``{name}``" for name in declared)
    assert {len(row) for row in rows} == {len(COLUMNS)}


@pytest.mark.parametrize("row", _rows()[1:], ids=lambda row: row[0].strip("`"))
def test_every_cell_names_a_test(row: list[str]) -> None:
    """A fact, and below it a test of that sink that is really there."""
    sink = row[0].strip("`")
    for cell in row[1:]:
        found = re.fullmatch(r"([A-Z][^\n]+)\n\n       ``(\w+)::(\w+)``", cell)
        assert found, f"{sink}: {cell!r} is no fact with a test"
        of, name = found[2], found[3]
        assert of == "kills" or of.partition("_")[0] == sink, f"{sink}: {of} is another sink's"
        folder = "delivery" if of == "kills" else "sinks"
        assert name in _names(ROOT / "tests" / folder / f"test_{of}.py"), f"{sink}: there is no {of}::{name}"
