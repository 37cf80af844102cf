"""Texts with places, filled from events."""

from __future__ import annotations

from typing import Any

import pytest

from esfeed.routing.template import Template, TemplateFailed
from esfeed.testing.events import sample_event

DOCUMENT = {"project_id": "p1", "n": 3, "on": True, "id": "other", "flavor": {"name": "m1"}, "a.b": "dotted", "": "e"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("changes-{project_id}", "changes-p1"),
        ("{op}/{type}/{id}/{watch}", "updated/T/x/servers"),
        ("{doc.id}", "other"),
        ("{flavor.name}-{n}-{on}", "m1-3-true"),
        ("{a.b}", "dotted"),
        ("{{{n}}}", "{3}"),
    ],
)
def test_places_are_filled(text: str, filled: str) -> None:
    """From the event, and from the document for all else."""
    event = sample_event(op="updated", type="T", doc_id="x", before={}, after=DOCUMENT)
    assert Template(text).render(event) == filled


def test_a_delete_is_told_by_what_was_there() -> None:
    """There is no other document to look into."""
    assert Template("{n}").render(sample_event(op="deleted", before=DOCUMENT, after=None)) == "3"


@pytest.mark.parametrize("value", [None, "", {}, []])
def test_nothing_to_fill_with_is_a_fault_that_names_the_place(value: Any) -> None:
    """And no value."""
    with pytest.raises(TemplateFailed, match=r"\{flavor\.name\} is"):
        Template("{flavor.name}").render(sample_event(after={"flavor": {"name": value}}))


@pytest.mark.parametrize("text", ["{", "}", "a{b", "{}", "{ a}", "{a..b}", "{a{b}"])
def test_a_brace_that_means_nothing_is_refused(text: str) -> None:
    """When the settings load."""
    with pytest.raises(ValueError, match=r"is alone|names no field"):
        Template(text)


def test_fixed() -> None:
    """A sink may then ask its target once."""
    assert Template("a{{b}}").fixed
    assert not Template("a{b}").fixed


@pytest.mark.parametrize(
    ("document", "filled"),
    [
        (b'{"n": 9007199254740993, "x": 1}', "9007199254740993"),
        (b'{"n": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (b'{"n": 1.5, "\\ud800": 1}', "1.5"),
        (b'{"n": "\\u00fc"}', "\u00fc"),
        (b'{"n": 1, "x": "\\udfff", "y": ' + b"7" * 5000 + b"}", "1"),
    ],
)
def test_odd_documents(document: bytes, filled: str) -> None:
    """Whole numbers are exact, and one strange field is no trouble of another."""
    assert Template("{n}").render(sample_event(after=document)) == filled


@pytest.mark.parametrize("value", [b"7" * 5000, b"[" * 5000 + b"]" * 5000])
def test_what_python_cannot_write(value: bytes) -> None:
    """Is a fault of that place."""
    with pytest.raises(TemplateFailed, match=r"\{n\} is"):
        Template("{n}").render(sample_event(after=b'{"n": ' + value + b"}"))


def test_places_are_known() -> None:
    """Those of the document, and those of the event."""
    template = Template("{type}{doc.id}-{a.b}-{doc.doc.x}-{doc}")
    assert template.fields == ("id", "a.b", "doc.x", "doc")
    assert template.of_event == {"type"}
    event = sample_event(type="T", after={"id": 1, "a": {"b": 2}, "doc": {"x": 3}})
    assert Template("{doc.doc.x}{doc.id}").render(event) == "31"
