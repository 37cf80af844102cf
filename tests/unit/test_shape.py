"""What a sink sees of an event through a route: which fields, under which names, and that nothing else gets by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from esfeed.config.routes import RouteSettings
from esfeed.model.event import Event
from esfeed.routing.router import ExpressionFailed, Route, RouteFailed, Router, Unshapable, compile_where
from esfeed.routing.transform import Transform
from esfeed.testing.events import sample_event

KEY = "a key of sixteen or more"
SERVER = {
    "name": "web-1",
    "status": "ACTIVE",
    "admin_password": "pw",
    "os-ext:host": "n1",
    "os-ext:zone": "z",
    "flavor": {"id": "42", "name": "m1"},
    "nets": [{"ip": "10.0.0.1", "mac": "fa:16"}, {"ip": "10.0.0.2", "mac": "fa:17"}],
    "metadata": {"api_token": "t", "owner": {"mail": "m"}},
    "tags": ["a", "b"],
}


def shape(**keys: Any) -> Transform:
    """The shape of a route with those keys, as the settings make it."""
    found = RouteSettings.model_validate({"sinks": ["s"], **keys}).shape()
    assert found is not None
    return found


def shaped(document: Any = SERVER, **keys: Any) -> Any:
    """The document that a sink gets through a route with those keys."""
    event = shape(**keys).apply(sample_event(op="created", before=None, after=document))
    assert event is not None
    assert event.after is not None
    return json.loads(bytes(event.after))


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (["name", "status"], {"name": "web-1", "status": "ACTIVE"}),
        (["name", "gone"], {"name": "web-1"}),
        (["/^os-/"], {"os-ext:host": "n1", "os-ext:zone": "z"}),
        (["os-*", "-*zone"], {"os-ext:host": "n1"}),
        (["flavor"], {"flavor": SERVER["flavor"]}),
        (["flavor.*", "-flavor.id"], {"flavor": {"name": "m1"}}),
        (["flavor.name"], {"flavor": {"name": "m1"}}),
        (["nets.ip"], {"nets": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
        (["metadata.owner"], {"metadata": {"owner": {"mail": "m"}}}),
        (["*.mail"], {"metadata": {"owner": {"mail": "m"}}}),
        (["tags"], {"tags": ["a", "b"]}),
        (["tags.x"], {}),
        (["n[ae]me", "stat?s"], {"name": "web-1", "status": "ACTIVE"}),
        (["/mail$/"], {"metadata": {"owner": {"mail": "m"}}}),
        (["name.*"], {}),
    ],
)
def test_keep(fields: list[str], left: Any) -> None:
    """What is named is kept, with the objects around it, and nothing else."""
    assert shaped(fields=fields) == left


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        (["-name"], ["name"]),
        (["-os-*"], ["os-ext:host", "os-ext:zone"]),
        (["-*password*", "-*token*"], ["admin_password", "metadata.api_token"]),
        (["-/PASSWORD|TOKEN/"], []),
        (["-/(?i)PASSWORD|TOKEN/"], ["admin_password", "metadata.api_token"]),
        (["-nets.mac"], ["nets.mac"]),
        (["-flavor.*"], ["flavor.id", "flavor.name"]),
        (["-flavor"], ["flavor"]),
        (["-*"], [*SERVER]),
    ],
)
def test_drop(fields: list[str], gone: list[str]) -> None:
    """What is named after a minus is left out; all else stays."""
    expected = json.loads(json.dumps(SERVER))
    for path in gone:
        around, _, name = path.rpartition(".")
        for part in expected[around] if around == "nets" else [expected[around] if around else expected]:
            del part[name]
    assert shaped(fields=fields) == expected


@pytest.mark.parametrize("fields", [["-a"], ["-a.b"], ["-/^a.b$/"], ["-a.*"], ["x"]])
@pytest.mark.parametrize(
    "document",
    [
        b'{"a.b": "SECRET", "x": 1}',
        b'{"a": {"b": "SECRET"}, "x": 1}',
        b'{"a": [{"b": "SECRET"}], "x": 1}',
        b'{"a": [[ {"b" : "SECRET"}]], "x": 1}',
        b'{"a": {"b": {"c": ["SECRET"]}}, "x": 1}',
        b'{"a": {"b": "SECRET"}, "a": {}, "x": 1}',
        b'{"a": {"b": "SECRET", "b": "SECRET"}, "x": 1}',
        b'{"\\u0061": {"\\u0062": "SECRET"}, "x": 1}',
        b'{"a": \n\t {"b": "SECRET"}, "x": 1, "y": "\\ud800"}',
        b'{"a": {"\\udc00": 1, "b": "SECRET"}, "x": 1}',
        b'{"a": {"\xff": 1, "b": "SECRET"}, "x": 1}',
    ],
)
def test_no_spelling_gets_by(fields: list[str], document: bytes) -> None:
    """Dots in names, lists in lists, a name that stands twice, escapes, broken text: a pattern is not passed by."""
    event = shape(fields=fields).apply(sample_event(op="deleted", before=document, after=None))
    assert event is not None
    assert event.before is not None
    assert b"SECRET" not in bytes(event.before)
    assert json.loads(bytes(event.before))["x"] == 1


def test_redact() -> None:
    """A field is removed, masked or hashed, wherever it is; the first rule that names it counts."""
    rules = [
        {"fields": ["nets.mac"], "action": "hash", "key": KEY},
        {"fields": ["*password*", "/token$/"], "action": "mask"},
        {"fields": ["name", "metadata.owner"], "action": "mask", "mask": "(hidden)"},
        {"fields": ["flavor", "name"]},
        {"fields": ["tags"], "action": "hash", "key": KEY},
    ]
    found = shaped(redact=rules)
    assert found["admin_password"] == found["metadata"]["api_token"] == "***"
    assert found["name"] == found["metadata"]["owner"] == "(hidden)"
    assert "flavor" not in found
    one, other = (net["mac"] for net in found["nets"])
    assert len(one) == 64
    assert one != other
    assert isinstance(found["tags"], str)
    assert found["nets"][0]["ip"] == "10.0.0.1"


def test_hash_is_of_the_meaning_under_the_key() -> None:
    """The same value has the same hash, however it is written; another key gives another, and none is the plain one."""

    def of(value: bytes, key: str = KEY) -> Any:
        rule = {"fields": ["v"], "action": "hash", "key": key}
        return shaped(b'{"v": ' + value + b"}", redact=[rule])["v"]

    assert of(b'"caf\xc3\xa9"') == of(b'"caf\\u00e9"') != of(b'"cafe"')
    assert of(b'{"a": 1, "b": [2]}') == of(b'{ "b":[2],"a":1}') != of(b'{"b": [2], "a": 1.0}')
    assert of(b"9007199254740993") != of(b"9007199254740992")
    assert of(b'"x"') != of(b'"x"', "another key of sixteen")
    assert of(b"1e999") == of(b"1e999")
    assert of(b'"\\ud800"') == of(b'"\\ud800"')


def test_rename() -> None:
    """A field gets its new name where it stands, also inside objects and lists, and takes another's place."""
    names = {"os-ext:host": "host", "flavor.id": "flavor_id", "nets.ip": "address", "name": "status", "status": "name"}
    found = shaped(rename=names)
    assert found["host"] == "n1"
    assert found["flavor"] == {"flavor_id": "42", "name": "m1"}
    assert [net["address"] for net in found["nets"]] == ["10.0.0.1", "10.0.0.2"]
    assert (found["name"], found["status"]) == ("ACTIVE", "web-1")
    assert shaped({"a": 1, "b": 2}, rename={"a": "b"}) == {"b": 1}
    assert shaped({"a.b": 1}, rename={"a.b": "c"}) == {"c": 1}


