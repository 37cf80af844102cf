"""Parses, compares and writes JSON values, with exact numbers. No I/O.

A number keeps all of its digits. Most are parsed as Python does. One that no double holds to the last digit
(``12345678901234567.89``, ``1e400``, ``1e-400``) becomes a ``Decimal``, so two of these are equal only if their digits
have the same value.
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
_MAX_DIGITS = 4300  # Python's limit for integers
_SURE = 16  # a double keeps any 15 digits; the point is one more character
_MANY = 16  # with more points than this in a text, it is faster to search for long numbers first than to check each


class Unreadable(ValueError):
    """A content that cannot be parsed: nested too deep for Python, or a number with an extreme exponent."""


def parse(source: bytes | msgspec.Raw) -> Any:
    """Parses JSON text; numbers of any size stay exact. Raises ``Unreadable``.

    An engine stores more than the quick parser accepts (half of a surrogate pair); the slow one accepts it.
    """
    try:
        return quick(source)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return slow(source)


def quick(source: bytes | msgspec.Raw) -> Any:
    """Like :func:`parse`, if the quick parser accepts it. Raises ``MsgspecError``, ``RecursionError``, ``ValueError``.

    ``msgspec`` writes everything that it accepts with the same meaning: NaN is never among it.
    """
    raw = bytes(source)
    if raw.count(b".") > _MANY and not may_be_inexact(raw):
        try:
            return _plain(raw)
        except msgspec.ValidationError:
            pass  # a number beyond all doubles
    return _exact(raw)


def slow(source: bytes | msgspec.Raw) -> Any:
    """Like :func:`parse`, for everything else."""
    try:
        return json.loads(bytes(source), parse_float=exact_number, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def exact_number(text: str) -> float | Decimal:
    """A JSON number with a fraction or exponent: a double if its shortest spelling is equal. Raises ``ValueError``."""
    value = float(text)
    if len(text) <= _SURE and "e" not in text and "E" not in text:
        return value
    short = repr(value)
    if short == text:
        return value
    try:
        exact = Decimal(text)
        # Equal decimals must look alike, so that they are written alike: 10e399 and 1e400.
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
    """Whether a number with a point or an exponent may have digits that its double loses.

    A double keeps any 15 digits, so a longer number has 8 on one side of the point, or 16 before an exponent. A number
    below the smallest doubles has a negative exponent (or many zeros). This searches for such shapes anywhere, also in
    strings: it is fast, and a false match only selects the slower parser.
    """
    shapes = raw.translate(_SHAPES)
    return b".00000000" in shapes or b"00000000." in shapes or b"0000000000000000e" in shapes or b"0e-0" in shapes


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _MAX_DIGITS else Decimal(digits)


def text_of(value: Any, *, indent: int | None = None, ordered: bool = True) -> str:
    """Writes a parsed content as JSON with exact numbers; keys sorted if ``ordered``. Raises ``RecursionError``.

    ``json`` cannot write a ``Decimal``, so each becomes a marked string first, whose mark and quotes are removed
    afterwards.
    """
    text = json.dumps(value, indent=indent, sort_keys=ordered, default=_marked)
    return _MARKED.sub(r"\1", text) if _MARK in text else text


_MARK = uuid.uuid4().hex  # different in each process, so that no document can contain it
_MARKED = re.compile(f'"{_MARK}([^"]*)"')


def _marked(value: Decimal) -> str:
    return f"{_MARK}{value}"


def json_equal(one: Any, other: Any) -> bool:
    """Whether two parsed contents are equal. ``1``, ``1.0`` and ``true`` differ, because JSON distinguishes them.

    So do ``0.0`` and ``-0.0``, because an engine sorts one before the other.
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
