"""A tenant's route carries nothing of another tenant's, nothing for administrators, and no news of either."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esfeed.changes.diff import gone, revised, seen
from esfeed.changes.profiles.searchlight import KINDS, ROLE_FIELD, SearchlightProfile
from esfeed.config.load import parse
from esfeed.delivery.coalesce import merge
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError
from esfeed.model.event import Change, Document, Event, Key, Op, Owners, Revision
from esfeed.routing.router import Route, Router, Unshapable
from esfeed.routing.template import Template
from esfeed.routing.tenancy import ANY, seen_by
from esfeed.testing.events import sample_event
from tests.unit.plugin_fakes import FILE

TENANTS = ("red0", "green1", "blue2")
IMAGE, NET, FLAVOR, SERVER = "OS::Glance::Image", "OS::Neutron::Net", "OS::Nova::Flavor", "OS::Nova::Server"
TYPES = [*KINDS, "Some::Plugin"]
ROLES: list[Any] = ["admin", "user", ["user", "admin"]]
OPS: list[Op] = ["created", "updated", "deleted", "read"]
Made = tuple[Change, dict[str, Any] | None, dict[str, Any] | None]
EXAMPLES = int(os.environ.get("ESFEED_TENANCY_EXAMPLES", "5000"))
FORMATS = ("cloudevents", "debezium", "searchlight")

# What is written here again, in other words than the code's, is what Searchlight's API lets a user see.
OWNER_FIELD = {IMAGE: "owner", "OS::Glance::Metadef": "owner", FLAVOR: None, "OS::Nova::Hypervisor": None}
GUEST_FIELD = {IMAGE: "members", NET: "members", FLAVOR: "tenant_access"}


def owner_of(kind: str, doc: dict[str, Any] | None) -> str | None:
    """Whose the document is, by its type's own field."""
    if doc is None or kind.startswith("OS::Ironic"):
        return None
    field = OWNER_FIELD.get(kind, "tenant_id" if kind.startswith("OS::Neutron") or kind == SERVER else "project_id")
    fields = ("project_id", "tenant_id", "owner") if kind == "Some::Plugin" else (field or "",)
    return next((doc[each] for each in fields if doc.get(each) in TENANTS), None)


def may_see(kind: str, doc: dict[str, Any] | None, tenant: str) -> bool:
    """Whether the tenant owns it, or is named among those that it is shared with."""
    if doc is None or doc[ROLE_FIELD] == "admin":
        return False
    return owner_of(kind, doc) == tenant or tenant in doc.get(GUEST_FIELD.get(kind, ""), [])


def some(kind: str, role: Any, mark: str) -> st.SearchStrategy[dict[str, Any]]:
    """Documents of a type, marked, with owners and guests, some in fields that mean nothing for that type."""
    tenant = st.sampled_from(TENANTS)
    optional = dict.fromkeys(("project_id", "tenant_id", "owner"), tenant | st.sampled_from([None, "", 7]))
    optional |= dict.fromkeys(("members", "tenant_access"), st.lists(tenant | st.just("*"), max_size=3))
    optional |= {"rbac_policy": st.just([{"target_tenant": "rbac-mark"}]), "size": st.integers(0, 2)}
    fixed = {ROLE_FIELD: st.just(role), "mark": st.sampled_from([mark, f"{mark}-same"])}
    if role == "admin":
        fixed["OS-EXT-SRV-ATTR:host"] = st.just("admin-only-mark")
    return st.fixed_dictionaries(fixed, optional=optional)


@st.composite
def changes(draw: st.DrawFn) -> Made:
    """A change of a document, as the differ makes it, with what it was and is."""
    kind, role, op = draw(st.sampled_from(TYPES)), draw(st.sampled_from(ROLES)), draw(st.sampled_from(OPS))
    before = draw(some(kind, role, "was-mark")) if op in ("updated", "deleted") else None
    after = draw(some(kind, role, "is-mark")) if op != "deleted" else None
    return made_of(kind, role, op, before, after)