@pytest.mark.parametrize("number", [b"9007199254740993", b"-1e999", b"0.1000000000000000055", b"7" * 5000, b"1.0e+2"])
def test_numbers_keep_every_digit(number: bytes) -> None:
    """What is kept is the engine's own bytes, also beside and inside what is taken apart."""
    document = b'{"x": 1, "n": ' + number + b', "o": {"p": "secret", "n": [' + number + b', {"n":' + number + b"}]}}"
    event = shape(fields=["-*p*"], rename={"x": "y"}).apply(sample_event(op="read", after=document))
    assert event is not None
    assert event.after is not None
    assert bytes(event.after) == (
        b'{"n":' + number + b',"o":{"n":[' + number + b',{"n":' + number + b"}]}" + b',"y":1}'
    )


def test_what_needs_no_shaping_is_left_as_it_is() -> None:
    """Without patterns the bytes are the engine's: order, spaces, names that stand twice."""
    document = b'{"b": 1,  "a": 1e999, "b": 2}'
    event = sample_event(op="created", after=document)
    plain = shape(route="r", subject="s").apply(event)
    assert plain is not None
    assert (bytes(plain.after or b""), plain.route, plain.subject) == (document, "r", "s")


def _update(before: Any, after: Any, changed: tuple[str, ...] | None) -> Event:
    return sample_event(op="updated", before=before, after=after, changed=changed)


