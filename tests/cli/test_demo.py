"""`esfeed demo` as a person runs it: what is shown adds up, and nothing stays behind, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import esfeed
from esfeed.demo.demo_index import EngineClient, demo_index
from esfeed.errors import ClusterError, ConfigError
from tests.support.engines import NAMES, Engine

EVENT = re.compile(r"\d\d:\d\d:\d\dZ (read|created|updated|deleted) +(\S+)/(\S+)")
WITHIN = 90


class Demo:
    """A running `esfeed demo` with a folder for temporary files of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        command = [sys.executable, "-u", "-m", "esfeed.cli.main", "demo", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder), **environment},
            cwd=folder,
        )

    def line(self, holding: str) -> str:
        """Reads on until a line that holds that text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if holding in line:
                return line
        pytest.fail(f"it ended without {holding!r}: {self.process.stderr and self.process.stderr.read()}")

    def end(self) -> tuple[int, str, str]:
        """(exit code, rest of the output, what was said on standard error), once it has ended by itself."""
        # Not communicate(): it passes over what `line` had read ahead.
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(WITHIN), out, err

    def left(self) -> list[str]:
        """Files and engines that it left behind."""
        files = [str(path) for path in self.folder.iterdir()]
        return files + _processes(f"--parent-pid\0{self.process.pid}\0")


def _processes(holding: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:  # it has just ended
            continue
        if holding in command:
            found.append(command)
    return found


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[Demo]:
    demo = Demo(folder, *arguments, **environment)
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.process.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, str, list[str]]:
    """Exit code, output, what was said on standard error, and what is left of one undisturbed run in memory."""
    with running(tmp_path_factory.mktemp("demo"), "--speed", "4") as demo:
        return (*demo.end(), demo.left())


def test_the_demo_shows_every_kind_of_event_and_adds_up(whole: tuple[int, str, str, list[str]]) -> None:
    """On the engine in memory: plain lines, one request when idle, equal to the index, nothing left, exit 0."""
    code, out, err, left = whole
    assert (code, err, left) == (0, "", []), out
    seen = EVENT.findall(out)
    assert {op for op, _, _ in seen} == {"read", "created", "updated", "deleted"}
    assert "events     5 read, 5 created, 7 updated, 3 deleted\n" in out
    assert len(seen) == 20
    assert "idle poll  1 request\n" in out
    assert "the admin's events give exactly the 6 documents" in out
    assert "the user's events give exactly the 6 documents" in out
    assert "\x1b" not in out
    assert all(line == line.rstrip() and len(line) <= 100 for line in out.splitlines())


def test_an_administrators_change_is_told_to_the_admin_route_alone(whole: tuple[int, str, str, list[str]]) -> None:
    """Between that scene's caption and the next there is one event, of the admin's view."""
    scene = whole[1].split("no event for users\n")[1].split("\n\n")[0]
    assert [line.split()[1:4:2] for line in scene.splitlines()] == [["updated", "(admin)"]]


def test_a_feed_that_loses_something_is_found_out(tmp_path: Path) -> None:
    """Where the events do not give what the index holds, that is said, and the exit code is 1."""
    spoilt = (
        "import sys; from esfeed.demo import screen; from esfeed.cli.main import main;"
        "send = screen.Shown.send\n"
        "def lose(self, events):\n"
        "    kept = [event for event in events if event.op != 'deleted']\n"
        "    send(self, kept)\n"
        "    [self._screen.show(event) for event in events]\n"
        "    return [screen.Outcome('ok')] * len(events)\n"
        "screen.Shown.send = lose; sys.argv = ['esfeed', 'demo', '--speed', '10']; main()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", spoilt], capture_output=True, text=True, env=environment, timeout=WITHIN, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the admin's events do NOT give what the index has: left over: _doc/" in " ".join(done.stdout.split())
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["engine ", "Z read ", "Z created "])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """At the start, at the first events, or in the midst: no engine, no file, exit 130, no trace on the screen."""
    with running(tmp_path) as demo:
        demo.line(moment)
        demo.process.send_signal(number)
        code, _, err = demo.end()
        assert code == 130, err
        assert "Traceback" not in err
        assert demo.left() == []


def test_an_engine_that_dies_ends_it_with_its_reason(tmp_path: Path) -> None:
    """Exit 1 and one line that says what is gone; the folder goes all the same."""
    with running(tmp_path) as demo:
        demo.line("Z read ")
        engine = next(
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if f"--parent-pid\0{demo.process.pid}\0" in path.read_text(errors="replace")
        )
        os.kill(engine, signal.SIGKILL)
        code, _, err = demo.end()
        assert code == 1
        assert "esfeed: http://127.0.0.1:" in err
        assert "Traceback" not in err
        assert demo.left() == []


def test_a_reader_that_leaves_ends_it(tmp_path: Path) -> None:
    """`esfeed demo | head` ends soon, quietly, and cleans up; so with --keep."""
    with running(tmp_path, "--keep", "--speed", "20") as demo:
        demo.line("engine")
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        demo.process.wait(WITHIN)
        assert demo.process.stderr is not None
        assert (demo.process.returncode, demo.process.stderr.read()) == (1, "")
        assert demo.left() == []


def test_keep_goes_on_until_told_and_its_settings_are_real(tmp_path: Path) -> None:
    """The url, settings and commands it names work while it runs: a write of one's own appears, `status` tells."""
    with running(tmp_path, "--keep", "--speed", "20") as demo:
        demo.line("The feed runs")
        settings = re.search(r"-c (\S+) status", demo.line(" status"))
        put = re.search(r"curl -X PUT (\S+) -H \S+ -d '(.*)'", demo.line("curl"))
        assert settings
        assert put
        command = [sys.executable, "-m", "esfeed.cli.main", "-c", settings[1]]
        told = subprocess.run([*command, "status", "--json"], capture_output=True, check=True)
        assert json.loads(told.stdout)["watches"]["cloud"]["state"] == "ok"
        _put(put[1], put[2])
        assert "created _doc/1  name mine  status new" in demo.line("mine")
        _put(put[1], put[2].replace("new", "old"))
        assert "updated _doc/1  status new → old" in demo.line("_doc/1")
        logged = subprocess.run([*command, "events"], capture_output=True, check=True)
        assert json.loads(logged.stdout.splitlines()[-1])["data"]["after"] == {"name": "mine", "status": "old"}
        demo.process.send_signal(signal.SIGINT)
        assert demo.end()[0] == 0
        assert demo.left() == []


