"""Which sink is to have which event, and what a ``where`` says when it cannot tell."""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.model.event import Event, Op, Origin, View
from esfeed.routing.patterns import Patterns
from esfeed.routing.router import ExpressionFailed, Route, Router, compile_where, holds
from esfeed.routing.transform import Transform

ORIGIN = Origin("main", "i", 1, None, None, None, None, False)
SERVER = {"status": "ACTIVE", "size": 3, "os-ext:host": "n1", "nets": [[{"ip": "10.0.0.1"}]], "name": "größe 日本"}


def raw(value: Any) -> msgspec.Raw | None:
    """A document as the engine sends it; bytes are taken as they are."""
    if value is None:
        return None
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def event(
    op: Op = "updated",
    after: Any = SERVER,
    before: Any = None,
    changed: tuple[str, ...] | None = ("status",),
    watch: str = "w",
    view: View | None = None,
) -> Event:
    """An event of a server."""
    return Event("e", watch, "t", op, "OS::Nova::Server", "6c41", changed, raw(before), raw(after), ORIGIN, view)


def router(*wheres: str) -> Router:
    """A router with one route a ``where``, all from watch ``w`` to sink ``s``."""
    routes = [Route(n, frozenset({"s"}), where=compile_where(where)) for n, where in enumerate(wheres)]
    return Router(routes, ["s"], ["w"])


def failure(where: str, of: Event) -> str:
    """Why a ``where`` has no answer."""
    with pytest.raises(ExpressionFailed) as caught:
        router(where).wants("s", of)
    return caught.value.reason


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("op == 'updated'", True),
        ("op != 'read' && type == 'OS::Nova::Server'", True),
        ("type.startsWith('OS::Neutron')", False),
        ("id == '6c41' && watch == 'w'", True),
        ("op in ['created', 'deleted']", False),
        ("after.status == 'ACTIVE'", True),
        ("after['os-ext:host'] == 'n1'", True),
        ('after["os-ext:host"] == "n2"', False),
        ("after.nets[0][0].ip == '10.0.0.1'", True),
        ("after.nets.exists(net, net.exists(port, port.ip.startsWith('10.')))", True),
        ("after.name == 'größe 日本'", True),
        ("size(after.name) == 8", False),
        ("'status' in changed", True),
        ("'size' in changed", False),
        ("changed.exists(c, c == 'status')", True),
        ("before == null", True),
        ("before == null || before.status != after.status", True),
        ("has(after.flavor)", False),
        ("has(after.flavor) && after.flavor == 'x'", False),
        ("after.size > 2.5 && after.size == 3.0", True),
        ("'status' in after", True),
        ("after.exists(k, k == 'nets')", True),
        ("after.after == 'x' || true", True),
        ("null != after", True),
        ("after.flavor == 'x' || op == 'updated'", True),
        ("after.status.matches('^(ACTIVE|ERROR)$')", True),
        ("op == 'updated' // a comment on after", True),
    ],
)
def test_where(where: str, wanted: bool) -> None:
    """Expressions see the event and its documents with CEL's own meaning."""
    assert router(where).wants("s", event()) is wanted


def test_without_routes_everything_goes_everywhere() -> None:
    """No route at all means every watch to every sink, with the user's view of what has two."""
    every = Router([], ["a", "b"], ["w", "v"])
    assert all(every.wants(sink, event(watch=watch)) for sink in "ab" for watch in "wv")
    assert every.wants("a", event(view="user"))
    assert not every.wants("a", event(view="admin"))
    assert every.watches("a") == {"w", "v"}


def test_routes_choose_watches_and_sinks() -> None:
    """An event goes to the sinks that a route of its watch names, and of an undefined watch nowhere."""
    some = Router([Route(0, frozenset("a"), frozenset("w")), Route(1, frozenset("ab"), frozenset("v"))], "abc", "wvx")
    assert [some.wants(sink, event(watch="w")) for sink in "abc"] == [True, False, False]
    assert [some.wants(sink, event(watch="v")) for sink in "abc"] == [True, True, False]
    assert not some.wants("a", event(watch="x"))
    assert not some.wants("a", event(watch="gone"))
    assert some.watches("b") == {"v"}


