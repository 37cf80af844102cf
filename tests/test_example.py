"""The example of a sink, as its author would use it: installed beside esfeed, tested, and at work in a feed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from esfeed.demo.lookalike import lookalike

EXAMPLE = Path(__file__).parents[1] / "examples" / "esfeed-sink-example"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it is installed into by pip, from a copy, so that the build leaves nothing behind."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")
    # Without isolation pip fetches nothing: setuptools is one of the requirements of the tests.
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet", "--target"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, folder / "site", folder / "source"], check=True, timeout=120
    )
    return folder


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the example installed."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), **environment}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def test_it_passes_its_own_tests(installed: Path) -> None:
    """The contract of a sink, with what is installed rather than what lies in the repository."""
    shutil.copy(EXAMPLE / "test_esfeed_sink_example.py", installed)
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_esfeed_sink_example.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_it_is_at_work_in_a_feed(installed: Path) -> None:
    """The entry point is found by its type, and events of an index become files."""
    (installed / "spool").mkdir()
    (installed / "esfeed.toml").write_text("""
[clusters.main]
hosts = ["env:ENGINE"]
[watches.servers]
index = "servers"
[sinks.spool]
type = "spool"
folder = "spool"
format = "raw"
""")
    with lookalike() as url:
        for name in ("web-1", "web-2"):
            body = json.dumps({"name": name, "updated_at": "2026-11-24T10:00:00Z"})
            urllib3.request("PUT", f"{url}/servers/_doc/{name}?refresh=true", body=body, headers=JSON)
        done = run(installed, "-m", "esfeed.cli.main", "poll", ENGINE=url)
    assert done.returncode == 0, done.stderr
    files = sorted((installed / "spool").iterdir())
    assert sorted(json.loads(file.read_bytes())["name"] for file in files) == ["web-1", "web-2"]


def test_a_mistake_in_its_section_is_told_like_any_other(installed: Path) -> None:
    """By its key, with what is known."""
    (installed / "wrong.toml").write_text("""
[clusters.main]
hosts = ["http://127.0.0.1:9"]
[watches.servers]
index = "servers"
[sinks.spool]
type = "spool"
foldr = "x"
""")
    done = run(installed, "-m", "esfeed.cli.main", "--config", "wrong.toml", "check")
    assert done.returncode == 2
    assert 'sinks.spool.foldr: unknown key; did you mean "folder"?' in done.stderr