def _put(url: str, body: str) -> None:
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers, method="PUT")):
        pass


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """Exit 2, and the line to type."""
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "osmem_server.py").write_text("raise ImportError('not here')\n")
    (tmp_path / "tmp").mkdir()
    with running(tmp_path / "tmp", PYTHONPATH=str(tmp_path / "stub")) as demo:
        code, _, err = demo.end()
        assert code == 2
        assert "pip install 'esfeed[demo]'" in err
        assert demo.left() == []


@pytest.mark.parametrize("wrong", ["bogus", "ES9", "", "127.0.0.1:9200"])
def test_an_unknown_engine_is_wrong_usage_that_names_the_known_ones(tmp_path: Path, wrong: str) -> None:
    """Exit 2; each engine and the form of a url stand in the message."""
    with running(tmp_path, "--engine", wrong) as demo:
        code, out, err = demo.end()
        assert (code, out) == (2, "")
        assert all(name in err for name in (*NAMES, "http://"))
        assert demo.left() == []


def test_an_engine_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Nobody listens on port 1: exit 1, the url, and what to do."""
    with running(tmp_path, "--engine", "http://127.0.0.1:1") as demo:
        code, _, err = demo.end()
        assert code == 1
        assert "http://127.0.0.1:1" in err
        assert "omit --engine" in err
        assert demo.left() == []


def test_engines_by_name_need_a_source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed from a wheel there is no scripts/engines: an error of usage, with the other way."""
    monkeypatch.setattr(esfeed, "__file__", str(tmp_path / "site-packages" / "esfeed" / "__init__.py"))
    with pytest.raises(ConfigError, match="source tree"), demo_index("es9"):
        pass


@pytest.mark.engines
@pytest.mark.parametrize("name", ["es2", "es9"])
def test_a_real_engine_shows_the_same_and_keeps_nothing_of_it(
    name: str, started: Callable[[str], Engine], tmp_path: Path
) -> None:
    """By its url: the same events, equal to the index, with types where the engine has them; its index is gone."""
    url = started(name).url
    with running(tmp_path, "--engine", url, "--speed", "4") as demo:
        index = demo.line("index ").split()[1].rstrip(",")
        code, out, err = demo.end()
    assert (code, err) == (0, ""), out
    assert "events     5 read, 5 created, 7 updated, 3 deleted\n" in out
    assert out.count("events give exactly the 6 documents") == 2
    assert ("This engine has no types" in out) == (name == "es9")
    assert index.startswith("esfeed-demo-")
    with pytest.raises(ClusterError, match="index_not_found"):
        EngineClient(url).request("GET", f"/{index}")
    assert demo.left() == []
