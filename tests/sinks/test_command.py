"""The command sink, with real programs: that answer, that do not, that hang, crash and leave children behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import Outcome
from esfeed.sinks.command.sink import CommandSettings, CommandSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract
from tests.support.freezing import freeze

ACKING = """
import json, os, sys
for line in sys.stdin.buffer:
    refused = open(sys.argv[2]).read().split() if os.path.exists(sys.argv[2]) else []
    if json.loads(line)["data"]["id"] in refused:
        print("retry not this one", flush=True)
        continue
    with open(sys.argv[1], "ab", buffering=0) as file:
        file.write(line)
    print("ok", flush=True)
"""

STARTED = b"started"  # ends the line that a killed program left unfinished


def make(*command: str, **keys: Any) -> CommandSink:
    return CommandSink(CommandSettings.model_validate({"command": list(command), "timeout": "5s"} | keys))


def shell(script: str, *arguments: object, **keys: Any) -> CommandSink:
    """A sink whose program is a shell that reads ``script``; the arguments are $1 and on."""
    return make("sh", "-c", script, "program", *map(str, arguments), **keys)


def python(script: str, *arguments: object, **keys: Any) -> CommandSink:
    return make(sys.executable, "-c", script, *map(str, arguments), **keys)


def positions(path: Path) -> list[int]:
    return [json.loads(line)["data"]["position"] for line in path.read_bytes().splitlines()] if path.exists() else []


def some(*numbers: int, **keys: Any) -> list[Event]:
    return [sample_event(position=n, doc_id=f"doc-{n}", **keys) for n in numbers]


def kinds(outcomes: Any) -> list[tuple[str, bool]]:
    return [(outcome.kind, outcome.tried) for outcome in outcomes]


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be tombstoned, a moment later: a kill is not felt at once."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def wait_for(path: Path, seconds: float = 5) -> str:
    end = time.monotonic() + seconds
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.01)
    return path.read_text().strip()


class _CommandContract(SinkContract):
    @pytest.fixture(autouse=True)
    def _target(self, tmp_path: Path) -> None:
        self.out, self.broken, self.pid = tmp_path / "out", tmp_path / "broken", tmp_path / "pid"
        self.refused = tmp_path / "refused"

    def received(self) -> list[tuple[str, int]]:
        """What stands there in whole lines: a program may be half-way through one, or was killed there."""
        lines = self.out.read_bytes().split(b"\n")[:-1] if self.out.exists() else []
        events = [json.loads(line) for line in lines if not line.endswith(STARTED)]
        return [(event["id"], event["data"]["position"]) for event in events]

    def break_target(self) -> None:
        self.broken.touch()
        if self.pid.exists():
            pid = int(wait_for(self.pid))
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)  # a kill is not felt at once: it could still read a line, and take it with it
            self.pid.unlink()

    def restore_target(self) -> None:
        self.broken.unlink(missing_ok=True)
        self.refused.unlink(missing_ok=True)


class TestStream(_CommandContract):
    """The contract, with a program that says nothing, is killed, and dies again until it is repaired."""

    cannot_refuse = "a program that acknowledges nothing cannot refuse one event; TestAcked can"

    def make_sink(self) -> CommandSink:
        script = 'test -e "$1" && exit 1; echo $$ > "$2"; echo started >> "$3"; exec cat >> "$3"'
        return shell(script, self.broken, self.pid, self.out)


class TestAcked(_CommandContract):
    """The contract, with a program that answers each line, and is killed."""

    def make_sink(self) -> CommandSink:
        script = 'test -e "$1" && exit 1; echo $$ > "$2"; echo started >> "$3"; exec "$4" -c "$5" "$3" "$6"'
        return shell(script, self.broken, self.pid, self.out, sys.executable, ACKING, self.refused, ack=True)

    def refuse(self, doc_ids: Collection[str]) -> None:
        self.refused.write_text("\n".join(doc_ids))


class TestBatch(_CommandContract):
    """The contract, with a program that is started for each batch, and has a bad time."""

    cannot_refuse = "a program that always succeeds refuses nothing; TestBatchThatFails does"

    def make_sink(self) -> CommandSink:
        return shell('test -e "$1" && exit 75; exec cat >> "$2"', self.broken, self.out, mode="batch")


class TestBatchThatFails(_CommandContract):
    """The contract, with a program that fails by an ordinary code: it may be the events or not."""

    def make_sink(self) -> CommandSink:
        script = """
            test -e "$1" && exit 1
            cat > "$2.new"
            test -e "$3" && grep -qFf "$3" "$2.new" && echo "not this one" >&2 && exit 1
            cat "$2.new" >> "$2"
        """
        return shell(script, self.broken, self.out, self.refused, mode="batch")

    def refuse(self, doc_ids: Collection[str]) -> None:
        self.refused.write_text("\n".join(f'"id":"{doc_id}"' for doc_id in doc_ids))


# --- streams without answers


def test_ok_means_that_it_was_read(tmp_path: Path) -> None:
    """Events that lie in the pipe unread are not ok, though the pipe has room: the program may die before it reads."""
    sink = shell("sleep 0.3; exit 3")
    sink.open()
    outcomes = sink.send(some(1, 2))
    assert kinds(outcomes) == [("retry", True), ("retry", False)]
    assert outcomes[0].reason == "sh: it ended with code 3"
    sink.close()


def test_last_words(tmp_path: Path) -> None:
    """What a program says on standard error before it dies is in the reason: its end, cut, on one line."""
    sink = shell('read line; printf "%0999d\\033[31m out of ink\\n" 0 >&2; kill -9 $$')
    sink.open()
    first = sink.send(some(1) + some(2, after={"x": "y" * 200_000}))[0]
    assert first.kind == "retry"
    assert "it was ended by signal 9: 000" in first.reason
    assert first.reason.endswith("out of ink")
    assert len(first.reason) < 300
    assert first.reason.isprintable()
    sink.close()


def test_started_anew(tmp_path: Path) -> None:
    """A program that died is started again at the next batch, and gets a whole line first."""
    out = tmp_path / "out"
    sink = shell('test -e "$1" || { touch "$1"; read line; exit 1; }; exec cat >> "$2"', tmp_path / "once", out)
    sink.open()
    assert not any(outcome.ok for outcome in sink.send(some(1, 2)))
    assert all(outcome.ok for outcome in sink.send(some(1, 2)))
    sink.close()
    assert positions(out) == [1, 2]


def test_slow_program(tmp_path: Path) -> None:
    """A program that is slow, but within the time, gets all of a batch that is larger than its pipe."""
    out = tmp_path / "out"
    sink = shell('while read -r line; do printf "%s\\n" "$line" >> "$1"; sleep 0.01; done', out)
    sink.open()
    events = some(*range(1, 11), after={"x": "y" * 20_000})
    assert all(outcome.ok for outcome in sink.send(events))
    sink.close()
    assert positions(out) == list(range(1, 11))


@pytest.mark.parametrize("size", [10, 300_000], ids=["fits the pipe", "does not"])
@pytest.mark.parametrize("ack", [False, True])
def test_hang(tmp_path: Path, size: int, ack: bool) -> None:
    """A program that reads nothing is killed after ``timeout``, with all it started."""
    pids = tmp_path / "pids"
    sink = shell('sleep 60 & echo $! $$ > "$1"; wait', pids, timeout="300ms", ack=ack)
    sink.open()
    family = [int(pid) for pid in wait_for(pids).split()]
    begin = time.monotonic()
    outcomes = sink.send(some(1, 2, after={"x": "y" * size}))
    assert time.monotonic() - begin < 1.5
    assert kinds(outcomes) == [("retry", True), ("retry", False)]
    assert "did not accept the events within 0.3 s, and was killed" in outcomes[0].reason
    assert all(gone(pid) for pid in family)
    sink.close()


def test_stopped_program(tmp_path: Path) -> None:
    """A program that is stopped (SIGSTOP) is one that hangs."""
    pid = tmp_path / "pid"
    sink = shell('echo $$ > "$1"; exec cat > /dev/null', pid, timeout="300ms")
    sink.open()
    number = int(wait_for(pid))
    while b"cat" not in Path(f"/proc/{number}/cmdline").read_bytes():
        time.sleep(0.01)
    freeze(number)
    begin = time.monotonic()
    assert sink.send(some(1))[0].kind == "retry"
    assert time.monotonic() - begin < 2.5
    sink.close()
    assert gone(number)


# --- close


def test_close_lets_it_finish(tmp_path: Path) -> None:
    """At close the program sees the end of its input and may take its time to finish."""
    out = tmp_path / "out"
    sink = shell('cat >> "$1"; sleep 0.3; echo \'{"data":{"position":99}}\' >> "$1"', out)
    sink.open()
    assert sink.send(some(1))[0].ok
    sink.close()
    assert positions(out) == [1, 99]


def test_close_ends_what_does_not_finish(tmp_path: Path) -> None:
    """What ignores the end of its input is killed, though it ignores SIGTERM, and its children with it."""
    pids = tmp_path / "pids"
    sink = shell('trap "" TERM; sleep 60 & echo $! $$ > "$1"; while true; do sleep 0.1; done', pids, timeout="200ms")
    sink.open()
    family = [int(pid) for pid in wait_for(pids).split()]
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 2.5
    assert all(gone(pid) for pid in family)


def test_child_that_holds_the_pipes(tmp_path: Path) -> None:
    """A child that outlives the program, with its pipes open, holds nobody up, and is ended."""
    pids = tmp_path / "pids"
    sink = shell('sleep 60 & echo $! > "$1"; exit 7', pids, ack=True)
    sink.open()
    child = int(wait_for(pids))
    begin = time.monotonic()
    assert "ended with code 7" in sink.send(some(1))[0].reason
    assert time.monotonic() - begin < 2
    sink.close()
    assert gone(child)


# --- answers


def test_answers(tmp_path: Path) -> None:
    """Each line is answered by itself; behind a retry the document's later events are not sent."""
    script = """
import json, sys
for line in sys.stdin:
    event = json.loads(line)["data"]
    open(sys.argv[1], "a").write(line)
    print({1: "ok", 2: "retry  busy\\x1b[31m", 3: "rejected", 4: "ok thanks"}[event["position"]], flush=True)
"""
    out = tmp_path / "out"
    sink = python(script, out, ack=True)
    sink.open()
    docs = {1: "a", 2: "b", 3: "c", 4: "d", 5: "b"}
    outcomes = sink.send([sample_event(position=n, doc_id=doc) for n, doc in docs.items()])
    assert kinds(outcomes) == [("ok", True), ("retry", True), ("rejected", True), ("ok", True), ("retry", False)]
    assert [outcome.reason for outcome in outcomes[1:3]] == ["busy [31m", "the program rejects it"]
    sink.close()
    assert positions(out) == [1, 2, 3, 4]


