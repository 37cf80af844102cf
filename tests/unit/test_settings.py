"""Durations, sizes, and values from the environment."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.config.types import Section, SinkSection, Text, from_outside, seconds, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("250ms", 0.25), ("1s", 1), ("5m", 300), ("1.5h", 5400), ("7d", 604800), (" 2 s ", 2), (3, 3), (0.5, 0.5), (0, 0)],
)
def test_seconds(text: object, expected: float) -> None:
    """Durations are written with a unit, or as a number of seconds."""
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["", "1", "1 sec", "s", "-1s", -1, True, None, [], float("nan"), "1s1s", "1S"])
def test_no_duration(value: object) -> None:
    """Anything else is refused with examples of what to write."""
    with pytest.raises(ValueError, match="write a duration such as"):
        seconds(value)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("64kb", 65536), ("32MB", 33554432), ("1G", 1 << 30), (5, 5), ("2 K", 2048)]
)
def test_size_bytes(text: object, expected: int) -> None:
    """Sizes are powers of 1024, in any case, with or without the B."""
    assert size_bytes(text) == expected


@pytest.mark.parametrize("value", ["", "MB", "1.5MB", "-1", -1, True, 1.5, None, "1TB"])
def test_no_size(value: object) -> None:
    """Anything else is refused with examples of what to write."""
    with pytest.raises(ValueError, match="write a size such as"):
        size_bytes(value)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``env:NAME`` stands for the variable; one that is not set is named."""
    monkeypatch.setenv("ESFEED_TEST", "hello")
    monkeypatch.delenv("ESFEED_NONE", raising=False)
    assert from_outside("env:ESFEED_TEST") == "hello"
    assert from_outside("plain") == "plain"
    assert from_outside(5) == 5
    with pytest.raises(ValueError, match="ESFEED_NONE is not set"):
        from_outside("env:ESFEED_NONE")


def test_file(tmp_path: Path) -> None:
    """``file:/PATH`` stands for the text of the file without the end of its last line, as secrets are mounted."""
    secret = tmp_path / "secret"
    for written, meant in (("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3 \r\n", "s3 "), ("a\nb\n\n", "a\nb\n")):
        secret.write_bytes(written.encode())
        assert from_outside(f"file:{secret}") == meant
    for plain in ("file:///srv/x", "file:relative", "files:/x"):
        assert from_outside(plain) == plain
    for content, wrong in ((b"\n", "is empty"), (b"\xff\xfe", "is not UTF-8"), (b"x" * 70_000, "than 65,536 bytes")):
        secret.write_bytes(content)
        with pytest.raises(ValueError, match=wrong) as caught:
            from_outside(f"file:{secret}")
        assert str(secret) in str(caught.value)
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            from_outside(f"file:{path}")


def test_section_is_closed_and_frozen() -> None:
    """A section refuses unknown keys, wrong types and later changes."""

    class Some(Section):
        name: Text = "x"

    for wrong in ({"nam": "y"}, {"name": 5}):
        with pytest.raises(ValueError, match="Some"):
            Some.model_validate(wrong)
    with pytest.raises(ValueError, match="frozen"):
        Some().name = "y"


def test_sink_section_needs_a_docstring() -> None:
    """A sink's section without a docstring is refused, since the reference is made from it."""
    with pytest.raises(TypeError, match="needs a docstring"):
        type("Bare", (SinkSection,), {"__module__": __name__})


@given(st.text() | st.floats() | st.integers(-(10**20), 10**20) | st.booleans() | st.none())
def test_only_value_errors(value: object) -> None:
    """Whatever is written, the answer is a number or a ValueError."""
    for read in (seconds, size_bytes):
        with suppress(ValueError):
            assert read(value) >= 0
