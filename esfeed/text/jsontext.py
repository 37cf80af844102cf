"""What JSON text means, whichever way it is written. Pure.

A number is what its digits say. Most are read as Python reads them; one that no double holds to the last digit
(``12345678901234567.89``, ``1e400``, ``1e-400``) is a ``Decimal``, so that two of these are the same only where their
digits say the same.
"""

from __future__ import annotations

import decimal
import json
import math
import re
import uuid
from decimal import Decimal
from typing import Any

import msgspec

_WIDE = decimal.Context(prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
_MOST_DIGITS = 4300  # Python makes no whole number of more
_SURE = 16  # a double keeps any 15 digits; the point is one more letter
_MANY = 16  # points in a text, above which it is quicker to look for long numbers first than to look at each


class Unreadable(ValueError):
    """A content whose meaning cannot be had: nested beyond what Python can hold, or a number beyond any count."""


def parse(source: bytes | msgspec.Raw) -> Any:
    """The meaning of JSON text: numbers of any size are kept exactly. Raises ``Unreadable``.

    An engine keeps more than the quick parser takes (half of a surrogate pair); the slow one takes it.
    """
    try:
        return quick(source)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return slow(source)


def quick(source: bytes | msgspec.Raw) -> Any:
    """As :func:`parse`, for what the quick parser takes. Raises ``MsgspecError``, ``RecursionError`` or ``ValueError``.

    What it takes, ``msgspec`` writes again as it means: no NaN is among it.
    """
    raw = bytes(source)
    if raw.count(b".") > _MANY and not may_be_inexact(raw):
        try:
            return _plain(raw)
        except msgspec.ValidationError:
            pass  # a number beyond all doubles
    return _exact(raw)


def slow(source: bytes | msgspec.Raw) -> Any:
    """As :func:`parse`, for whatever is left."""
    try:
        return json.loads(bytes(source), parse_float=exact_number, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def exact_number(text: str) -> float | Decimal:
    """A JSON number that is no whole one: a double where its shortest spelling says the same. Raises ``ValueError``."""
    value = float(text)
    if len(text) <= _SURE and "e" not in text and "E" not in text:
        return value
    short = repr(value)
    if short == text:
        return value
    try:
        exact = Decimal(text)
        # Equal decimals must be alike, so that they are written alike: 10e399 and 1e400.
        return value if exact == Decimal(short) else _WIDE.normalize(exact)
    except decimal.DecimalException as error:
        raise ValueError(f"a number with an exponent beyond any count: {text[:40]}") from error


_plain = msgspec.json.Decoder().decode
_exact = msgspec.json.Decoder(float_hook=exact_number).decode
_SHAPES = bytes(
    ord("0") if chr(byte).isdecimal() and byte < 128 else ord("e") if byte in b"eE" else byte if byte in b".-" else 32
    for byte in range(256)
)


def may_be_inexact(raw: bytes) -> bool:
    """Whether a number with a point or an exponent may say more than its double does.

    A double keeps 15 digits whatever they are, so one of more has 8 on one side of the point, or 16 before an exponent.
    Below the smallest doubles it has a negative exponent (or many zeros). Told by looking for such shapes anywhere, in
    texts as well: it is quick, and a document that only looks like it is read just as well.
    """
    shapes = raw.translate(_SHAPES)
    return b".00000000" in shapes or b"00000000." in shapes or b"0000000000000000e" in shapes or b"0e-0" in shapes


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _MOST_DIGITS else Decimal(digits)


def text_of(value: Any, *, indent: int | None = None, ordered: bool = True) -> str:
    """A parsed content as JSON text, its numbers exact; its keys in order where ``ordered``. Raises ``RecursionError``.

    ``json`` writes no ``Decimal``, so each is a marked text first, and loses mark and quotes then.
    """
    text = json.dumps(value, indent=indent, sort_keys=ordered, default=_marked)
    return _MARKED.sub(r"\1", text) if _MARK in text else text


_MARK = uuid.uuid4().hex  # of this process alone: no document can have it
_MARKED = re.compile(f'"{_MARK}([^"]*)"')


def _marked(value: Decimal) -> str:
    return f"{_MARK}{value}"


def json_equal(one: Any, other: Any) -> bool:
    """Whether two parsed contents mean the same. ``1``, ``1.0`` and ``true`` do not: JSON tells them apart.

    Nor do ``0.0`` and ``-0.0``, which an engine sorts one before the other.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(json_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    if isinstance(one, float) and (not one or math.isnan(one)):
        return repr(one) == repr(other)
    return bool(one == other)
