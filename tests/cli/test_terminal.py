"""The commands at a terminal: colours, a live table, completion in a real shell, man pages."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from esfeed.model.event import Key
from esfeed.ports import Commit, Entry
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.support.clients import command, esfeed, eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings with two watches and two sinks."""
    path = tmp_path / "esfeed.toml"
    path.write_text(
        f'state = "sqlite:///{tmp_path}/state.db"\n[clusters.main]\nhosts = ["http://127.0.0.1:9"]\n'
        '[watches.servers]\nindex = "s-*"\n[watches.images]\nindex = "i"\n'
        f'[sinks.audit]\ntype = "file"\npath = "{tmp_path}/audit.jsonl"\n[sinks.all]\ntype = "stdout"\n'
    )
    return path


@pytest.fixture
def store(tmp_path: Path, config: Path) -> Iterator[SqlState]:
    found = SqlState(f"sqlite:///{tmp_path}/state.db")
    yield found
    found.close()


class Terminal:
    """A command on a terminal of its own, 160 columns wide."""

    def __init__(self, *args: str) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
        self.process = subprocess.Popen(
            [command(), *args], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def read(self) -> str:
        """All that came so far."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                part = os.read(self._master, 1 << 16)
            except OSError:
                break
            if not part:
                break
            self.text += part.decode()
        return self.text

    def end(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(10)
        self.read()
        os.close(self._master)
        return code


def test_events_follow_in_colour_with_what_changed(config: Path, store: SqlState) -> None:
    """What was is red, what is green; and what comes later is shown when it comes."""
    store.commits.commit("servers", Commit(entries=[Entry(Key("t", "a"), sample_event(op="created"))]))
    terminal = Terminal("--config", str(config), "events", "--follow")
    eventually(lambda: "created" in terminal.read())
    store.commits.commit("servers", Commit(entries=[Entry(Key("t", "a"), sample_event())]))
    eventually(lambda: "ACTIVE" in terminal.read().partition("updated")[2])
    line = terminal.text.partition("updated")[2]
    assert "\x1b[31mBUILD\x1b[0m" in line
    assert "\x1b[32mACTIVE\x1b[0m" in line
    terminal.end()


def test_status_on_a_terminal_is_looked_at_again(config: Path, store: SqlState) -> None:
    """With ``--watch`` the same table is drawn anew as things change, and Ctrl-C ends it well."""
    terminal = Terminal("--config", str(config), "status", "--watch")
    eventually(lambda: "position 0" in terminal.read())
    store.commits.commit("servers", Commit(entries=[Entry(Key("t", "a"), sample_event())]))
    eventually(lambda: "position 1" in terminal.read())
    assert "never polled" in terminal.text
    assert terminal.end() == 0


def test_status_as_json_lines(config: Path, store: SqlState) -> None:
    """``--watch --json`` is a line a second, for another program; without a terminal nothing is drawn over."""
    process = subprocess.Popen(
        [command(), "--config", str(config), "status", "--watch", "--json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert told[0]["watches"]["servers"]["state"] == "never polled"
    assert told[0]["sinks"].keys() == {"audit", "all"}
    assert "\x1b" not in esfeed("status", config=config).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("esfeed re", {"reconcile", "redrive"}),
        ("esfeed --config {config} reconcile --watch ", {"servers", "images"}),
        ("esfeed --config {config} reconcile --watch s", {"servers"}),
        ("esfeed --config {config} backfill --sink a", {"audit", "all"}),
        ("esfeed --config {config} redrive a", {"audit", "all"}),
        ("esfeed token ", {"add", "list", "remove"}),
        ("esfeed sinks ", {"rename", "forget"}),
        ("esfeed --config {config} sinks rename old a", {"audit", "all"}),
        ("esfeed --log-level ", {"debug", "info", "warning", "error"}),
        ("esfeed status --", {"--json", "--watch", "--help"}),
        ("esfeed --config /nowhere reconcile --watch ", set()),
    ],
)
def test_bash_completes(config: Path, typed: str, offered: set[str]) -> None:
    """In a real bash, by the line that the docs name."""
    words = typed.format(config=config).split(" ")
    script = f"""
        PATH={Path(command()).parent}:$PATH
        eval "$(_ESFEED_COMPLETE=bash_source esfeed)"
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}
        _esfeed_completion esfeed
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef esfeed"), ("fish", "complete --no-files")])
def test_other_shells_have_their_scripts(shell: str, mark: str) -> None:
    """The line for each is made by the command itself."""
    assert mark in esfeed(_ESFEED_COMPLETE=f"{shell}_source").stdout


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
def test_every_command_has_a_man_page(tmp_path: Path) -> None:
    """The pages are built from the commands, and man reads them without a word of complaint."""
    subprocess.run(
        [Path(command()).with_name("click-man"), "esfeed", "--target", str(tmp_path)], capture_output=True, check=True
    )
    pages = {page.name for page in tmp_path.iterdir()}
    names = re.findall(r"^  ([a-z]+) ", esfeed("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert {f"esfeed-{name}.1" for name in names} | {"esfeed.1", "esfeed-token-add.1"} <= pages
    for page in sorted(tmp_path.iterdir()):
        wide = {**os.environ, "MANWIDTH": "100"}
        asked = ["man", "--warnings", "-l", str(page)]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, env=wide)
        assert done.returncode == 0
        assert not done.stderr, page.name
        assert "SYNOPSIS" in done.stdout


def test_the_script_that_builds_them_is_the_docs_one() -> None:
    """``scripts/man`` calls the same generator."""
    assert "click-man" in (ROOT / "scripts/man").read_text()
    assert os.access(ROOT / "scripts/man", os.X_OK)
