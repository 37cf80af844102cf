"""Standard output: CloudEvents for a pipe, a line for a person at a terminal."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from esfeed.errors import ConfigError, ReaderGone, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK
from esfeed.sinks.stdout.pretty import clean, describe
from esfeed.sinks.stdout.sink import StdoutSettings, StdoutSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract


def make(stream: IO[Any] | None = None, **keys: Any) -> StdoutSink:
    return StdoutSink(StdoutSettings(**keys), stream)


class TestFullDiskBehindIt(SinkContract):
    """The contract, with standard output redirected to a file, on a device that is full while it is broken."""

    cannot_refuse = "a disk takes any line that it has room for, whatever document it is of"

    @pytest.fixture(autouse=True)
    def _target(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path / "out"
        with self.path.open("ab") as self.stream:
            yield

    def make_sink(self) -> StdoutSink:
        return make(self.stream)

    def received(self) -> list[tuple[str, int]]:
        events = [json.loads(line) for line in self.path.read_bytes().split(b"\n")[:-1]]
        return [(event["id"], event["data"]["position"]) for event in events]

    def break_target(self) -> None:
        self._sound = os.dup(self.stream.fileno())
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, self.stream.fileno())
        os.close(full)

    def restore_target(self) -> None:
        os.dup2(self._sound, self.stream.fileno())
        os.close(self._sound)


# --- a pipe


def test_pipe_gets_cloudevents(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Where nobody watches, each line is an event to the SDK of CloudEvents."""
    sink = make()
    sink.open()
    assert list(sink.send([sample_event(position=n) for n in (1, 2)])) == [OK, OK]
    sink.close()
    for line, number in zip(capfdbinary.readouterr().out.splitlines(), (1, 2), strict=True):
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, line)
        event = from_structured_event(message)
        data = event.get_data()
        assert isinstance(data, dict)
        assert data["position"] == number
        assert event.get_type() == "esfeed.updated"


@pytest.mark.parametrize(
    "stream",
    [io.StringIO(), io.TextIOWrapper(io.BytesIO(), "ascii"), io.BytesIO()],
    ids=["StringIO", "TextIOWrapper", "BytesIO"],
)
def test_stand_in_without_descriptor(stream: Any) -> None:
    """Streams in memory, as test runners put in the place of standard output, are written too."""
    sink = make(stream)
    sink.open()
    event = sample_event(doc_id="日本")
    assert list(sink.send([event])) == [OK]
    buffer = getattr(stream, "buffer", stream)
    assert json.loads(buffer.getvalue())["id"] == event.id


def test_what_was_printed_before_comes_before(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Events do not overtake what the process printed earlier."""
    sys.stdout.write("first")
    sink = make()
    sink.open()
    sink.send([sample_event()])
    assert capfdbinary.readouterr().out.startswith(b"first{")


def test_reader_gone() -> None:
    """A reader that left ends the run: no retry, and no event is at fault."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        sink = make(stream)
        sink.open()
        os.close(reader)
        with pytest.raises(ReaderGone, match="the reader of standard output is gone"):
            sink.send([sample_event()])
        sink.close()


def test_head_ends_quietly() -> None:
    """In a pipeline with ``head``, the writer gets to know at once, and Python adds no complaint at its exit."""
    code = """if True:
        from esfeed.errors import ReaderGone
        from esfeed.sinks.stdout.sink import StdoutSettings, StdoutSink
        from esfeed.testing.events import sample_event
        sink = StdoutSink(StdoutSettings())
        sink.open()
        try:
            while True:
                sink.send([sample_event()] * 10)
        except ReaderGone:
            sink.close()
    """
    command = f"set -o pipefail; {sys.executable} -c '{code}' | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["specversion"] == "1.0"


def test_slow_reader_of_a_non_blocking_pipe() -> None:
    """A pipe that is full, and non-blocking since somebody else made it so, is waited for; nothing is lost."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    received: list[bytes] = []

    def read() -> None:
        time.sleep(0.1)
        while data := os.read(reader, 10_000):
            received.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(writer, "w") as stream:
        sink = make(stream)
        sink.open()
        sink.send([sample_event(position=n, after={"x": "y" * 1000}) for n in range(1, 1001)])
        sink.close()
    thread.join()
    os.close(reader)
    lines = b"".join(received).splitlines()
    assert [json.loads(line)["data"]["position"] for line in lines] == list(range(1, 1001))


@pytest.mark.parametrize("taken", [[1], [100], [700], [5, 6], [100, 0, 0]])
def test_torn_line_is_finished_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int]) -> None:
    """A fault in the middle of a line tears none: the next ``send`` finishes it before anything else."""
    real, plan = os.write, list(taken)

    def write(descriptor: int, data: memoryview) -> int:
        if not plan:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: plan.pop(0)])

    path = tmp_path / "out"
    with path.open("wb") as stream:
        sink = make(stream)
        sink.open()
        batch = [sample_event(position=n) for n in (1, 2)]
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write)
            for _ in range(2):
                with pytest.raises(Retryable, match="No space left on device"):
                    sink.send(batch)
        assert list(sink.send(batch)) == [OK, OK]
    positions = [json.loads(line)["data"]["position"] for line in path.read_bytes().splitlines()]
    assert positions[-2:] == [1, 2]
    assert positions[:-2] in ([], [1], [1, 2])


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started without standard output is told so when the sink opens."""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match="no standard output"):
        make().open()