@pytest.mark.parametrize(("view", "user", "admin"), [(None, True, True), ("user", True, False), ("admin", False, True)])
def test_views(view: View | None, user: bool, admin: bool) -> None:
    """An admin route sees the admin's view, any other the user's; what has no view is for both."""
    routes = [Route(0, frozenset({"user"})), Route(1, frozenset({"admin"}), admin=True)]
    both = Router(routes, ["user", "admin"], ["w"])
    assert both.wants("user", event(view=view)) is user
    assert both.wants("admin", event(view=view)) is admin


def test_where_is_not_asked_about_the_other_view() -> None:
    """A route's expression is not evaluated on a view that the route does not see."""
    route = Route(0, frozenset({"s"}), where=compile_where("after.missing"))
    assert not Router([route], ["s"], ["w"]).wants("s", event(view="admin"))


def test_any_route_suffices() -> None:
    """One route that says yes is enough, also where another has no answer; else the failure is told."""
    assert router("op == 'read'", "op == 'updated'").wants("s", event())
    assert router("int(after.status) == 1", "op == 'updated'").wants("s", event())
    with pytest.raises(ExpressionFailed) as caught:
        router("op == 'read'", "int(after.status) == 1").wants("s", event())
    assert (caught.value.route, caught.value.text) == (1, "int(after.status) == 1")
    assert "int() does not accept" in str(caught.value)


@pytest.mark.parametrize(
    ("where", "of", "reason"),
    [
        ("after.status", event(), "it returns a string, not true or false"),
        ("after.size", event(), "it returns a number, not true or false"),
        ("after", event(), "it returns a map, not true or false"),
        ("before", event(), "it returns null, not true or false"),
        ("after.status + 1 == 2", event(), "it mixes types of value"),
        ("after.status && true", event(), "it returns a string|it mixes types"),
        ("int(after.status) > 1", event(), r"int\(\) does not accept this value"),
        ("size(after.size) > 1", event(), r"size\(\) does not accept this value"),
        ("1 / (after.size - 3) > 0", event(), "it divides by zero"),
        ("after.size * 9223372036854775807 > 0", event(), "exceeds 64 bits"),
        ("after.nets[7] == 1", event(), "beyond the end of a list"),
    ],
)
def test_no_answer(where: str, of: Event, reason: str) -> None:
    """An expression without an answer is a failure that says why, and shows nothing of the document."""
    found = failure(where, of)
    assert re.search(reason, found)
    assert "ACTIVE" not in found


@pytest.mark.parametrize(
    ("where", "of"),
    [
        ("after.status == 'ACTIVE'", event("deleted", after=None)),
        ("has(before.status)", event("created")),
        ("'status' in changed", event("created", changed=None)),
        ("size(changed) > 1", event("created", changed=None)),
        ("after.flavor == 'x'", event()),
        ("before.flavor == 'x'", event(before={})),
        ("after.flavor.id == 'x'", event()),
        ("after['os-ext:zone'] == 'x' || after.flavor.vcpus == 2", event()),
        ("after.flavor > 3", event()),
        ("after.flavor.startsWith('m1')", event()),
        ("int(after.flavor) > 3", event()),
        ("has(after.flavor.id)", event()),
        ("after.flavor", event()),
        ("after.list.exists(one, one.v == 4)", event(after={"list": [{"v": 1}, {"w": 4}]})),
        ("doc.flavor.id == 'x'", event("deleted", after=None)),
        ("after.none > 'x'", event(after={"none": None})),
    ],
)
def test_a_question_about_what_is_not_there_is_no(where: str, of: Event) -> None:
    """A delete has no ``after``, a create no ``before``, a document not every field: no mistake, but no match."""
    assert not router(where).wants("s", of)


@pytest.mark.parametrize(
    ("where", "of"),
    [
        ("after.flavor == null", event()),
        ("after.flavor != 'x' && after.zone != 'x'", event()),
        ("!has(after.flavor)", event()),
        ("after.list.exists(one, one.v == 4)", event(after={"list": [{"w": 1}, {"v": 4}]})),
        ("after.list.all(one, one.v != 4)", event(after={"list": [{"w": 1}, {"v": 3}]})),
        ("doc.status == 'ACTIVE'", event()),
        ("doc.status == 'BUILD'", event("deleted", before={"status": "BUILD"}, after=None)),
        ("doc['os-ext:host'] == 'n1'", event("deleted", before={"os-ext:host": "n1"}, after=None)),
        ("doc != null && doc.zone == null", event("created", before=None)),
    ],
)
def test_a_field_that_is_not_there_is_null(where: str, of: Event) -> None:
    """``doc`` is the document after the change, and before it in a delete."""
    assert router(where).wants("s", of)


