"""The file sink: every line is one whole event, whatever dies while writing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from esfeed.envelopes.cloudevents import cloudevent
from esfeed.errors import ConfigError, Retryable
from esfeed.ports import OK
from esfeed.sinks.file.sink import FileSettings, FileSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract


def make(path: Path | str, **keys: Any) -> FileSink:
    return FileSink(FileSettings(path=str(path), **keys))


def events_in(path: Path) -> list[dict[str, Any]]:
    """Every line as JSON; fails where one is not whole."""
    text = path.read_bytes()
    assert text == b"" or text.endswith(b"\n")
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


def positions(path: Path) -> list[int]:
    return [event["data"]["position"] for event in events_in(path)]


def send(sink: FileSink, *numbers: int, **keys: Any) -> None:
    assert list(sink.send([sample_event(position=n, **keys) for n in numbers])) == [OK] * len(numbers)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int | None], None]]:
    """Sets the largest file that this process may write: EFBIG, a real fault in mid-write that needs no privilege."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB of our own: ENOSPC as it really comes. Needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount here; TestFileTooBig breaks the same writes without")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class _FileContract(SinkContract):
    cannot_refuse = "a disk takes any line that it has room for, whatever document it is of"

    path: Path

    def make_sink(self) -> FileSink:
        return make(self.path)

    def received(self) -> list[tuple[str, int]]:
        if not self.path.exists():
            return []
        return [(event["id"], event["data"]["position"]) for event in events_in(self.path)]


class TestFileTooBig(_FileContract):
    """The contract, with a target broken by a limit that falls into the middle of a line."""

    @pytest.fixture(autouse=True)
    def _target(self, tmp_path: Path, limit_files: Callable[[int | None], None]) -> None:
        self.path, self._limit = tmp_path / "events.jsonl", limit_files

    def break_target(self) -> None:
        self._limit((self.path.stat().st_size if self.path.exists() else 0) + 100)

    def restore_target(self) -> None:
        self._limit(None)


class TestFullDisk(_FileContract):
    """The contract, with a target broken by a disk that is really full."""

    @pytest.fixture(autouse=True)
    def _target(self, small_disk: Path) -> None:
        self.path = small_disk / "events.jsonl"

    def break_target(self) -> None:
        with (self.path.parent / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)

    def restore_target(self) -> None:
        (self.path.parent / "filler").unlink()


class TestRotating(_FileContract):
    """The contract, with files so small that nearly each event begins a new one."""

    @pytest.fixture(autouse=True)
    def _target(self, tmp_path: Path, limit_files: Callable[[int | None], None]) -> None:
        self.path, self._limit = tmp_path / "events.jsonl", limit_files

    def make_sink(self) -> FileSink:
        return make(self.path, rotate_size=1500, rotate_keep=99, fsync=False)

    def received(self) -> list[tuple[str, int]]:
        numbered = [self.path.with_name(f"{self.path.name}.{n}") for n in range(99, 0, -1)]
        files = [path for path in [*numbered, self.path] if path.exists()]
        return [(event["id"], event["data"]["position"]) for path in files for event in events_in(path)]

    def break_target(self) -> None:
        self._limit(100)

    def restore_target(self) -> None:
        self._limit(None)


# --- torn lines


WHOLE = b'{"specversion":"1.0","id":"1"}\n'


TORN = [b"{", b'{"specversion":"1.0","id":"2', b'{"a":{}}{"b"', b'{"a":"' + b"x" * 300_000]


