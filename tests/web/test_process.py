"""HTTP is served from a process of its own: what it knows, how it ends, and that the feed goes on without it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from esfeed.config.load import parse
from esfeed.demo.cloud import FLAVOR, SERVER
from esfeed.web.control import Answer, Channel, News
from esfeed.web.process import for_readers
from tests.support.clients import eventually
from tests.web.conftest import StageMaker
from tests.web.live import Live

SETTINGS = """\
state = "sqlite:///x.db"
[clusters.main]
hosts = ["http://127.0.0.1:9"]
basic_auth = ["reader", "cluster-secret"]
[watches.one]
index = "one"
[sinks.hooks]
type = "webhook"
url = "http://127.0.0.1/"
secrets = ["whsec_c2luay1zZWNyZXQtc2luay1zZWNyZXQtc2luay1zZWM="]
persist = false
[http]
listen = "127.0.0.1:0"
"""


def test_it_gets_nothing_that_opens_a_cluster_or_a_sink() -> None:
    """Its memory is what a stranger may come to: no secret of the feed is there, and no connection can be made."""
    config = parse(SETTINGS, Path("esfeed.toml"))
    given = pickle.dumps(for_readers(config))
    assert b"127.0.0.1:9" in pickle.dumps(config)
    for word in (b"cluster-secret", b"127.0.0.1:9", b"sink-secret", b"c2luay1z"):
        assert word not in given
    read = pickle.loads(given)
    assert [*read.watches] == ["one"]
    assert read.sinks["hooks"].type == "webhook"
    assert not read.sinks["hooks"].persist


def test_a_server_that_dies_is_started_again(stage: StageMaker) -> None:
    """At the same address; the feed goes on meanwhile, and a reader misses nothing."""
    staged = stage()
    staged.cloud.create(SERVER, "web-1", status="BUILD")
    eventually(lambda: len(_audited(staged.live)) == 2)
    position = _changes(staged.live, 0)["last"]
    os.kill(_server(staged.live), signal.SIGKILL)
    staged.cloud.create(FLAVOR, "small", vcpus=1)
    eventually(lambda: len(_audited(staged.live)) == 3)
    # Whoever asks meanwhile waits: the socket is the feed's.
    told = _changes(staged.live, position)
    assert [event["data"]["op"] for event in told["events"]] == ["created"]
    events = [line["event"] for line in _logged(staged.live)]
    assert events.count("web.died") == 1
    assert events.count("web.listening") == 2
    assert eventually(lambda: httpx.get(f"{staged.live.url}/readyz").status_code == 200)


def test_the_feed_gets_the_processor_first(stage: StageMaker) -> None:
    """Each thread that serves has a lower priority than those that poll and deliver."""
    live = stage().live
    httpx.get(f"{live.url}/v1/changes")
    feed = os.getpriority(os.PRIO_PROCESS, live.pid)
    threads = [int(one.name) for one in Path(f"/proc/{_server(live)}/task").iterdir()]
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {min(19, feed + 10)}


def test_it_ends_with_the_feed(stage: StageMaker) -> None:
    """Also where the feed is killed, so that the next one can listen there."""
    for how in (signal.SIGKILL, signal.SIGTERM):
        live = stage().live
        pid = _server(live)
        live.stop(how)
        eventually(lambda pid=pid: _ended(pid))
        # Its other threads may take a moment more.
        eventually(lambda live=live: _free(int(live.url.rpartition(":")[2])))


def test_signals_are_for_the_feed(stage: StageMaker) -> None:
    """systemd sends SIGTERM to both, and a terminal Ctrl-C: the server stays until the feed sends its readers away."""
    live = stage().live
    for each in (signal.SIGTERM, signal.SIGINT):
        os.kill(_server(live), each)
    assert httpx.get(f"{live.url}/readyz").status_code == 200
    live.stop(signal.SIGTERM)
    assert "web.died" not in [line["event"] for line in _logged(live)]


def test_a_feed_that_is_frozen_is_not_well(stage: StageMaker) -> None:
    """The server answers, and says so."""
    live = stage().live
    assert httpx.get(f"{live.url}/healthz").status_code == 200
    assert "esfeed_up 1.0" in httpx.get(f"{live.url}/metrics").text
    os.kill(live.pid, signal.SIGSTOP)
    try:
        answer = httpx.get(f"{live.url}/healthz", timeout=60)
        assert (answer.status_code, answer.json()) == (503, {"status": "dead"})
        assert "esfeed_up 0.0" in httpx.get(f"{live.url}/metrics", timeout=60).text
        assert httpx.get(f"{live.url}/v1/changes?since=0").status_code == 200
    finally:
        os.kill(live.pid, signal.SIGCONT)
    assert eventually(lambda: httpx.get(f"{live.url}/healthz").status_code == 200)


@pytest.mark.parametrize("section", ['certificate = "{folder}/no.pem"\nkey = "{folder}/no.key"\n'])
def test_what_it_cannot_start_with(tmp_path: Path, section: str) -> None:
    """What only the server's process finds out ends the command as any fault of the settings does."""
    for name in ("no.pem", "no.key"):
        (tmp_path / name).write_text("no certificate\n")
    live = Live(tmp_path, "http://127.0.0.1:9", "none", f"[http]\n{section.format(folder=tmp_path)}")
    done = live.run("run", "--http", "127.0.0.1:0")
    assert done.returncode == 2, done.stderr
    assert "http.certificate" in done.stderr
    assert "it is not usable with http.key" in done.stderr


def test_a_side_that_does_not_read_holds_nobody_up() -> None:
    """The other side of a channel may be stopped: what is sent to it is given up after a moment, and for good."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    assert channel.send(News())
    assert not channel.send(Answer(1, "x" * (8 << 20)))
    assert not channel.send(News())
    theirs.close()
    channel.close()


def _server(live: Live) -> int:
    """The pid of the server's process."""
    (found,) = (
        int(pid)
        for pid in Path(f"/proc/{live.pid}/task/{live.pid}/children").read_text().split() + _of_threads(live.pid)
        if b"esfeed.web" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return found


def _of_threads(pid: int) -> list[str]:
    """The children that other threads than the first one started."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
    return [child for task in tasks for child in (task / "children").read_text().split()]


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _ended(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _changes(live: Live, since: int) -> dict[str, Any]:
    answer = httpx.get(f"{live.url}/v1/changes", params={"since": since}, timeout=60)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def _audited(live: Live) -> list[str]:
    file = live.folder / "audit.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def _logged(live: Live) -> list[dict[str, object]]:
    return [json.loads(line) for line in live.log.read_text().splitlines() if line.startswith("{")]