def any_change(random: Random) -> Made:
    """The same without Hypothesis, a hundred times as fast."""
    kind, role, op = random.choice(TYPES), random.choice(ROLES), random.choice(OPS)

    def document(mark: str) -> dict[str, Any]:
        found: dict[str, Any] = {ROLE_FIELD: role, "mark": random.choice([mark, f"{mark}-same"])}
        if role == "admin":
            found["OS-EXT-SRV-ATTR:host"] = "admin-only-mark"
        for name in ("project_id", "tenant_id", "owner"):
            if random.random() < 0.6:
                found[name] = random.choice([*TENANTS, *TENANTS, None, "", 7])
        for name in ("members", "tenant_access"):
            if random.random() < 0.6:
                found[name] = random.choices([*TENANTS, "*"], k=random.randrange(4))
        if random.random() < 0.5:
            found["rbac_policy"] = [{"target_tenant": "rbac-mark"}]
        return found

    before = document("was-mark") if op in ("updated", "deleted") else None
    after = document("is-mark") if op != "deleted" else None
    if before and after and random.random() < 0.3:
        after = {**before, "mark": after["mark"], "members": after.get("members", [])}
    return made_of(kind, role, op, before, after)


def made_of(kind: str, role: Any, op: Op, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Made:
    """What the differ makes of these two states."""
    key = Key(kind, "id" + {"admin": "_ADMIN", "user": "_USER"}.get(str(role), ""))
    old = {} if before is None else {key: json.dumps(before).encode()}
    revision = Revision("u", "i", 1, None, b"old")
    if after is None:
        (change,) = gone([(key, revision)], old)
        return change, before, None
    doc = Document(key, "i", "u", 2, source=json.dumps(after).encode())
    known = {key: revision} if before is not None else {}
    found = seen([doc], revised([doc], keep=True), known, old, keep=True, snapshot=op == "read").changes
    if not found:  # nothing changed; a change is made up, which is what the search for leaks is about
        found = [Change("updated", key, revision, old[key], doc.source, ())]
    return found[0], before, after


def event_of(change: Change) -> Event:
    """The event that a watch would log."""
    profile = SearchlightProfile()
    told, view = profile.describe(change)
    event = sample_event(op=change.op, type=change.key.type, doc_id=told, before=change.before, after=change.after)
    return msgspec.structs.replace(event, changed=change.changed, view=view, owners=profile.owners(change))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes(), st.sampled_from(TENANTS))
def test_no_word_of_what_a_tenant_may_not_see(made: Made, tenant: str) -> None:
    """Through profile, router and every form of event: what is told, to whom, and as what."""
    check_tenant(made, tenant)
    check_owner(made)


def test_no_word_in_a_long_row_of_random_changes() -> None:
    """More of the same; ESFEED_TENANCY_EXAMPLES says how many."""
    random = Random(os.environ.get("ESFEED_TENANCY_SEED", "1"))
    for number in range(EXAMPLES):
        made = any_change(random)
        try:
            for tenant in TENANTS:
                check_tenant(made, tenant)
            check_owner(made)
        except AssertionError as error:
            raise AssertionError(f"change {number}: {made}") from error


def check_tenant(made: Made, tenant: str) -> None:
    """What a route for that tenant tells of a change."""
    change, before, after = made
    kind = change.key.type
    router = Router([Route(0, frozenset("s"), tenant=tenant)], ["s"], ["servers"])
    shown = router.shape("s", event_of(change))
    could, can = may_see(kind, before, tenant), may_see(kind, after, tenant)
    if shown is None:
        assert not (could or can) or (could and can and not _differs(kind, tenant, before, after))
        return
    assert shown.op == (
        "updated" if could and can else "deleted" if could else "created" if change.op != "read" else "read"
    )
    assert (shown.before is not None, shown.after is not None) == (could, can)
    for name in FORMATS:
        told = envelope(name).encode(shown)
        assert (b"was-mark" in told) <= could
        assert (b"is-mark" in told) <= can
        assert b"admin-only-mark" not in told
        if not _owns_all(kind, tenant, before if could else None, after if can else None):
            assert b'"members"' not in told or kind not in (IMAGE, NET)
            assert b"rbac-mark" not in told or kind != NET
            assert b'"tenant_access"' not in told or kind != FLAVOR
    assert shown.owner == tenant
    assert Template("{owner}").render(shown) == tenant