@pytest.mark.parametrize(
    ("before", "torn"),
    [
        *((before, torn) for before in (b"", WHOLE, WHOLE * 5000) for torn in TORN),
        (WHOLE, b"\0" * 5000),
        (b'{  "raw": "' + b"x" * 200_000 + b'" }\n', b'{  "raw'),
        (b"{}\n" * 3, b"{"),
    ],
)
def test_torn_line_is_cut_off(tmp_path: Path, before: bytes, torn: bytes) -> None:
    """What follows the last line feed goes on ``open``; all before it stays as it is."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(before + torn)
    sink = make(path)
    sink.open()
    assert path.read_bytes() == before
    sink.close()


def test_huge_torn_line_is_found_by_reading_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn quarter of a gigabyte is skipped over block by block, and nothing before its line is read."""
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.write(WHOLE)
        file.truncate(1 << 28)  # sparse
    sizes: list[int] = []
    real = os.pread

    def pread(file: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return real(file, size, at)

    monkeypatch.setattr(os, "pread", pread)
    sink = make(path)
    sink.open()
    assert path.read_bytes() == WHOLE
    assert max(sizes) <= 1 << 16
    sink.close()


def test_whole_event_without_line_feed_is_kept(tmp_path: Path) -> None:
    """An editor that took the last line feed costs no event: the line feed is put back."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(WHOLE + WHOLE[:-1])
    sink = make(path)
    sink.open()
    assert path.read_bytes() == WHOLE * 2
    sink.close()


@pytest.mark.parametrize(
    "odd", [b'{"a":1e400}', b'{"a":12345678901234567.89}', b'{"a":"\\ud83d"}', b'{"a":%s}' % (b"9" * 5000)]
)
def test_whole_event_is_known_whatever_it_holds(tmp_path: Path, odd: bytes) -> None:
    """Numbers beyond doubles and half of a surrogate pair are no reason to take a whole line for half of one."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(WHOLE + odd)
    sink = make(path)
    sink.open()
    assert path.read_bytes() == WHOLE + odd + b"\n"
    sink.close()


@pytest.mark.parametrize(
    "foreign", [b'{ "a": 1,\n "b": 2\n}', b"Dear diary,\ntoday I", b'{\n  "port": 80\n} # end', b"\x7fELF\x02", b"{ a"]
)
def test_foreign_file_is_not_cut(tmp_path: Path, foreign: bytes) -> None:
    """A mistyped path is refused instead of costing a stranger's file its end."""
    path = tmp_path / "diary"
    path.write_bytes(foreign)
    with pytest.raises(ConfigError, match="other than events"):
        make(path).open()
    assert path.read_bytes() == foreign


def _write_until_killed(path: Path, answers: int, keys: dict[str, Any]) -> None:
    sink = make(path, **keys)
    sink.open()
    position = 0
    document = b'{"x":"' + b"y" * 300_000 + b'"}'  # raw, so that most of the time goes into writing
    while True:
        sink.send([sample_event(position=position + n, after=document) for n in range(1, 6)])
        position += 5
        os.write(answers, b"%d\n" % position)


@pytest.mark.parametrize("keys", [{}, {"rotate_size": 1_000_000, "rotate_keep": 1000}], ids=["one file", "rotating"])
def test_killed_while_writing(tmp_path: Path, keys: dict[str, Any]) -> None:
    """kill -9 at random moments: after ``open`` every line is whole and every event answered ok is there."""
    rng, torn, tries = random.Random(5), 0, 0
    while tries < 30 or torn < 3:
        tries += 1
        assert tries < 500, "hardly a kill fell into a write: the test proves nothing"
        folder = tmp_path / str(tries)
        folder.mkdir()
        path = folder / "events.jsonl"
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _write_until_killed(path, writer, keys | {"fsync": False})
            finally:
                os._exit(1)
        os.close(writer)
        time.sleep(rng.uniform(0.003, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader) as answers:
            answered = [int(line) for line in answers]
        torn += path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        sink = make(path, **keys)
        sink.open()
        found = {position for file in folder.iterdir() for position in positions(file)}
        assert found >= set(range(1, max(answered, default=0) + 1))
        sink.close()
        shutil.rmtree(folder)


# --- faults while writing


def test_half_written_batch_is_undone_at_once(tmp_path: Path, limit_files: Callable[[int | None], None]) -> None:
    """A fault in the middle of a batch leaves the file as it was, and says which file and why."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    send(sink, 1)
    before = path.read_bytes()
    limit_files(len(before) * 2 + 50)  # the second event fits, the third is torn
    with pytest.raises(Retryable, match=rf"cannot write {path} \(File too large\): .*ulimit"):
        sink.send([sample_event(position=n) for n in (2, 3)])
    assert path.read_bytes() == before
    limit_files(None)
    send(sink, 2, 3)
    assert positions(path) == [1, 2, 3]
    sink.close()


@pytest.mark.parametrize("reopen", [False, True])
def test_cut_that_fails_is_made_up_for(
    tmp_path: Path, limit_files: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch, reopen: bool
) -> None:
    """Where even the cut fails, the next ``send``, or the next ``open``, repairs the file first."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    send(sink, 1)
    limit_files(path.stat().st_size + 50)

    def no_cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", no_cut)
        with pytest.raises(Retryable):
            sink.send([sample_event(position=2)])
    limit_files(None)
    assert not path.read_bytes().endswith(b"\n")
    if reopen:
        sink.close()
        sink.open()
    send(sink, 2)
    assert positions(path) == [1, 2]
    sink.close()


def test_full_disk_names_the_mend(small_disk: Path) -> None:
    """A full disk is told as such, and nothing of the batch stays."""
    path = small_disk / "events.jsonl"
    sink = make(path)
    sink.open()
    send(sink, 1)
    with pytest.raises(Retryable, match=r"No space left on device.*free space"):
        sink.send([sample_event(position=2, after={"x": "y" * (5 << 20)})])
    assert positions(path) == [1]
    sink.close()


def test_failed_fsync_is_not_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk does not confirm, nothing is ok and nothing stays; without ``fsync`` nobody asks it."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()

    def no_disk(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", no_disk)
    with pytest.raises(Retryable, match="Input/output error"):
        sink.send([sample_event()])
    assert path.read_bytes() == b""
    sink.close()
    easy = make(path, fsync=False)
    easy.open()
    send(easy, 1)
    easy.close()


# --- rotating


@pytest.fixture
def line_size() -> int:
    """How long the line of ``sample_event(position=1…9)`` is."""
    return len(cloudevent(sample_event(position=1))) + 1


def test_rotation(tmp_path: Path, line_size: int) -> None:
    """Files hold whole events, none beyond ``rotate_size``, and the oldest go once there are ``rotate_keep``."""
    path = tmp_path / "events.jsonl"
    sink = make(path, rotate_size=2 * line_size + 10, rotate_keep=2)
    sink.open()
    send(sink, *range(1, 6))
    send(sink, 6, 7, 8, 9)
    sink.close()
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert [positions(tmp_path / name) for name in names] == [[9], [7, 8], [5, 6]]


def test_event_larger_than_a_file(tmp_path: Path, line_size: int) -> None:
    """An event beyond ``rotate_size`` is not split: it gets a file of its own."""
    path = tmp_path / "events.jsonl"
    sink = make(path, rotate_size=line_size // 2, rotate_keep=9)
    sink.open()
    send(sink, 1, 2, 3)
    sink.close()
    assert [positions(tmp_path / f"events.jsonl{end}") for end in ("", ".1", ".2")] == [[3], [2], [1]]


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"": 4, ".1": 3, ".3": 2}, id="after .2 became .3"),
        pytest.param({"": 4, ".2": 3, ".3": 2}, id="after .1 became .2"),
        pytest.param({".1": 4, ".2": 3, ".3": 2}, id="after the file became .1"),
        pytest.param({"": 0, ".1": 4, ".2": 3, ".3": 2}, id="after the new file was made"),
    ],
)
def test_crash_between_two_steps_of_a_rotation(tmp_path: Path, line_size: int, state: dict[str, int]) -> None:
    """Whichever step was the last, the next run goes on, in order, and pushes no file out early."""
    path = tmp_path / "events.jsonl"
    for end, number in state.items():
        old = make(f"{path}{end}")
        old.open()
        if number:
            send(old, number)
        old.close()
    sink = make(path, rotate_size=line_size + 10, rotate_keep=3)
    sink.open()
    send(sink, 5)
    assert [positions(tmp_path / f"events.jsonl{end}") for end in ("", ".1", ".2", ".3")] == [[5], [4], [3], [2]]
    send(sink, 6)
    assert [positions(tmp_path / f"events.jsonl{end}") for end in ("", ".1", ".2", ".3")] == [[6], [5], [4], [3]]
    sink.close()


