"""A real EventSource client follows over a restart of the server: https://www.npmjs.com/package/eventsource."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import eventually
from tests.web.support import Desk

HERE = Path(__file__).parent
PACKAGE = "eventsource@4"

pytestmark = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node and npm are needed")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, in a folder where npm has put the package."""
    folder = Path(tmp_path_factory.mktemp("eventsource"))
    shutil.copy(HERE / "eventsource.mjs", folder)
    (folder / "package.json").write_text('{"private": true}')
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", PACKAGE],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "eventsource.mjs"


class Reader:
    """The client as a process, and the lines that it said."""

    def __init__(self, script: Path, url: str) -> None:
        self.process = subprocess.Popen(
            ["node", str(script), url], stdout=subprocess.PIPE, text=True, cwd=script.parent
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(lambda: self.process.stdout.readline().strip(), ""))  # type: ignore[union-attr]

    def positions(self) -> list[int]:
        return [int(line.split()[0]) for line in self.lines if line[:1].isdigit()]


@pytest.fixture
def reader(client: Path, desk: Desk) -> Iterator[Reader]:
    desk.fill(3)
    found = Reader(client, f"{desk.url}/v1/changes?since=0")
    yield found
    found.process.kill()
    found.process.wait()


def test_it_goes_on_by_itself(desk: Desk, reader: Reader) -> None:
    """What happened while the server was away comes after it, once, and in order."""
    eventually(lambda: reader.positions() == [1, 2, 3], 60)
    desk.fill(2)
    eventually(lambda: reader.positions() == [1, 2, 3, 4, 5])
    desk.stop()
    eventually(lambda: any(line.startswith("error") for line in reader.lines))
    desk.start()
    desk.fill(4)
    eventually(lambda: reader.positions() == list(range(1, 10)), 60)
    assert reader.lines.count("open") == 2


def test_it_is_told_when_its_place_is_gone(desk: Desk, client: Path) -> None:
    """410 ends it, as the specification of EventSource wants for anything but 200."""
    desk.fill(10)
    desk.drop(5)
    reader = Reader(client, f"{desk.url}/v1/changes?since=1")
    eventually(lambda: "error 410" in reader.lines, 60)
    assert reader.positions() == []
    reader.process.kill()
    reader.process.wait()