def test_closed_descriptor(tmp_path: Path) -> None:
    """A descriptor closed under the stream is a fault like any other, not a crash."""
    with (tmp_path / "out").open("w") as stream:
        sink = make(stream)
        sink.open()
        kept = os.dup(stream.fileno())
        os.close(stream.fileno())
        with pytest.raises(Retryable, match="Bad file descriptor"):
            sink.send([sample_event()])
        os.dup2(kept, stream.fileno())
        os.close(kept)


# --- a terminal


def on_terminal(events: list[Event], columns: int, **keys: Any) -> str:
    """What a terminal of that width is sent."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with os.fdopen(slave, "w") as stream:
        sink = make(stream, **keys)
        sink.open()
        assert list(sink.send(events)) == [OK] * len(events)
        sink.close()
        text = b""
        while text.count(b"\n") < len(events):
            text += os.read(master, 65536)
    os.close(master)
    return text.decode()


def plain(text: str) -> list[str]:
    """The lines of ``text`` without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text).replace("\r\n", "\n").split("\n")[:-1]


UUID = "6c41f0aa-0000-4000-8000-123456789abc"


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_terminal() -> None:
    """At a terminal there is a coloured line an event: when, what, which, and what changed to what."""
    events = [sample_event(op=op, doc_id=UUID) for op in ("created", "updated", "deleted", "read")]
    text = on_terminal(events, 80)
    assert plain(text) == [
        "10:00:00Z created OS::Nova::Server/6c41f0aa…  name web-1  status ACTIVE",
        "10:00:00Z updated OS::Nova::Server/6c41f0aa…  status BUILD → ACTIVE",
        "10:00:00Z deleted OS::Nova::Server/6c41f0aa…  name web-1  status BUILD",
        "10:00:00Z read    OS::Nova::Server/6c41f0aa…  name web-1  status ACTIVE",
    ]
    for code, op in (("32", "created"), ("33", "updated"), ("31", "deleted"), ("2", "read   ")):
        assert f"\x1b[{code}m {op} " in text


def test_wide_terminal() -> None:
    """A wide terminal shows dates and whole ids."""
    line = f"2026-11-24 10:00:00Z updated OS::Nova::Server/{UUID}  status BUILD → ACTIVE"
    assert plain(on_terminal([sample_event(doc_id=UUID)], 120)) == [line]


@pytest.mark.parametrize("columns", [1, 10, 40, 80, 119])
def test_one_line_at_any_width(columns: int) -> None:
    """A line that is too long for the terminal ends in an ellipsis and never wraps, wide characters or not."""
    events = [sample_event(before={"日本": "日本語" * 50}, after={"日本": "語本日" * 50}, changed=("日本",))] * 3
    lines = plain(on_terminal(events, columns))
    assert len(lines) == 3
    assert all(Console().render_str(line, markup=False).cell_len <= columns for line in lines)
    assert lines[0].endswith("…")


def test_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """``json`` holds at a terminal, ``pretty`` in a pipe, where nothing is coloured and nothing cut."""
    assert json.loads(on_terminal([sample_event()], 80, format="json"))["specversion"] == "1.0"
    stream = io.StringIO()
    sink = make(stream, format="pretty")
    sink.open()
    sink.send([sample_event(doc_id="x" * 78)])
    want = "2026-11-24 10:00:00Z updated OS::Nova::Server/" + "x" * 78 + "  status BUILD → ACTIVE\n"
    assert stream.getvalue() == want