def test_an_error_is_no_question_about_null() -> None:
    """A value that cannot be converted is an error also beside a field that is not there."""
    assert failure("after.flavor == 'x' || int(after.status) > 1", event()) == "int() does not accept this value"


def test_a_field_that_is_not_there_in_a_document_nested_deep() -> None:
    """It is null there, too; where every map would have to be copied, there is no answer, and nothing worse."""
    deep = event()
    deep = msgspec.structs.replace(deep, after=msgspec.Raw(b'{"d":' + b'{"a":' * 700 + b"[{}]" + b"}" * 700 + b"}"))
    assert not router("after.d.x == 1").wants("s", deep)
    assert router("after.d.x == null").wants("s", deep)
    assert failure("[after].exists(one, one.x == 1)", deep) == "the document is nested too deep for CEL"
    assert not holds(compile_where("after.d.x == 1"), deep)
    with pytest.raises(ValueError, match="too deep"):
        holds(compile_where("[after].exists(one, one.x == 1)"), deep)


def test_what_is_matched_stays_as_it_is() -> None:
    """The field that one condition reads as null is still not there for the next one."""
    assert not router("after.flavor.id == 'x'", "after.list.exists(o, o.v == 1)", "has(after.flavor)").wants(
        "s", event()
    )


def test_on_error_skip() -> None:
    """An event without an answer is left out, and no later route shows more of it; a route without ``skip`` fails."""
    skips = Route(0, frozenset({"s"}), where=compile_where("int(after.status) == 1"), skips=True)
    narrow = Route(1, frozenset({"s"}), shape=Transform(Patterns(["size"])), skips=True, where=skips.where)
    every = Route(2, frozenset({"s"}))
    assert not Router([skips], ["s"], ["w"]).wants("s", event())
    assert Router([skips, every], ["s"], ["w"]).wants("s", event())
    assert not Router([narrow, every], ["s"], ["w"]).wants("s", event())
    with pytest.raises(ExpressionFailed):
        Router([skips, Route(3, frozenset({"s"}), where=skips.where)], ["s"], ["w"]).wants("s", event())


@pytest.mark.parametrize(
    ("number", "where"),
    [
        (2**53 + 1, "after.n == 9007199254740993 && after.n != 9007199254740992"),
        (2**63 - 1, "after.n == 9223372036854775807"),
        (-(2**63), "after.n < -9223372036854775807"),
        (2**63, "after.n == 9223372036854775808u"),
        (2**64 - 1, "after.n == 18446744073709551615u"),
        (2**64, "after.n == 18446744073709551616.0"),
        (10**30, "after.n > 1e29 && after.n < 1e31"),
        (-(10**30), "after.n < -1e29"),
        (10**400, "after.n > 1e300"),
        (-(10**400), "after.n < -1e300"),
    ],
)
def test_large_integers(number: int, where: str) -> None:
    """Integers are exact up to 64 bits, doubles beyond; none is ever a crash, looked at or not."""
    document = {"n": number, "other": 1, "list": [number, {"m": number}]}
    assert router(where).wants("s", event(after=document))
    assert router("after.other == 1").wants("s", event(after=document))
    assert router("'n' in after && size(after.list) == 2").wants("s", event(after=document))


@pytest.mark.parametrize(
    "document",
    [
        b'{"n": 1e999, "ok": true}',
        b'{"n": -1e999, "ok": true}',
        b'{"n": ' + b"7" * 5000 + b', "ok": true}',
        b'{"n": "\\ud800", "ok": true}',
        b'{"n": "\\u0000", "ok": true}',
        b'{"\\ud800": 1, "ok": true}',
        b'{"n": ["\\udfff x", {"m": 1e999}], "ok": true}',
        b'{"n": "\xff", "ok": true}',
        b'{"n": 1, "n": 2, "ok": true}',
        b'{"n":' + b"[" * 500 + b"]" * 500 + b', "ok": true}',
    ],
)
def test_strange_documents(document: bytes) -> None:
    """JSON that some parser somewhere trips over is looked at all the same, wholly or in part."""
    assert router("after.ok").wants("s", event(after=document))
    assert router("after.exists(k, k == 'ok')").wants("s", event(after=document))