def test_fewer_files_than_before(tmp_path: Path, line_size: int) -> None:
    """A smaller ``rotate_keep`` takes away what is beyond it, and touches no file of another name."""
    path = tmp_path / "events.jsonl"
    for end in (".1", ".2", ".3", ".4", ".20261124", ".1.gz"):
        path.with_name(path.name + end).write_bytes(WHOLE)
    sink = make(path, rotate_size=line_size, rotate_keep=2)
    sink.open()
    send(sink, 1, 2)
    sink.close()
    ends = sorted(file.name.removeprefix(path.name) for file in tmp_path.iterdir())
    assert ends == ["", ".1", ".1.gz", ".2", ".20261124"]


def test_fault_after_a_rotation_keeps_what_is_safe(
    tmp_path: Path, line_size: int, limit_files: Callable[[int | None], None]
) -> None:
    """Where a batch spans two files and the second fails, the events of the first are ok, the others ``retry``."""
    path = tmp_path / "events.jsonl"
    sink = make(path, rotate_size=2 * line_size)
    sink.open()
    limit_files(2 * line_size + 50)
    big = sample_event(position=3, after={"x": "y" * 2000})
    outcomes = sink.send([sample_event(position=1), sample_event(position=2), big])
    limit_files(None)
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "retry"]
    assert positions(tmp_path / "events.jsonl.1") == [1, 2]
    assert path.read_bytes() == b""
    sink.close()


# --- others at the same file


