"""A command starts with no more than it needs: what takes long to import is imported where it is used, not before."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from esfeed.cli.lazy_group import Commands, LazyGroup
from esfeed.cli.main import WAYS, cli
from esfeed.store.state import SqlState

# What the settings of an ordinary feed call for, or a command that was not called.
SELDOM = (
    "alembic",
    "apscheduler",
    "cel",
    "esfeed.backfill",
    "esfeed.cli.bar",
    "esfeed.runtime.daemon",
    "esfeed.demo",
    "esfeed.changes.profiles.searchlight",
    "esfeed.sinks.webhook.sink",
    "esfeed.sinks.zaqar.sink",
    "esfeed.observe.traces",
    "esfeed.web",
    "openstack",
    "opentelemetry.sdk",
    "starlette",
    "uvicorn",
    "zaqarclient",
)
# What it takes to ask a cluster, and to deliver.
FEEDING = (
    "elastic_transport",
    "elasticsearch",
    "esfeed.cluster.client",
    "esfeed.delivery.dispatcher",
    "esfeed.trackers.auto",
    "esfeed.changes.watcher",
    "tenacity",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a watch and a sink, on a cluster that is not there, with a state that needs no upgrade."""
    path = tmp_path / "esfeed.toml"
    state = f"sqlite:///{tmp_path}/state.db"
    path.write_text(
        f'state = "{state}"\n[clusters.main]\nhosts = ["http://127.0.0.1:9"]\nretries = 1\n'
        f'[watches.w]\nindex = "i"\n[sinks.s]\ntype = "file"\npath = "{tmp_path}/out.jsonl"\n'
    )
    SqlState(state).close()
    return path


def imported(*arguments: str, code: int = 0, **environment: str) -> set[str]:
    """Runs the command, which must end with that ``code``; returns what was imported by its end."""
    script = (
        f"import sys; sys.argv = {['esfeed', *arguments]!r}\n"
        "from esfeed.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stderr
    return {*done.stderr.splitlines()}


@pytest.mark.parametrize("name", [*SELDOM, *FEEDING])
def test_there_is_such_a_module(name: str) -> None:
    """Or its not being imported would mean nothing."""
    assert find_spec(name) is not None


def test_a_poll_imports_what_it_needs(config: Path) -> None:
    """A client for the cluster and the one type of sink that there is, and nothing that only others use."""
    found = imported("--config", str(config), "poll", code=1)
    assert found & {*SELDOM} == set()
    assert found >= {*FEEDING}, "the list of what feeding takes is out of date"


@pytest.mark.parametrize("command", [["status", "--json"], ["events"], ["dead"], ["token", "list"]])
def test_a_look_at_the_state_needs_no_client(config: Path, command: list[str]) -> None:
    """Of a cluster, nor anything that delivers."""
    found = imported("--config", str(config), *command)
    assert "sqlalchemy" in found
    assert found & {*SELDOM, *FEEDING} == set()


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_a_command_is_listed_as_it_tells_of_itself(name: str) -> None:
    """The line in the list of commands stands apart from the command, so that it is there without it."""
    listed = Commands(WAYS).listed()[name].help
    whole = cli.commands[name].help
    assert whole is not None
    assert listed == whole.partition("\n\n")[0].replace("\n", " ").strip()


def test_the_list_is_cut_where_the_terminal_ends() -> None:
    """Each command is there, in one line."""
    told = CliRunner().invoke(cli, ["--help"], terminal_width=60).output
    rows = told.partition("Commands:\n")[2].splitlines()
    assert [row.split()[0] for row in rows] == sorted(cli.commands)
    assert max(map(len, rows)) <= 60


def test_a_name_misspelt(tmp_path: Path) -> None:
    """Wrong usage, and the nearest name where this click looks for one."""
    told = CliRunner().invoke(cli, ["pol"])
    assert told.exit_code == 2
    assert "No such command 'pol'" in told.output
    assert "poll" in told.output or tuple(map(int, version("click").split(".")[:2])) < (8, 4)


def test_a_command_may_be_added() -> None:
    """As to any group of click's: it is found, and may be taken out again."""
    group = LazyGroup("some", ways={})
    group.add_command(click.Command("more", help="Adds more."))
    assert "Adds more." in CliRunner().invoke(group, ["--help"]).output
    assert group.get_command(click.Context(group), "more") is not None
    del group.commands["more"]
    assert len(group.commands) == 0


def test_the_version_needs_nothing() -> None:
    """Only click, and what of esfeed is needed to tell of errors."""
    found = imported("--version")
    assert "click" in found
    never = {"pydantic", "sqlalchemy", "structlog", "rich", "msgspec", "esfeed.runtime.factory"}
    assert found & {*never, *SELDOM, *FEEDING} == set()


def test_names_of_commands_are_completed_without_them() -> None:
    """A shell asks at every press of a key."""
    typed = {"_ESFEED_COMPLETE": "bash_complete", "COMP_WORDS": "esfeed re", "COMP_CWORD": "1"}
    found = imported(**typed)
    assert "click.shell_completion" in found
    assert found & {"pydantic", "sqlalchemy", "esfeed.cli.feed", "esfeed.cli.dead", *SELDOM, *FEEDING} == set()
