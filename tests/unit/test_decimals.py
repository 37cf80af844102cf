"""Numbers that no double holds go through every part that looks into a document: as they are, or as a text."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.model.event import Event
from esfeed.routing.router import Route, Router, compile_where
from esfeed.routing.template import Template
from esfeed.routing.transform import Redaction
from esfeed.sinks.zaqar.sink import body
from esfeed.testing.events import sample_event
from esfeed.text.jsontext import Unreadable, exact_number, may_be_inexact, parse, text_of
from esfeed.web.texts import text

ODD = b'{"a":12345678901234567.89,"b":1e400,"c":-1e-400,"d":9007199254740993.0,"e":0.5,"f":12345678901234567890123}'
MEANT = {
    "a": Decimal("12345678901234567.89"),
    "b": Decimal("1E+400"),
    "c": Decimal("-1E-400"),
    "d": Decimal("9007199254740993"),
    "e": 0.5,
    "f": 12345678901234567890123,
}


def _event() -> Event:
    return msgspec.structs.replace(sample_event(), after=msgspec.Raw(ODD))


def test_they_are_parsed_and_written_exactly() -> None:
    """Alone, and where the quick parser gives up (half of a surrogate pair)."""
    assert parse(ODD) == MEANT
    assert parse(ODD[:-1] + b',"g":"\\ud83d"}') == {**MEANT, "g": "\ud83d"}
    assert json.loads(text_of(MEANT), parse_float=Decimal) == {**MEANT, "e": Decimal("0.5")}
    assert text_of({"b": Decimal("1E+400"), "a": "1E+400"}) == '{"a": "1E+400", "b": 1E+400}'
    assert text_of({"b": [1.5, None], "a": "é"}) == json.dumps({"a": "é", "b": [1.5, None]})
    with pytest.raises(Unreadable):
        parse(b"1e99999999999999999999")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_stays_a_double(number: float) -> None:
    """However it is written: shortest, or with all of its 17 digits where these say the same."""
    for spelled in (repr(number), json.dumps(number), f"{number!r:}"):
        assert isinstance(exact_number(spelled), float)
        assert exact_number(spelled) == number


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@example("1234567890123456e0")
@example("1.7976931348623159e308")
def test_whatever_is_not_exact_is_looked_at(spelled: str) -> None:
    """The quick look over a whole text misses none; but what no double holds at all, which the parser notices."""
    if not spelled.lstrip("-").isdigit() and isinstance(exact_number(spelled), Decimal):
        assert may_be_inexact(b"[%s]" % spelled.encode()) or float(spelled) in (float("inf"), float("-inf"))


def test_many_of_them() -> None:
    """Where there are many numbers, they are looked for first."""
    many = b"[%s]" % b",".join([b"1.5"] * 100)
    assert parse(many) == [1.5] * 100
    for odd in (b"12345678901234567.89", b"1e400", b"1e-400", b"0.10000000000000000001"):
        assert parse(many[:-1] + b"," + odd + b"]") == [*[1.5] * 100, exact_number(odd.decode())]


def test_a_hash_of_one() -> None:
    """Two that no double tells apart have two hashes; any other number has the one that it always had."""
    rule = Redaction((), "hash", b"key")
    one, other = (rule.of(msgspec.Raw(number)) for number in (b"12345678901234567.89", b"12345678901234567.12"))
    assert bytes(one) != bytes(other)
    assert bytes(rule.of(msgspec.Raw(b"12345678901234567.890"))) == bytes(one)


def test_a_template_with_one() -> None:
    told = _event()
    assert Template("{a}/{b}/{d}/{e}").render(told) == "12345678901234567.89/1E+400/9007199254740993/0.5"


def test_a_condition_on_one() -> None:
    """Conditions compare doubles, as CEL does, and never fail for a number."""
    where = compile_where("after.a > 1.0 && after.b > 1.0 && after.c <= 0.0 && after.e == 0.5 && double(after.f) > 1.0")
    router = Router([Route(0, frozenset({"s"}), where=where)], ["s"], ["servers"])
    assert router.wants("s", _event())


def test_safe_integers_leave_them_as_they_are() -> None:
    told = text(_event(), safe_integers=True)
    assert b'"a":12345678901234567.89,"b":1E+400,"c":-1E-400' in told
    assert b'"f":"12345678901234567890123"' in told


def test_a_message_of_zaqar_is_a_text() -> None:
    assert json.loads(body(ODD)).encode() == ODD
    assert json.loads(body(b'{"a":1e-400}')) == '{"a":1e-400}'
    assert body(b'{"a":0.1,"b":[1.5,2e3]}') == b'{"a":0.1,"b":[1.5,2e3]}'
