"""The crontab line that etc/ ships, run by Debian's cron."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import Raw, command, eventually
from tests.support.engines import Engine
from tests.support.feed import Feed

SHIPPED = Path(__file__).resolve().parents[2] / "etc/cron.d/esfeed"


@pytest.fixture
def cron() -> Iterator[Path]:
    """A name in /etc/cron.d that a running cron reads; it is gone afterwards, and so is the cron if it is ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can lay a file into /etc/cron.d")
    if not shutil.which("cron"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "cron"], check=True)
    path = Path(f"/etc/cron.d/esfeed-test-{secrets.token_hex(4)}")
    daemon = subprocess.Popen(["cron", "-f"], stderr=subprocess.DEVNULL)  # ends at once where one runs already
    yield path
    path.unlink(missing_ok=True)
    daemon.terminate()
    daemon.wait()


@pytest.mark.parametrize("engine", ["es2"], indirect=True)
def test_a_real_crontab_line(engine: Engine, raw: Raw, index: str, tmp_path: Path, cron: Path) -> None:
    """It polls, delivers and ends with 0; while another process has the state, it ends with 1 and says who."""
    raw.call("PUT", f"/{index}/doc/1?refresh=true", {"updated_at": "2026-11-24T10:00:00Z", "n": 1})
    feed = Feed(tmp_path, engine.url, index)
    wrapper = tmp_path / "esfeed"
    wrapper.write_text(f'#!/bin/sh\n{shlex.quote(command())} "$@" 2>>{tmp_path}/errors\necho $? >>{tmp_path}/codes\n')
    wrapper.chmod(0o755)
    line = SHIPPED.read_text().replace("/etc/esfeed/esfeed.toml", str(feed.config))
    assert "* esfeed /usr/local/bin/esfeed poll" in line
    cron.write_text(line.replace("* esfeed /usr/local/bin/esfeed", f"* root {wrapper}"))
    codes = tmp_path / "codes"
    try:
        eventually(lambda: codes.exists() and feed.lines(), seconds=150)
        assert codes.read_text().split() == ["0"], (tmp_path / "errors").read_text()
        assert [event["data"]["op"] for event in feed.lines()] == ["read"]
        feed.start()
        began = time.monotonic()
        eventually(lambda: len(codes.read_text().split()) > 1, seconds=150)
        assert codes.read_text().split()[1] == "1", f"an overlapping start must be refused ({time.monotonic() - began})"
        said = (tmp_path / "errors").read_text()
        assert "esfeed run" in said or "run" in said.split("held", 1)[-1], said
    finally:
        cron.unlink(missing_ok=True)
        feed.clean_up()