def test_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is honoured (https://no-color.org)."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33" not in on_terminal([sample_event()], 80)


# --- describe


def test_changed_fields() -> None:
    """Only what changed is shown: new, gone, nested, empty and huge values, and digits beyond 2**53 as they are."""
    event = sample_event(
        before=b'{"gone": 1, "n": 18446744073709551615, "s": "", "nest": {"a": 1}, "same": 1}',
        after=b'{"new": null, "n": 18446744073709551616, "s": "x", "nest": {"a": [1, 2]}, "same": 1}',
        changed=("gone", "new", "n", "s", "nest"),
    )
    assert describe(event).plain.partition("  ")[2].split("  ") == [
        "gone 1 → (none)",
        "new (none) → null",
        "n 18446744073709551615 → 18446744073709551616",
        's "" → x',
        'nest {"a": 1} → {"a": [1, 2]}',
    ]


def test_many_fields_and_long_values_are_cut() -> None:
    """Six fields and forty characters a value are enough; how much is left out is said."""
    after = {f"f{n}": "x" * 1_000_000 for n in range(10)}
    text = describe(sample_event(after=after, changed=tuple(after))).plain
    assert len(text) < 500
    assert text.endswith("…  +4 more")
    assert "f0 → " + "x" * 39 + "…  f1" in text


def test_nothing_known_before() -> None:
    """Without ``before`` (``keep_documents = false``) the line is shorter, not wrong."""
    assert describe(sample_event(after={"a": 1}, changed=None)).plain.endswith("/6c41f0aa")
    assert describe(sample_event(after={"a": 1}, changed=("a",))).plain.endswith("  a → 1")


def test_view() -> None:
    """Which of Searchlight's two views an event is of is shown."""
    assert "6c41f0aa (admin)  status" in describe(sample_event(view="admin")).plain


@pytest.mark.parametrize(
    "raw", [b"", b"[1]", b"nope", b"\xff\xfe", b'{"a": "\\ud800"}', b'{"a": "\xff"}', b'{"a": ' + b"[" * 100_000]
)
def test_unreadable_documents(raw: bytes) -> None:
    """A document that is no JSON object, or no JSON, or no UTF-8, still makes a line."""
    text = describe(sample_event(before=raw, after=raw, changed=("a",))).plain
    assert text.startswith("2026-11-24 10:00:00Z updated OS::Nova::Server/6c41f0aa  a ")


def test_hostile_content() -> None:
    """Markup is text, and what a terminal would act upon is shown as a picture."""
    evil = "[red]x[/red] \x1b]0;title\x07\x1b[2J\u202e\u2028\x9b31m\n:smile:"
    event = sample_event(
        type=evil, doc_id=evil, time=evil, before={evil: "a"}, after={evil: evil}, changed=(evil,), watch=evil
    )
    text = describe(event).plain
    assert text.isprintable()
    assert "[red]x[/red] ␛]0;title␇␛[2J��" in text
    (line,) = plain(on_terminal([event], 1000))
    assert line == text


@given(st.text())
def test_clean(text: str) -> None:
    """Whatever the text: one line, no longer than asked for, nothing that a terminal acts upon."""
    cleaned = clean(text, 20)
    assert len(cleaned) <= 20
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", cleaned)
    if text.isprintable() and len(text) <= 20:
        assert cleaned == text


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)))
def test_describe_never_fails(document: dict[str, Any]) -> None:
    """Any document makes one line."""
    for op in ("created", "updated", "deleted", "read"):
        event = sample_event(op=op, before=document, after=document, changed=tuple(document))
        assert "\n" not in describe(event, 80).plain


@pytest.mark.parametrize(
    ("form", "key"),
    [("json", "specversion"), ("cloudevents", "specversion"), ("debezium", "source"), ("searchlight", "event_type")],
)
def test_other_forms(form: str, key: str) -> None:
    """A form by its name is one object a line."""
    stream = io.BytesIO()
    sink = StdoutSink(StdoutSettings.model_validate({"format": form}), stream)
    sink.open()
    sink.send([sample_event(position=1), sample_event(position=2)])
    lines = stream.getvalue().splitlines()
    assert [key in json.loads(line) for line in lines] == [True, True]


def test_raw_form_is_one_line() -> None:
    """A document that was indexed over several lines is one all the same."""
    stream = io.BytesIO()
    sink = StdoutSink(StdoutSettings.model_validate({"format": "raw"}), stream)
    sink.open()
    sink.send([sample_event(after=b'{\n "a": 1\n}')])
    assert stream.getvalue() == b'{  "a": 1 }\n'