@pytest.mark.parametrize(
    ("keys", "changed"),
    [
        ({"fields": ["name"]}, None),
        ({"fields": ["-status", "-o.b"]}, None),
        ({"fields": ["-status"]}, ("o",)),
        ({"fields": ["status"]}, ("status",)),
        ({"redact": [{"fields": ["status", "o"], "action": "mask"}]}, None),
        ({"redact": [{"fields": ["status", "o"], "action": "hash", "key": KEY}]}, ("o", "status")),
        ({"rename": {"status": "state"}}, ("o", "state")),
        ({"rename": {"o.b": "c"}}, ("o", "status")),
        ({"fields": ["-o"], "rename": {"name": "status"}}, None),
    ],
)
def test_changed(keys: Mapping[str, Any], changed: tuple[str, ...] | None) -> None:
    """``changed`` tells what a sink can see change, by its names; where that is nothing, nothing is sent."""
    before = {"name": "n", "status": "BUILD", "o": {"a": 1, "b": 1}, "same": [1]}
    after = {"name": "n", "status": "ACTIVE", "o": {"b": 2, "a": 1}, "same": [1]}
    for given_changed in (("o", "status"), None):
        event = shape(**keys).apply(_update(before, after, given_changed))
        assert (event and event.changed) == changed


@pytest.mark.parametrize("op", ["created", "read", "deleted"])
def test_other_events_always_go(op: Any) -> None:
    """A document that came or went is told, though nothing of it may be seen."""
    event = shape(fields=["nothing"]).apply(sample_event(op=op))
    assert event is not None
    assert event.changed is None
    assert {bytes(raw) for raw in (event.before, event.after) if raw is not None} == {b"{}"}


def test_update_goes_where_nobody_knows_what_was_before() -> None:
    """Without kept documents it cannot be told whether a dropped field is all that changed."""
    event = shape(fields=["-status"]).apply(_update(None, {"status": "ACTIVE", "name": "n"}, None))
    assert event is not None
    assert (event.before, event.changed) == (None, None)


def test_subject_and_route_are_made_of_what_is_seen() -> None:
    """Templates see the new names and the hidden values, and the route can stand in the subject."""
    event = shape(
        fields=["project_id", "name"],
        redact=[{"fields": ["name"], "action": "mask", "mask": "x"}],
        rename={"project_id": "tenant"},
        route="q-{tenant}",
        subject="{route}/{type}/{name}",
    ).apply(sample_event(type="T", op="created", after={"project_id": "p1", "name": "web", "z": 1}))
    assert event is not None
    assert (event.route, event.subject) == ("q-p1", "q-p1/T/x")


@pytest.mark.parametrize("keys", [{"fields": ["-updated_at"]}, {"fields": ["name"]}])
def test_the_date_is_no_way_around(keys: Mapping[str, Any]) -> None:
    """``origin.updated_at`` is a field of the document, too."""
    event = sample_event(op="created", after={"updated_at": "2026-11-24T10:00:00Z", "name": "n"})
    through = shape(**keys).apply(event, "updated_at")
    assert through is not None
    assert through.origin.updated_at is None
    kept = shape(fields=["-name"]).apply(event, "updated_at")
    assert kept is not None
    assert kept.origin.updated_at == event.origin.updated_at