@pytest.mark.parametrize("document", [b"{", b"", b'{"a":' * 3000 + b"1" + b"}" * 3000])
def test_unreadable_documents(document: bytes) -> None:
    """What is no JSON, or nested too deep to be looked into, is a failure only where the expression looks."""
    assert "document" in failure("after.a == 1", event(after=document))
    assert "document" in failure("'a' in after", event(after=document))
    assert router("op == 'updated'").wants("s", event(after=document))


def test_documents_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document is parsed at most once for an event with many routes, and not at all where no route looks at it."""
    from esfeed.routing import content

    reads: list[object] = []
    document = content._document

    def read(raw: msgspec.Raw | None, fields: Any) -> Any:
        reads.append(fields)
        return document(raw, fields)

    monkeypatch.setattr(content, "_document", read)
    router(*[f"after.size == {n} || after.status == 'x'" for n in range(50)]).wants("s", event())
    assert reads == [frozenset({"size", "status"})]
    router("op == 'read'", "id == 'x'").wants("s", event())
    assert len(reads) == 1


def test_samples_do_not_refuse_what_depends_on_the_event() -> None:
    """An expression that the compile-time sample cannot answer is none the worse for it."""
    assert router("int(watch) > 5 || op == 'updated'").wants("s", event())


def test_a_condition_that_would_take_too_long() -> None:
    """Loops within loops are fine on what people write, and are not begun on an event that would take minutes."""
    where = "after.list.exists(a, after.list.exists(b, after.list.exists(c, a + b + c == 0)))"
    few, many = ({"list": [*range(1, 1 + number)]} for number in (4, 4000))
    assert not router(where).wants("s", event(after=few))
    assert failure(where, event(after=many)).startswith("the evaluation would take too long for an event of this size")
    doubling = "[after.text].map(a, " + " + ".join(["a"] * 300) + ")[0].size() > 0"
    assert failure(doubling, event(after={"text": "x" * 100_000})).startswith("the evaluation would take too long")


@pytest.mark.parametrize(
    "where",
    ["type.matches('(a{1,1000}){1,100}$')", "type.matches(after.pattern)", "type.matches('" + "a" * 1001 + "')"],
)
def test_a_pattern_that_is_too_much_for_any_event(where: str) -> None:
    """Refused as it is read: nobody writes such, and a document's own text is no pattern to try."""
    with pytest.raises(ValueError, match=r"regular expression|matches\(\) needs a literal string"):
        compile_where(where)


def test_longest_expression_is_safe_in_a_thread() -> None:
    """The longest expression that is taken does not overflow the stack of an ordinary thread."""
    found: list[bool] = []
    long = router("after.size" + "+1" * 1990 + ">0")
    thread = threading.Thread(target=lambda: found.append(long.wants("s", event())))
    thread.start()
    thread.join()
    assert found == [True]


def test_threads_share_a_router() -> None:
    """One router answers many threads at a time, each for its own event."""
    shared = router("after.n == 1")
    wrong: list[int] = []

    def ask(n: int) -> None:
        of = event(after={"n": n})
        wrong.extend(n for _ in range(300) if shared.wants("s", of) is not (n == 1))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats() | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=4), part, max_size=4),
    max_leaves=20,
)
BOTH = router("after.a == 1", "after == 1"), router("has(after.a) && after.a > before.b || size(before) > 1")


@given(JSON, JSON)
@example({"a": 10**400}, None)
@example("\ud800", {"\ud800": {}})
def test_any_document_gets_an_answer_or_a_failure(after: Any, before: Any) -> None:
    """Whatever the documents hold, the answer is yes, no, or ExpressionFailed."""
    for one in BOTH:
        with suppress(ExpressionFailed):
            one.wants("s", event(after=after, before=before))
