"""What changed: content decides, compared by bytes first and by meaning after that."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.changes import diff
from esfeed.model.event import Document, Key, Revision

KEY = Key("_doc", "1")
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
Outcome = tuple[str, tuple[str, ...] | None]


def doc(source: bytes | None, version: int = 2) -> Document:
    return Document(KEY, "i", "u", version, source=source)


def seen(
    docs: list[Document], known: dict[Key, Revision], bodies: dict[Key, bytes], *, keep: bool, snapshot: bool
) -> diff.Diff:
    """As a poll does it: only the contents of those in doubt are there."""
    revisions = diff.revised(docs, keep=keep)
    asked = {key: bodies[key] for key in diff.in_doubt(docs, revisions, known) if key in bodies}
    return diff.seen(docs, revisions, known, asked, keep=keep, snapshot=snapshot)


def compared(before: bytes | None, after: bytes | None, keep: bool = True, kept: bool = True) -> Outcome | None:
    """(op, changed) that come of a document known with ``before`` and read with ``after``; ``None``: nothing told."""
    known = {KEY: Revision("u", "i", 1, None, diff.digest(before, kept))}
    bodies = {KEY: before} if kept and before is not None else {}
    found = seen([doc(after)], known, bodies, keep=keep, snapshot=False)
    assert found.revisions[KEY] == Revision("u", "i", 2, None, diff.digest(after, keep))
    there = kept and before == after
    assert found.documents == ({KEY: after} if keep and after is not None and not there else {})
    if not found.changes:
        return None
    (change,) = found.changes
    assert (change.key, change.before, change.after) == (KEY, bodies.get(KEY), after)
    return change.op, change.changed


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (b'{"a":1}', b'{"a":1}', None),
        (b'{"a":1}', b'{ "a" :\n 1 }', None),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}', None),
        (b'{"a":{"x":1,"y":[1,2]}}', b'{"a":{"y":[1,2],"x":1}}', None),
        (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), None),
        (b'{"a":1.0}', b'{"a":1.00}', None),
        (b'{"a":1}', b'{"a":1.0}', ("updated", ("a",))),
        (b'{"a":1}', b'{"a":true}', ("updated", ("a",))),
        (b'{"a":0}', b'{"a":false}', ("updated", ("a",))),
        (b'{"a":[1]}', b'{"a":[true]}', ("updated", ("a",))),
        (b'{"a":{"b":{"c":0}}}', b'{"a":{"b":{"c":false}}}', ("updated", ("a",))),
        (b'{"a":""}', b'{"a":null}', ("updated", ("a",))),
        (b'{"a":null}', b"{}", ("updated", ("a",))),
        (b"{}", b'{"a":null}', ("updated", ("a",))),
        (b'{"a":[1,2]}', b'{"a":[2,1]}', ("updated", ("a",))),
        (b'{"a":[1]}', b'{"a":1}', ("updated", ("a",))),
        (b'{"b":1,"a":1,"same":0}', b'{"b":2,"c":1,"same":0}', ("updated", ("a", "b", "c"))),
        (b'{"a":9007199254740992}', b'{"a":9007199254740993}', ("updated", ("a",))),
        (b'{"a":18446744073709551615}', b'{"a":18446744073709551616}', ("updated", ("a",))),
        (b'{"a":123456789012345678901234567890}', b'{"a":123456789012345678901234567891}', ("updated", ("a",))),
        (b'{"a":123456789012345678901234567890}', b'{ "a":123456789012345678901234567890}', None),
        (b'{"a":1e999}', b'{ "a":1e999}', None),
        (b'{"a":1e999}', b'{"a":-1e999}', ("updated", ("a",))),
        (b'{"a":1e400}', b'{"a":1e401}', ("updated", ("a",))),
        (b'{"a":1e400}', b'{"a":10.0e399}', None),
        (b'{"a":1e400,"b":"\\ud800"}', b'{"a":1e401,"b":"\\ud800"}', ("updated", ("a",))),
        (b'{"a":1e400,"b":"\\ud800"}', b'{"a":10e399,"b":"\\uD800"}', None),
        (b'{"a":1e400}', b'{"a":"1E+400"}', ("updated", ("a",))),
        (b'{"a":1e-400}', b'{"a":0.0}', ("updated", ("a",))),
        (b'{"a":1e-400}', b'{"a":2E-400}', ("updated", ("a",))),
        (b'{"a":4e-324}', b'{"a":5e-324}', ("updated", ("a",))),
        (b'{"a":0.0}', b'{"a":-0.0}', ("updated", ("a",))),
        (b'{"a":0.0}', b'{"a":0e5}', None),
        (b'{"a":1.0}', b'{"a":10e-1}', None),
        (b'{"a":0.1}', b'{"a":1e-1}', None),
        (b'{"a":12345678901234567.89}', b'{"a":12345678901234567.12}', ("updated", ("a",))),
        (b'{"a":12345678901234567.89}', b'{"a":12345678901234567.890}', None),
        (b'{"a":[{"b":12345678901234567.89}]}', b'{"a":[{"b":1234567890123456789e-2}]}', None),
        (b'{"a":9007199254740993.0}', b'{"a":9007199254740992.0}', ("updated", ("a",))),
        (b'{"a":9007199254740992.0}', b'{"a":9007199254740993e0}', ("updated", ("a",))),
        (b'{"a":0.10000000000000000001}', b'{"a":0.1}', ("updated", ("a",))),
        (b'{"a":1e400}', b'{"a":1%s}' % (b"0" * 400), ("updated", ("a",))),
        (b'{"a":%s1}' % (b"9" * 5000), b'{"a":%s2}' % (b"9" * 5000), ("updated", ("a",))),
        (b'{"a":%s1}' % (b"9" * 5000), b'{ "a":%s1}' % (b"9" * 5000), None),
        (b'{"a":1e999999999999999999999}', b'{"a":2e999999999999999999999}', ("updated", None)),
        (b'{"a":"\\ud800"}', b'{ "a":"\\ud800"}', None),
        (b'{"a":"\\ud800"}', b'{"a":"\\ud801"}', ("updated", ("a",))),
        (b'{"a":1}', b'{"\\u0061":1}', None),
        (DEEP, DEEP, None),
        (DEEP, DEEP.replace(b"1", b"2"), ("updated", None)),
        (b"{}", DEEP, ("updated", None)),
        (DEEP, b"{}", ("updated", None)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_same_or_updated(before: bytes, after: bytes, outcome: Outcome | None) -> None:
    """Spelling is nothing, meaning is all; what cannot be looked into counts as changed where its bytes differ."""
    assert compared(before, after) == outcome
    told = compared(before, after, keep=False, kept=False)
    expected = None if outcome is None else ("updated", None)
    assert told == expected


@pytest.mark.parametrize("other", [b"[]", b"1", b'"x"', b"null", b'{"a":', b"", b"\xff"])
def test_a_source_that_is_no_object(other: bytes) -> None:
    """It never raises, and a change to or from one is told, without a word on fields."""
    assert compared(other, other) is None
    assert compared(b'{"a":1}', other) in (("updated", None), ("updated", ("a",)))
    assert compared(other, b'{"a":1}') in (("updated", None), ("updated", ("a",)))
    assert compared(other, b'{"a":1}', keep=False, kept=False) == ("updated", None)


def test_contents_that_were_never_read() -> None:
    """Known by id and version alone, a new version is an update; without content on both sides as well."""
    assert compared(None, b"{}") == ("updated", None)
    assert compared(None, None) == ("updated", None)
    assert compared(b"{}", None) == ("updated", None)


@pytest.mark.parametrize(("keep", "kept"), [(True, False), (False, True)])
def test_keeping_is_switched(keep: bool, kept: bool) -> None:
    """After `keep_documents` was switched, a change is told; no change may be told once, as nothing can be compared."""
    assert compared(b'{"a":1}', b'{"a":2}', keep, kept) is not None
    if kept:
        assert compared(b'{"a":1}', b'{"a":1}', keep, kept) is None


def test_a_new_document_is_created_or_read() -> None:
    """`created`, but `read` in the first snapshot; a known one in a snapshot that began anew is updated or silent."""
    for snapshot, op in ((False, "created"), (True, "read")):
        (change,) = seen([doc(b"{}")], {}, {}, keep=True, snapshot=snapshot).changes
        assert (change.op, change.snapshot, change.changed, change.before) == (op, snapshot, None, None)
    known = {KEY: Revision("u", "i", 1, None, diff.digest(b"{}", True))}
    assert not seen([doc(b"{}")], known, {KEY: b"{}"}, keep=True, snapshot=True).changes
    (change,) = seen([doc(b'{"a":1}')], known, {KEY: b"{}"}, keep=True, snapshot=True).changes
    assert change.op == "updated"


def test_another_index_with_the_same_content_is_nothing() -> None:
    """A re-sync of unchanged resources tells nothing, and its revisions are remembered."""
    known = {KEY: Revision("old", "i-1", 9, 5, diff.digest(b"{}", True))}
    found = seen([Document(KEY, "i-2", "new", 1, 0, b"{}")], known, {KEY: b"{}"}, keep=True, snapshot=False)
    assert not found.changes
    assert found.revisions == {KEY: Revision("new", "i-2", 1, 0, diff.digest(b"{}", True))}


def test_gone() -> None:
    """A delete carries the last revision, and the last content where it was kept."""
    other = Key("_doc", "2", "r")
    one, two = Revision("u", "i", 1, 0, b"x"), Revision("u", "i", 2, 1, b"y")
    changes = diff.gone([(KEY, one), (other, two)], {KEY: b"{}"})
    assert [(c.op, c.key, c.revision, c.before, c.after, c.changed) for c in changes] == [
        ("deleted", KEY, one, b"{}", None, None),
        ("deleted", other, two, None, None, None),
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=5)


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        pairs = draw(st.permutations(list(value.items())))
        return {name: shuffled(part, draw) for name, part in pairs}
    return [shuffled(part, draw) for part in value] if isinstance(value, list) else value


@given(objects, st.data())
def test_order_and_spelling_never_matter(source: dict[str, Any], data: st.DataObject) -> None:
    """Any object, its keys shuffled at every level, spaced and escaped otherwise: no change, kept or not."""
    one = json.dumps(source).encode()
    other = json.dumps(shuffled(source, data.draw), indent=data.draw(st.sampled_from([None, 2])), ensure_ascii=False)
    raw = other.encode("utf-8", "surrogatepass")
    assert compared(one, raw) is None
    assert compared(one, raw, keep=False, kept=False) is None


@given(objects, objects)
def test_changed_names_exactly_the_fields_that_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    """By Python's own reading of the JSON text, with types told apart; kept and not kept agree on whether."""

    def strict(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    differ = tuple(
        sorted(
            k for k in one.keys() | other.keys() if k not in one or k not in other or strict(one[k]) != strict(other[k])
        )
    )
    raw = json.dumps(one).encode(), json.dumps(other).encode()
    assert compared(*raw) == (("updated", differ) if differ else None)
    assert compared(*raw, keep=False, kept=False) == (("updated", None) if differ else None)


def digest_of_old(source: bytes) -> bytes:
    """As states hold it that an earlier esfeed made."""
    text = json.dumps(json.loads(source), sort_keys=True).encode()
    return b"m" + hashlib.blake2b(text, digest_size=16).digest()


@pytest.mark.parametrize("keep", [True, False])
def test_a_digest_of_old_is_understood(keep: bool) -> None:
    """An upgrade tells nothing of documents that stayed as they were, and has each change told."""
    known = {KEY: Revision("u", "i", 1, None, digest_of_old(b'{"a":1,"b":[1e999]}'))}
    found = seen([doc(b'{"b":[1e999],"a":1}')], known, {}, keep=keep, snapshot=False)
    assert found.changes == []
    assert found.revisions[KEY].digest == diff.digest(b'{"b":[1e999],"a":1}', keep)
    (change,) = seen([doc(b'{"a":2}')], known, {}, keep=keep, snapshot=False).changes
    assert change.op == "updated"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("was", [b"12345678901234567.89", b"12345678901234568.0", b"1e-400", b"0.5"])
def test_a_digest_of_doubles_is_understood(was: bytes) -> None:
    """A state of old holds digests that took numbers for doubles: as far as these tell, nothing changed."""
    source = b'{"b":1,"a":%s}' % was
    text = msgspec.json.encode(msgspec.json.decode(source), order="sorted")
    old = b"n" + hashlib.blake2b(text, digest_size=16).digest()
    found = seen([doc(source)], {KEY: Revision("u", "i", 1, None, old)}, {}, keep=False, snapshot=False)
    assert found.changes == []
    known = {KEY: found.revisions[KEY]}
    assert seen([doc(source)], known, {}, keep=False, snapshot=False).changes == []
    (change,) = seen([doc(b'{"b":1,"a":12345678901234567.88}')], known, {}, keep=False, snapshot=False).changes
    assert change.op == "updated"


DECIMALS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(DECIMALS, DECIMALS)
@example("1e400", "10e399")
@example("0.1", "0.10000000000000000555")
def test_numbers_are_the_same_where_their_digits_say_so(one: str, other: str) -> None:
    """Kept or not, alone or among many others; a whole number and a zero with a sign are what JSON says they are."""

    def meant(text: str) -> tuple[bool, bool, Decimal]:
        whole = text.lstrip("-").isdigit()
        return whole, not whole and text.startswith("-"), Decimal(text)

    equal = meant(one) == meant(other)
    for more in ("", ",1.5" * 20):
        before, after = (f'{{"a":[{text}{more}]}}'.encode() for text in (one, other))
        assert (compared(before, after) is None) is equal
        assert (compared(before, after, keep=False, kept=False) is None) is equal


@given(JSON, JSON)
def test_a_digest_of_meaning_tells_apart_what_the_one_of_old_did(one: object, other: object) -> None:
    """However it is written."""
    texts = [json.dumps(value, ensure_ascii=escaped).encode() for value in (one, other) for escaped in (True, False)]
    for left in texts:
        for right in texts:
            equal = digest_of_old(left) == digest_of_old(right)
            assert (diff.digest(left, False) == diff.digest(right, False)) is equal


def test_what_is_known_to_the_letter_is_not_written_again() -> None:
    """Where nothing is trusted, all is read; of the same content with the same numbers nothing comes."""
    known = {KEY: Revision("u", "i", 2, None, diff.digest(b'{"a":1}', kept=True))}
    assert seen([doc(b'{"a":1}')], known, {KEY: b'{"a":1}'}, keep=True, snapshot=False) == diff.Diff([], {}, {})
    found = seen([doc(b'{"a":1}', 3)], known, {KEY: b'{"a":1}'}, keep=True, snapshot=False)
    assert (found.changes, found.revisions[KEY].version) == ([], 3)