@pytest.mark.parametrize("document", [b"[1]", b'{"a": nul}', b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_what_cannot_be_taken_apart_does_not_pass(document: bytes) -> None:
    """A document that cannot be looked into is the route's failure, never sent as it is."""
    router = Router([Route(3, frozenset("s"), shape=shape(fields=["-*secret*"]))], ["s"], ["servers"])
    with pytest.raises(Unshapable, match=r"^routes\[3\]: the document cannot be transformed"):
        router.shape("s", sample_event(op="read", after=document))


# --- several routes


def _router(*routes: Mapping[str, Any]) -> Router:
    made = [RouteSettings.model_validate({"sinks": ["s"], **keys}) for keys in routes]
    return Router(
        [
            Route(n, frozenset("s"), where=compile_where(one.where) if one.where else None, shape=one.shape())
            for n, one in enumerate(made)
        ],
        ["s"],
        ["servers"],
    )


def _through(router: Router, event: Event) -> Any:
    found = router.shape("s", event)
    return None if found is None else json.loads(bytes(found.after or b"null"))


def test_first_route_that_says_yes_shapes() -> None:
    """Later routes to the same sink do not add to it, and a silent first one stays silent."""
    event = sample_event(op="updated", before={"a": 1, "b": 1}, after={"a": 1, "b": 2}, changed=("b",))
    narrow, wide = {"fields": ["a"]}, {"fields": ["-z"]}
    assert _through(_router(narrow, wide), event) is None
    assert _through(_router(wide, narrow), event) == {"a": 1, "b": 2}
    assert _through(_router({**narrow, "where": "op == 'read'"}, wide), event) == {"a": 1, "b": 2}
    assert _through(_router({"where": "after.b == 2"}, narrow), event) == {"a": 1, "b": 2}


def test_where_sees_what_is_left_out() -> None:
    """Conditions are of the whole document."""
    event = sample_event(op="created", after={"a": 1, "secret": 7})
    assert _through(_router({"where": "after.secret == 7", "fields": ["a"]}), event) == {"a": 1}
    assert _through(_router({"where": "after.secret == 8", "fields": ["a"]}), event) is None


def test_a_failing_condition_does_not_open_a_wider_route() -> None:
    """Nobody knows whether the narrow route was meant, so the event is held back; alike routes stand in for another."""
    event = sample_event(op="created", after={"a": 1})
    failing, wide = {"where": "after.a + 'x' == 'y'"}, {"where": "op == 'created'"}
    narrow = {**failing, "fields": ["x"]}
    for routes in ([narrow, {}], [narrow, wide], [failing, narrow, wide], [narrow, failing, wide]):
        with pytest.raises(ExpressionFailed, match=r"routes\[\d\]\.where has no answer"):
            _router(*routes).shape("s", event)
    assert _through(_router(failing, wide), event) == {"a": 1}
    assert _through(_router(failing, {}), event) == {"a": 1}
    assert _through(_router(wide, narrow), event) == {"a": 1}


def test_types() -> None:
    """A route takes the types that its patterns name."""
    from esfeed.routing.patterns import Patterns

    types = Patterns(["OS::Nova::*", "/Image$/", "-OS::Nova::Flavor"])
    router = Router([Route(0, frozenset("s"), types=types)], ["s"], ["servers"])
    taken = [
        kind
        for kind in ("OS::Nova::Server", "OS::Nova::Flavor", "OS::Glance::Image", "OS::Neutron::Net", "Nova", "_doc")
        if router.wants("s", sample_event(type=kind))
    ]
    assert taken == ["OS::Nova::Server", "OS::Glance::Image"]


def test_a_template_without_a_text_parks_the_event_for_that_route() -> None:
    """The failure names the route and the place, and no value."""
    router = _router({"route": "{project_id}"})
    with pytest.raises(RouteFailed, match=r"^routes\[0\]: route = .*\{project_id\} is missing"):
        router.shape("s", sample_event(after={"secret": "pw"}))
