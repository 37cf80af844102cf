"""A command starts with no more than it needs: what takes long to import is imported where it is used, not before."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from esfeed.cli.door import Commands, Door
from esfeed.cli.main import WAYS, cli


def heavy(*arguments: str, config: Path | None = None) -> set[str]:
    """Runs the command; returns the packages (and what of esfeed) that were imported by its end."""
    settings = [] if config is None else ["--config", str(config)]
    script = (
        f"import sys; sys.argv = {['esfeed', *settings, *arguments]!r}\n"
        "from esfeed.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {*done.stderr.splitlines()}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_a_command_islisted_as_it_tells_of_itself(name: str) -> None:
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
    group = Door("some", ways={})
    group.add_command(click.Command("more", help="Adds more."))
    assert "Adds more." in CliRunner().invoke(group, ["--help"]).output
    assert group.get_command(click.Context(group), "more") is not None
    del group.commands["more"]
    assert len(group.commands) == 0


def test_the_version_needs_nothing() -> None:
    """Only click, and what of esfeed is needed to tell of errors."""
    found = heavy("--version")
    assert "click" in found
    assert not found & {"pydantic", "sqlalchemy", "structlog", "rich", "msgspec", "elasticsearch", "esfeed.app"}


def test_names_of_commands_are_completed_without_them() -> None:
    """And those of options: a shell asks at every press of a key."""
    script = (
        "import os, sys; os.environ |= dict(_ESFEED_COMPLETE='bash_complete', COMP_WORDS='esfeed re', COMP_CWORD='1')\n"
        "from esfeed.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["plain,reconcile", "plain,redrive"], done.stderr
    assert "esfeed.cli.feed" not in done.stderr.split()