def _owns_all(kind: str, tenant: str, *docs: dict[str, Any] | None) -> bool:
    return all(owner_of(kind, doc) == tenant for doc in docs if doc is not None)


def _differs(kind: str, tenant: str, before: Any, after: Any) -> bool:
    """Whether a tenant can see a difference between two documents that it may see."""
    hidden = set() if _owns_all(kind, tenant, before, after) else {"members", "rbac_policy", "tenant_access"}
    return any(before.get(name) != after.get(name) for name in (before.keys() | after.keys()) - hidden)


def check_owner(made: Made) -> None:
    """On a route for whichever project owns it, the project that the queue is named by may see all that is told."""
    change, before, after = made
    router = Router([Route(0, frozenset("s"), tenant=ANY)], ["s"], ["servers"])
    shown = router.shape("s", event_of(change))
    if shown is None:
        return
    tenant = Template("{owner}").render(shown)
    assert tenant in TENANTS
    assert tenant == owner_of(change.key.type, before if after is None else after) or not owner_of(
        change.key.type, after
    )
    told = envelope("cloudevents").encode(shown)
    assert (b"was-mark" in told) <= may_see(change.key.type, before, tenant)
    assert (b"is-mark" in told) <= may_see(change.key.type, after, tenant)


def told(tenant: str, owners: Owners | None, **keys: Any) -> Event | None:
    """What a tenant sees of an event."""
    event = sample_event(type=IMAGE, **keys)
    return seen_by(msgspec.structs.replace(event, owners=owners), tenant)


def test_handed_over() -> None:
    """A volume that one project gives to another is gone for the one and new for the other."""
    owners = Owners("new", "old")
    left, came = told("old", owners), told("new", owners)
    assert left is not None
    assert came is not None
    assert (left.op, left.after, left.changed) == ("deleted", None, None)
    assert (came.op, came.before, came.changed) == ("created", None, None)
    assert left.before is not None
    assert came.after is not None


def handed(position: int, was: str, owner: str, before: Any, after: Any, op: Op = "updated") -> Event:
    """An event of an image that goes from one project to another."""
    event = sample_event(position=position, type=IMAGE, op=op, before=before, after=after)
    return msgspec.structs.replace(event, owners=Owners(owner, was))


def test_handed_over_in_one_of_several_that_are_merged() -> None:
    """A sink that coalesces gets one event for many: it is judged by whose the document was at first and is at last."""
    events = [
        handed(1, "old", "new", {"mark": "was-mark"}, {"mark": "is-mark"}),
        handed(2, "new", "new", {"mark": "is-mark"}, {"mark": "is-mark", "size": 2}),
    ]
    merged = merge(events)
    assert merged is not None
    for tenant in ("new", ANY):
        seen = seen_by(merged, tenant)
        assert seen is not None
        assert (seen.op, seen.before) == ("created", None)
    left = seen_by(merged, "old")
    assert left is not None
    assert (left.op, left.after) == ("deleted", None)
    gone = merge([*events, handed(3, "new", "new", {"mark": "is-mark", "size": 2}, None, "deleted")])
    assert gone is not None
    assert seen_by(gone, "new") is None, "it never heard of it, and what is told of it was another's"
    told_to_old = seen_by(gone, "old")
    assert told_to_old is not None
    assert told_to_old.op == "deleted"
    born = merge([handed(1, "", "old", None, {"mark": "was-mark"}, "created"), *events])
    assert born is not None
    assert seen_by(born, "old") is None
    shown = seen_by(born, "new")
    assert shown is not None
    assert shown.op == "created"


