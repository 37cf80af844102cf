"""What a caller may see of an event: pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.changes.profiles.searchlight import SearchlightProfile
from esfeed.model.event import Change, Event, Key, Revision
from esfeed.testing.events import sample_event
from esfeed.web.callers import Caller, owners, seen

ADMIN = Caller("a", admin=True)
MINE = Caller("m", tenant="mine")


@pytest.mark.parametrize(
    ("document", "whose"),
    [
        ({"project_id": "a", "tenant_id": "b", "owner": "c"}, {"a"}),
        ({"tenant_id": "b", "owner": "c"}, {"b"}),
        ({"owner": "c", "project_id": None}, {"c"}),
        ({"owner": "c", "members": ["d", "e"]}, {"c", "d", "e"}),
        ({"owner": "c", "members": "d"}, {"c"}),
        ({"members": ["d", 7, ""]}, {"d"}),
        ({"project_id": 7}, set()),
        ({"name": "x"}, set()),
    ],
)
def test_owners(document: dict[str, Any], whose: set[str]) -> None:
    """The first field that is there counts; members are owners, too; what is no text is nobody."""
    assert owners(json.dumps(document).encode()) == whose


@pytest.mark.parametrize("raw", [None, b"[]", b'"x"', b"{", b'{"owner": "\xff"}', b"[" * 100_000])
def test_what_cannot_be_read_is_nobodys(raw: bytes | None) -> None:
    """And so an administrator's only."""
    assert owners(raw) == frozenset()


def test_views() -> None:
    """A tenant sees the user's view of what has two; an administrator the admin's, or the one that is asked for."""
    of_user = sample_event(view="user", op="created", after={"project_id": "mine"})
    of_admin = sample_event(view="admin", op="created", after={"project_id": "mine", "host": "n1"})
    plain = sample_event(op="created", after={"project_id": "mine"})
    assert [seen(one, MINE) for one in (of_user, of_admin, plain)] == [of_user, None, plain]
    assert [seen(one, ADMIN) for one in (of_user, of_admin, plain)] == [None, of_admin, plain]
    assert [seen(one, ADMIN, "user") for one in (of_user, of_admin, plain)] == [of_user, None, plain]
    assert seen(of_admin, MINE, "admin") is None


def _event(before: str | None, after: str | None) -> Event:
    """A document that was of one tenant and is of another, with a secret of each."""
    made = {name: {"project_id": name, "secret": f"of {name}"} for name in filter(None, (before, after))}
    op = "created" if before is None else "deleted" if after is None else "updated"
    return sample_event(
        op=op,  # type: ignore[arg-type]  # it is one of the three
        before=made.get(before or ""),
        after=made.get(after or ""),
        changed=("project_id", "secret") if op == "updated" else None,
    )


def test_a_document_that_changes_hands() -> None:
    """It is deleted to who had it and created to who has it; neither sees the other's state."""
    given_away, got = seen(_event("mine", "theirs"), MINE), seen(_event("theirs", "mine"), MINE)
    assert given_away is not None
    assert (given_away.op, given_away.after, given_away.changed) == ("deleted", None, None)
    assert got is not None
    assert (got.op, got.before, got.changed) == ("created", None, None)


@given(st.sampled_from(["mine", "theirs", None]), st.sampled_from(["mine", "theirs", None]))
def test_a_tenant_never_sees_anothers_state(before: str | None, after: str | None) -> None:
    """Whatever happens to a document, nothing of another tenant's is in what a tenant sees of it."""
    if before is None and after is None:
        return
    told = seen(_event(before, after), MINE)
    assert (told is not None) == ("mine" in (before, after))
    if told is not None:
        assert b"theirs" not in msgspec.json.encode(told)
        assert b"of mine" in msgspec.json.encode(told)


def test_a_caller_without_a_tenant_sees_nothing() -> None:
    """Neither somebody's nor nobody's."""
    nobody = Caller("n")
    assert seen(sample_event(op="created", after={"owner": ""}), nobody) is None
    assert seen(_event(None, "mine"), nobody) is None


def _image(**fields: Any) -> Event:
    key, body = Key("OS::Glance::Image", "i"), json.dumps(fields).encode()
    change = Change("created", key, Revision("u", "i", 1, 1, b""), after=body)
    owners_of = SearchlightProfile().owners(change)
    return msgspec.structs.replace(sample_event(op="created", type=key.type, after=fields), owners=owners_of)


def test_where_the_profile_knows_the_owner_nothing_else_counts() -> None:
    """Anybody may give an image of theirs a property ``project_id``, and so can nobody's image have one."""
    assert seen(_image(owner="theirs", project_id="mine"), MINE) is None
    assert seen(_image(project_id="mine"), MINE) is None
    assert seen(_image(owner="mine", project_id="theirs"), MINE) is not None
    assert seen(_image(owner="*"), Caller("s", tenant="*")) is None


def test_a_guest_does_not_see_who_else_is_one() -> None:
    """An image that is shared with a project by name, without its list of members."""
    told = seen(_image(owner="theirs", members=["mine", "others"], name="x"), MINE)
    assert told is not None
    assert json.loads(bytes(told.after or b"")) == {"owner": "theirs", "name": "x"}
