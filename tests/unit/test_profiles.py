"""Profiles tell under which id a resource is known, and of which view a document is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.changes.profiles.plain import PlainProfile
from esfeed.changes.profiles.searchlight import ROLE_FIELD, SearchlightProfile
from esfeed.model.event import Change, Key, Revision, View

SERVER = "OS::Nova::Server"
METADEF = "OS::Glance::Metadef"


def change(doc_id: str, kind: str = SERVER, after: bytes | None = None, before: bytes | None = None) -> Change:
    """A change of a document."""
    return Change("updated", Key(kind, doc_id), Revision("u", "i", 1, None, b""), before, after)


def body(role: Any, **more: Any) -> bytes:
    """A document of Searchlight's with that role."""
    return json.dumps({"name": "x", ROLE_FIELD: role, **more}).encode()


@pytest.mark.parametrize("doc_id", ["1", "x_ADMIN", "x_USER", ""])
def test_plain(doc_id: str) -> None:
    """The plain profile leaves every id as it is, and shows it to everybody."""
    assert PlainProfile().describe(change(doc_id, after=body("admin"))) == (doc_id, None)


@pytest.mark.parametrize(
    ("doc_id", "kind", "role", "expected"),
    [
        ("6c41_ADMIN", SERVER, "admin", ("6c41", "admin")),
        ("6c41_USER", SERVER, "user", ("6c41", "user")),
        ("6c41", "OS::Glance::Image", ["user", "admin"], ("6c41", None)),
        ("X_USER", METADEF, ["admin", "user"], ("X_USER", None)),
        ("X_ADMIN", "Some::Plugin", ["admin", "user"], ("X_ADMIN", None)),
        ("6c41", SERVER, "admin", ("6c41", "admin")),
        ("6c41_ADMIN", SERVER, ["admin"], ("6c41", "admin")),
        ("X_USER", METADEF, ["admin"], ("X_USER", "admin")),
        ("x_USER", SERVER, "admin", ("x_USER", "admin")),
        ("a_ADMIN_USER", SERVER, "user", ("a_ADMIN", "user")),
        ("_ADMIN", SERVER, "admin", ("_ADMIN", "admin")),
    ],
)
def test_role_decides(doc_id: str, kind: str, role: Any, expected: tuple[str, View | None]) -> None:
    """What the document says of its roles decides, whatever its id ends in."""
    assert SearchlightProfile().describe(change(doc_id, kind, body(role))) == expected


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"{}",
        b"[]",
        b"",
        b"{",
        body(None),
        body(7),
        body("owner"),
        body([]),
        b'{"a": "\xff", "__searchlight-user-role": "\xff"}',
    ],
)
def test_suffix_decides_without_role(raw: bytes | None) -> None:
    """Without a readable role the suffix decides."""
    describe = SearchlightProfile().describe
    assert describe(change("6c41_ADMIN", after=raw)) == ("6c41", "admin")
    assert describe(change("6c41_USER", after=raw)) == ("6c41", "user")
    assert describe(change("6c41", after=raw)) == ("6c41", None)


@pytest.mark.parametrize("kind", [METADEF, "OS::Nova::Flavor", "OS::Designate::Zone"])
def test_types_that_are_never_paired(kind: str) -> None:
    """A delete without a body of a type that has no pairs keeps its id, so that it names what the create named."""
    assert SearchlightProfile().describe(change("X_USER", kind)) == ("X_USER", None)


def test_delete_is_told_as_the_create_was() -> None:
    """A delete that has only the body from before goes to the same view, under the same id, as the create."""
    profile = SearchlightProfile()
    raw = body(["admin", "user"])
    assert profile.describe(change("N_USER", "T", after=raw)) == profile.describe(change("N_USER", "T", before=raw))


def test_hostile_bodies_do_not_hide_the_role() -> None:
    """Numbers beyond every range beside the role do no harm, nor does nesting beyond reading."""
    describe = SearchlightProfile().describe
    raw = b'{"n": 1e999, "m": ' + b"9" * 5000 + b', "__searchlight-user-role": ["admin", "user"]}'
    assert describe(change("X_USER", "T", raw)) == ("X_USER", None)
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    assert describe(change("x_USER", "T", deep)) == ("x", "user")


@given(st.text(), st.text(), st.none() | st.binary())
def test_never_raises(doc_id: str, kind: str, raw: bytes | None) -> None:
    """Any id, type and body give an id that the document's begins with."""
    told, view = SearchlightProfile().describe(change(doc_id, kind, raw))
    assert doc_id.startswith(told)
    assert view in (None, "admin", "user")