def test_killed_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    """What was answered before the program died is ok; the rest comes again, and nothing is missing at the end."""
    script = """
import json, os, signal, sys
for line in sys.stdin:
    open(sys.argv[1], "a").write(line)
    print("ok", flush=True)
    if json.loads(line)["data"]["position"] % 4 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    out = tmp_path / "out"
    sink = python(script, out, ack=True)
    sink.open()
    left, deaths = some(*range(1, 21)), 0
    while left:
        outcomes = sink.send(left)
        if not all(outcome.ok for outcome in outcomes):
            deaths += 1
            assert "signal 9" in next(outcome.reason for outcome in outcomes if not outcome.ok)
        left = [event for event, outcome in zip(left, outcomes, strict=True) if not outcome.ok]
    sink.close()
    assert deaths >= 4
    assert list(dict.fromkeys(positions(out))) == list(range(1, 21))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("read -r x; echo yes; cat > /dev/null", 'answered "yes" instead of ok'),
        (r"read -r x; printf 'ok\nok\n'; cat > /dev/null", 'answered "ok"'),
        ("read -r x; echo; cat > /dev/null", 'answered ""'),
        ("read -r x; head -c 100000 /dev/zero; cat > /dev/null", "instead of ok"),
    ],
)
def test_nonsense_answers(script: str, said: str) -> None:
    """An answer that is none, or one too many, ends the program: nobody could tell any more what answers what."""
    sink = shell(script, ack=True)
    sink.open()
    outcomes: list[Outcome] = []
    while all(outcome.ok for outcome in outcomes):
        outcomes = list(sink.send(some(1)))
    assert said in outcomes[0].reason
    sink.close()


# --- a program a batch


def test_batch_gets_all_lines(tmp_path: Path) -> None:
    """A run reads a whole batch to its end."""
    out = tmp_path / "out"
    sink = shell('wc -l >> "$1"', out, mode="batch")
    sink.open()
    assert all(outcome.ok for outcome in sink.send(some(1, 2, 3)))
    assert all(outcome.ok for outcome in sink.send(some(4)))
    sink.close()
    assert out.read_text().split() == ["3", "1"]


def test_batch_that_needs_no_input() -> None:
    """A program that ends well without reading has taken the batch: that is its own affair."""
    sink = make("true", mode="batch")
    sink.open()
    assert all(outcome.ok for outcome in sink.send(some(1, 2, after={"x": "y" * 200_000})))
    sink.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (75, [("retry", True), ("retry", False), ("retry", False)]),
        (65, [("ok", True), ("rejected", True), ("ok", True)]),
        (1, [("ok", True), ("retry", True), ("retry", False)]),
    ],
)
def test_batch_with_a_bad_event(tmp_path: Path, code: int, expected: list[tuple[str, bool]]) -> None:
    """65 says that data are bad, and only the bad event is rejected; 75 that all should wait; any other code may be
    either, so the event at fault is found and tried again, and those before it are not held up by it.
    """
    sink = shell(f'grep -q poison && {{ echo "cannot $1" >&2; exit {code}; }}; true', "swallow", mode="batch")
    sink.open()
    events = [sample_event(position=n, doc_id=f"{n}", after={"x": "poison" if n == 2 else ""}) for n in (1, 2, 3)]
    outcomes = sink.send(events)
    assert kinds(outcomes) == expected
    assert f"sh: it ended with code {code}: cannot swallow" in {outcome.reason for outcome in outcomes}
    sink.close()


def test_batch_that_hangs(tmp_path: Path) -> None:
    """A run that does not end is killed after ``timeout``, and counts for nothing."""
    sink = shell("cat > /dev/null; sleep 60", mode="batch", timeout="300ms")
    sink.open()
    begin = time.monotonic()
    outcomes = sink.send(some(1, 2))
    assert time.monotonic() - begin < 1.5
    assert kinds(outcomes) == [("retry", True), ("retry", False)]
    assert "did not end within 0.3 s" in outcomes[0].reason
    sink.close()


# --- what it is given, and what cannot be run


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program gets what it is given, and of esfeed's own only the harmless; secrets show nowhere."""
    monkeypatch.setenv("ESFEED_CONFIG", "x")
    monkeypatch.setenv("ES_PASSWORD", "s3cret")
    monkeypatch.setenv("LC_TIME", "C")
    out = tmp_path / "out"
    sink = shell('env > "$1"; cat > /dev/null', out, environment={"TOKEN": "env:ES_PASSWORD"})
    sink.open()
    assert sink.send(some(1))[0].ok
    sink.close()
    given = dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)
    assert given["TOKEN"] == "s3cret"
    assert given["LC_TIME"] == "C"
    assert given["PATH"] == os.environ["PATH"]
    assert not {"ESFEED_CONFIG", "ES_PASSWORD"} & set(given)
    assert "s3cret" not in repr(sink._settings)


