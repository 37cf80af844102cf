"""The forked command is the installed one in all that tests see of it: output, exit code, signals, variables."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.clients import command, eventually

DOWN = (
    '[clusters.main]\nhosts = ["http://127.0.0.1:1"]\nretries = 1\n[watches.w]\nindex = "x"\n[sinks.s]\ntype = "file"\n'
)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """In a folder of their own, with a cluster that is down."""
    path = tmp_path / "esfeed.toml"
    path.write_text(f'{DOWN}path = "events"\n')
    return path


@pytest.mark.parametrize(
    "args", [("--version",), ("poll",), ("status",), ("no-such-command",)], ids=lambda args: args[0]
)
def test_it_says_what_the_installed_command_says(settings: Path, args: tuple[str, ...]) -> None:
    """In that folder, whose settings are found by name there, and with the same exit code."""
    done = subprocess.run([command(), *args], cwd=settings.parent, capture_output=True, text=True, check=False)
    forked = warm.run(*args, cwd=settings.parent)
    assert (forked.returncode, forked.stdout, forked.stderr) == (done.returncode, done.stdout, done.stderr)


def test_its_environment_is_what_it_was_given(tmp_path: Path, settings: Path) -> None:
    """And not that of the process from which it is forked."""
    (tmp_path / "other").mkdir()
    done = warm.run("poll", cwd=tmp_path / "other", environment={**os.environ, "ESFEED_CONFIG": str(settings)})
    assert done.returncode == 1
    assert "no connection" in done.stderr or "127.0.0.1:1" in done.stderr
    assert warm.run("poll", cwd=tmp_path / "other").returncode == 2


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGINT, 0)])
def test_it_ends_by_signals(tmp_path: Path, settings: Path, how: signal.Signals, code: int) -> None:
    """As ``subprocess.Popen`` tells it."""
    with (tmp_path / "log").open("wb") as log:
        feed = warm.Started("run", cwd=settings.parent, stdout=log, stderr=log)
    assert feed.poll() is None
    eventually(lambda: "feed.started" in (tmp_path / "log").read_text())
    with pytest.raises(subprocess.TimeoutExpired):
        feed.wait(0.01)
    feed.send_signal(how)
    assert feed.wait(20) == feed.poll() == code
    feed.kill()