@pytest.mark.parametrize("gone", ["moved", "deleted", "replaced"])
def test_file_taken_away(tmp_path: Path, gone: str) -> None:
    """A file that somebody moved, deleted or replaced (logrotate) is noticed, and a new one begun."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    send(sink, 1)
    path.rename(tmp_path / "old") if gone != "deleted" else path.unlink()
    if gone == "replaced":
        path.touch()
    send(sink, 2)
    assert positions(path) == [2]
    assert gone == "deleted" or positions(tmp_path / "old") == [1]
    sink.close()


def test_deleted_while_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written to a file that is deleted by then is not ok: nobody could find it."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: path.unlink())
        with pytest.raises(Retryable, match="it was deleted in the meantime"):
            sink.send([sample_event()])
    send(sink, 1)
    assert positions(path) == [1]
    sink.close()


def test_truncated_in_place(tmp_path: Path) -> None:
    """A file emptied in place (logrotate's copytruncate) is gone on with from its beginning, without a hole."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    send(sink, 1)
    os.truncate(path, 0)
    send(sink, 2)
    assert positions(path) == [2]
    sink.close()


def test_folder_that_vanishes_may_come_back(tmp_path: Path) -> None:
    """Once it runs, a missing folder (a disk not mounted) is a matter of trying again, not of settings."""
    folder = tmp_path / "disk"
    folder.mkdir()
    sink = make(folder / "events.jsonl")
    sink.open()
    folder.rename(tmp_path / "away")
    with pytest.raises(Retryable, match="its folder does not exist"):
        sink.send([sample_event()])
    folder.mkdir()
    send(sink, 1)
    assert positions(folder / "events.jsonl") == [1]
    sink.close()


def test_second_writer_is_told(tmp_path: Path) -> None:
    """A file that somebody else writes is left alone, and the error names it; once let go, it can be had."""
    path = tmp_path / "events.jsonl"
    first, second = make(path), make(path)
    first.open()
    with pytest.raises(Retryable, match=f"another process or sink is writing {path}"):
        second.open()
    second.close()
    first.close()
    second.open()
    second.close()


def test_lock_of_another_process(tmp_path: Path) -> None:
    """The lock is one between processes, too."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    code = f"import fcntl; fcntl.flock(open({str(path)!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert b"BlockingIOError" in subprocess.run(["python3", "-c", code], capture_output=True, check=False).stderr
    sink.close()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- settings


def test_missing_folder(tmp_path: Path) -> None:
    """A missing folder is an error of the key ``path`` that says what to do."""
    with pytest.raises(ConfigError, match=r"path = '.*/none/e.jsonl': its folder does not exist; create it"):
        make(tmp_path / "none" / "e.jsonl").open()


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    """A folder, or a file where a folder should be, is an error of the key ``path``."""
    with pytest.raises(ConfigError, match="it is a folder"):
        make(tmp_path).open()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="a part of its path is a file"):
        make(tmp_path / "file" / "e.jsonl").open()


@pytest.mark.parametrize("path", ["/dev/full", "fifo"])
def test_no_plain_file(tmp_path: Path, path: str) -> None:
    """Devices and pipes are refused, without hanging: they can be neither locked nor cut."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="pipe or a device"):
        make(tmp_path / path).open()


def test_no_permission(tmp_path: Path) -> None:
    """A folder that may not be written is an error of the key ``path``."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    if not os.access(folder, os.W_OK):
        with pytest.raises(ConfigError, match="permission denied"):
            make(folder / "e.jsonl").open()
        return
    child = os.fork()  # root may write anywhere, so somebody else tries
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            make(folder / "e.jsonl").open()
        except ConfigError as error:
            status = 0 if "permission denied" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_mode(tmp_path: Path, line_size: int) -> None:
    """A new file is its owner's only; what an administrator then allows outlives a rotation."""
    path = tmp_path / "events.jsonl"
    sink = make(path, rotate_size=line_size)
    sink.open()
    send(sink, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    send(sink, 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert positions(path) == [2]
    sink.close()


def test_relative_path_is_fixed_at_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``path`` is relative to the working directory at ``open``; a later ``chdir`` moves nothing."""
    monkeypatch.chdir(tmp_path)
    sink = make("events.jsonl")
    sink.open()
    monkeypatch.chdir("/")
    send(sink, 1)
    assert positions(tmp_path / "events.jsonl") == [1]
    sink.close()


def test_symbolic_link(tmp_path: Path, line_size: int) -> None:
    """Behind a symbolic link the file itself is rotated, where it lies; the link stays."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "events.jsonl"
    path.symlink_to("data/real.jsonl")
    sink = make(path, rotate_size=line_size)
    sink.open()
    send(sink, 1, 2)
    sink.close()
    assert path.is_symlink()
    assert positions(path) == [2]
    assert positions(tmp_path / "data" / "real.jsonl.1") == [1]


def test_lines_are_cloudevents(tmp_path: Path) -> None:
    """Each line is an event to the SDK of CloudEvents."""
    path = tmp_path / "events.jsonl"
    sink = make(path)
    sink.open()
    send(sink, 1, 2)
    sink.close()
    for line, number in zip(path.read_bytes().splitlines(), (1, 2), strict=True):
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, line)
        data = from_structured_event(message).get_data()
        assert isinstance(data, dict)
        assert data["position"] == number