def test_no_shell(tmp_path: Path) -> None:
    """Arguments reach the program as they are."""
    out = tmp_path / "out"
    sink = python("import sys; open(sys.argv[1], 'w').write(sys.argv[2]); sys.stdin.read()", out, "$(id); a 'b' *")
    sink.open()
    assert sink.send(some(1))[0].ok
    sink.close()
    assert out.read_text() == "$(id); a 'b' *"


@pytest.mark.parametrize("mode", ["stream", "batch"])
@pytest.mark.parametrize("command", ["/no/such/program", "no-such-program", "/etc/passwd", "/etc/passwd/x"])
def test_no_program(mode: str, command: str) -> None:
    """A program that is not there, or that may not be run, is an error of ``command``."""
    with pytest.raises(ConfigError, match=command) as caught:
        make(command, mode=mode).open()
    assert caught.value.key == "command"


def test_program_taken_away(tmp_path: Path) -> None:
    """A program that vanishes while the feed runs (an upgrade) is a matter of trying again."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec cat > /dev/null\n")
    program.chmod(0o755)
    sink = make(str(program), mode="batch")
    sink.open()
    program.rename(tmp_path / "away")
    with pytest.raises(Retryable, match="restore it"):
        sink.send(some(1))
    (tmp_path / "away").rename(program)
    assert sink.send(some(1))[0].ok
    sink.close()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"command": []}, "at least 1"),
        ({"command": "ls -l"}, "tuple"),
        ({"command": [""]}, "the name of a program first"),
        ({"mode": "batch", "ack": True}, "remove ack"),
        ({"environment": {"A=B": "s3cret"}}, "is not a valid name"),
        ({"environment": {"A": "s3cret\0"}}, "is not a valid name"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read."""
    with pytest.raises(ValidationError, match=message) as caught:
        CommandSettings.model_validate({"command": ["true"]} | keys)
    assert "s3cret" not in str(caught.value)