def test_shared_with() -> None:
    """A member sees the image without the other members, and no change of theirs; who is struck off sees a delete."""
    here = {"name": "i", "members": ["m", "other"]}
    owners = Owners("own", "own", ("m", "other"), ("m",), ("members",))
    assert told("m", owners, before={"name": "i", "members": ["m"]}, after=here, changed=("members",)) is None
    seen = told("m", owners, before={"name": "h", "members": ["m"]}, after=here, changed=("members", "name"))
    assert seen is not None
    assert (bytes(seen.after or b""), seen.changed) == (b'{"name":"i"}', ("name",))
    new = told("other", owners, before={"name": "i", "members": ["m"]}, after=here, changed=("members",))
    assert new is not None
    assert new.op == "created"
    struck = told("m", Owners("own", "own", (), ("m",), ("members",)), before=here, after={"name": "i"})
    assert struck is not None
    assert struck.op == "deleted"
    assert b"other" not in bytes(struck.before or b"")


@pytest.mark.parametrize("owners", [None, Owners(), Owners("other", "other")])
def test_nobodys_and_others(owners: Owners | None) -> None:
    """What belongs to nobody is no tenant's, and what another has is not told."""
    assert told("t", owners) is None
    assert told(ANY, owners) is None or owners == Owners("other", "other")
    assert told("", owners) is None


def test_administrators_view_is_no_tenants() -> None:
    """Whoever owns it."""
    assert told("t", Owners("t", "t"), view="admin") is None
    assert told("t", Owners("t", "t"), view="user") is not None


def test_what_cannot_be_taken_apart_is_not_shown_whole() -> None:
    """Where private fields cannot be taken out, the event is parked, not sent."""
    deep = b'{"members": ["x"], "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    event = sample_event(type=IMAGE, op="created", after=deep)
    event = msgspec.structs.replace(event, owners=Owners("own", guests=("m",), private=("members", "a.*.b")))
    router = Router([Route(4, frozenset("s"), tenant="m")], ["s"], ["servers"])
    with pytest.raises(Unshapable, match=r"routes\[4\]"):
        router.shape("s", event)


def test_where_sees_what_the_tenant_sees() -> None:
    """A condition on what is hidden finds nothing; an administrator's route before it is not the tenant's."""
    config = parse(FEED.format(route='tenant = "t"\nwhere = "has(after.members)"'), FILE)
    event = sample_event(type=IMAGE, after={"members": ["t"]}, before={"members": ["t"], "x": 1})
    owned = msgspec.structs.replace(event, owners=Owners("t", "t"))
    shared = msgspec.structs.replace(event, owners=Owners("o", "o", ("t",), ("t",), ("members",)))
    assert config.router().wants("audit", owned)
    assert not config.router().wants("audit", shared)


FEED = """
[clusters.main]
hosts = ["http://127.0.0.1:9200"]
[watches.servers]
index = "searchlight-search"
profile = "searchlight"
[sinks.audit]
type = "stdout"
[[routes]]
sinks = ["audit"]
{route}
"""


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("{route}", 'tenant = "t"\nadmin = true'), "a tenant has the view of users"),
        (('profile = "searchlight"', ""), 'set profile = "searchlight" there'),
        (('profile = "searchlight"', 'profile = "searchlight"\nkeep_documents = false'), "remove keep_documents"),
        (('profile = "searchlight"', 'profile = "searchlight"\ninitial = "now"'), "remove initial there"),
        (("{route}", 'tenant = ""'), "write at least one"),
    ],
)
def test_settings_under_which_a_tenant_would_learn_too_much_or_nothing(change: tuple[str, str], hint: str) -> None:
    """They are refused, with what to write instead."""
    with pytest.raises(ConfigError, match=hint):
        parse(FEED.replace(*change).replace("{route}", 'tenant = "t"'), FILE)


def test_owner_in_templates() -> None:
    """The profile's word where it has one, the document's field where not."""
    event = sample_event(after={"owner": "field"})
    assert Template("{owner}").render(event) == "field"
    assert Template("{owner}").render(msgspec.structs.replace(event, owners=Owners("p"))) == "p"
