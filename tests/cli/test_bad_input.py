"""What a user gets for wrong settings, clusters, indices, times and states: one sentence, and an exit code."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.cluster.test_dialect import ODD
from tests.support.clients import Raw, command, esfeed, eventually
from tests.support.engines import FAMILIES, Engine, start, stop

DOWN = "http://127.0.0.1:1"
STAMP = "2026-10-01T10:00:00Z"
DATED = {"updated_at": {"type": "date"}, "n": {"type": "integer"}}
COMMANDS = [["run"], ["poll"], ["reconcile"], ["backfill", "--since", "1h"], ["status"], ["events"], ["check"]]
RAN = ["poll"], ["reconcile"]


class Feed:
    """A folder with settings, a state and a file of events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "esfeed.toml"
        self.state = folder / "esfeed.db"

    def write(self, url: str = DOWN, index: str = "x", watch: str = "", cluster: str = "", more: str = "") -> Feed:
        self.config.write_text(
            f'[clusters.main]\nhosts = ["{url}"]\nretries = 1\n{cluster}\n'
            f'[watches.one]\nindex = "{index}"\n{watch}\n'
            f'[sinks.audit]\ntype = "file"\npath = "events.jsonl"\nfsync = false\n{more}\n'
        )
        return self

    def run(self, *args: str, obeying: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        return esfeed(*args, config=self.config, obeying=obeying, **environment)

    def says(self, code: int, *words: str, args: list[str] | None = None, obeying: bool = False) -> str:
        """Runs a command (``poll``); it must end with ``code``, say ``words`` on standard error, and no traceback."""
        done = self.run(*(args or ["poll"]), obeying=obeying)
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        assert done.returncode == code, done.stderr
        for word in words:
            assert word in done.stderr
        return done.stderr

    def events(self) -> list[dict[str, Any]]:
        """The ``data`` of every event that was delivered."""
        path = self.folder / "events.jsonl"
        return [json.loads(line)["data"] for line in path.read_text().split("\n") if line] if path.exists() else []

    def ops(self) -> list[str]:
        return [event["op"] for event in self.events()]


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    """A feed in a folder of its own, with settings that are right and a cluster that is down."""
    return Feed(tmp_path).write()


# --- settings and arguments


@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_every_command_refuses_wrong_settings(feed: Feed, args: list[str]) -> None:
    """An unknown key is told with the nearest that there is; nothing is begun."""
    feed.write(watch='intervall = "1s"')
    feed.says(2, "watches.one.intervall", 'did you mean "interval"?', args=args)
    assert not feed.state.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('hosts = "http://127.0.0.1:9200"', ["clusters.main.hosts", "list"]),
        ("hosts = [9200]", ["clusters.main.hosts[0] = 9200", "string in quotes"]),
        ('hosts = ["http://127.0.0.1:9200"]\nretries = "many"', ["clusters.main.retries", "whole number"]),
        ('hosts = ["http://127.0.0.1:9200"]\nbasic_auth = "env:NOT_SET_HERE"', ["basic_auth", "NOT_SET_HERE"]),
        ('hosts = ["http://127.0.0.1:9200"]\nca_certs = "/not/there.pem"', ["ca_certs", "/not/there.pem"]),
        ('hosts = ["http://127.0.0.1:9200"', ["line 4, column 1"]),
        ("hosts = ", ["line 2, column 9"]),
    ],
    ids=["no list", "number", "text", "environment", "file", "bracket", "no value"],
)
def test_wrong_values(feed: Feed, text: str, words: list[str]) -> None:
    """Type, environment, file and TOML faults name the key or the line."""
    feed.config.write_text(f'[clusters.main]\n{text}\n\n[watches.one]\nindex = "x"\n[sinks.s]\ntype = "stdout"\n')
    feed.says(2, *words)


def test_a_route_to_nowhere(feed: Feed) -> None:
    """A route must name sinks and watches that there are; both faults are told at once."""
    feed.write(more='[[routes]]\nwatches = ["onee"]\nsinks = ["audits"]')
    feed.says(2, "routes[0].watches", 'did you mean "one"?', "routes[0].sinks", 'did you mean "audit"?')


def test_no_settings_file(feed: Feed) -> None:
    """A missing or unreadable file, a folder, one that is not UTF-8: each says how to name another."""
    feed.config.unlink()
    feed.says(2, "--config", "no such file")
    feed.config.mkdir()
    feed.says(2, "--config", "directory")
    feed.config.rmdir()
    feed.config.write_bytes(b"\xff\xfe")
    feed.says(2, "--config", "UTF-8")
    feed.write().config.chmod(0)
    feed.says(2, "--config", "not readable", obeying=True)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["pol"], ["No such command"]),
        (["poll", "--wach", "one"], ["No such option"]),
        (["poll", "--watch", "onee"], ["--watch", 'did you mean "one"?']),
        (["backfill"], ["--since"]),
        (["backfill", "--since", "yesterday"], ["--since", "yesterday", "24h"]),
        (["backfill", "--since", "2099-01-01"], ["--since", "in the future"]),
        (["backfill", "--since", "99999999999d"], ["--since"]),
        (["backfill", "--since", "1e400"], ["--since"]),
        (["backfill", "--since", "1d", "--until", "2d"], ["--until", "--since"]),
        (["backfill", "--since", "1h", "--sink", "x"], ["--sink"]),
        (["events", "--since", "soon"], ["--since"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] in ("pol", "poll", "backfill", "events") else None,
)
def test_wrong_arguments(feed: Feed, args: list[str], words: list[str]) -> None:
    """What cannot be is refused with exit code 2, and the option is named."""
    feed.says(2, *words, args=args)


# --- clusters


@pytest.mark.parametrize("args", RAN, ids=lambda args: args[0])
def test_a_cluster_that_is_down(feed: Feed, args: list[str]) -> None:
    """Exit 1; the address and the setting are named, and nothing is told."""
    feed.says(1, DOWN, "clusters.main.hosts", "watch one", args=args)
    assert feed.events() == []


def test_a_cluster_that_is_down_in_a_backfill_and_a_check(feed: Feed) -> None:
    """A backfill fails; a check goes on to the sinks, so that it is done in part."""
    feed.says(1, DOWN, args=["backfill", "--since", "1h"])
    feed.says(3, DOWN, "cluster main", "watch one", args=["check"])


@pytest.mark.parametrize(("kind", "body"), [("text/html", b"<html>Welcome</html>"), ("application/json", b"[1]")])
def test_not_an_elasticsearch(feed: Feed, kind: str, body: bytes) -> None:
    """A web server at that address: exit 1, and `hosts` is what to look at."""
    with web_server(kind, body) as url:
        feed.write(url).says(1, "hosts")
        feed.says(1, "hosts", args=["backfill", "--since", "1h"])


@contextlib.contextmanager
def web_server(kind: str, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_wrong_password_and_wrong_ca(secured: Engine, feed: Feed) -> None:
    """Both exit with 1 and name the setting to correct; the password is not shown."""
    secret, url = "wr0ng-s3cret", secured.url
    told = feed.write(url, cluster=f'ca_certs = "{secured.ca_certs}"\nbasic_auth = "elastic:{secret}"').says(
        1, "basic_auth"
    )
    trustme.CA().cert_pem.write_to_path(str(feed.folder / "ca.pem"))
    told += feed.write(url, cluster=f'ca_certs = "ca.pem"\nbasic_auth = "elastic:{secret}"').says(1, "ca_certs")
    told += feed.write(url, cluster=f'basic_auth = "elastic:{secret}"').says(1, "ca_certs")
    assert secret not in told


# --- indices and documents


@pytest.mark.parametrize("engine", FAMILIES, indirect=True)
def test_an_index_that_is_not_there(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """Missing, deleted after the first snapshot, closed: an error, never deletes; back again: nothing to tell."""
    feed.write(engine.url, index).says(1, index)
    raw.create(index, DATED)
    raw.fill(index, 3, updated_at=STAMP)
    feed.says(0)
    assert feed.ops() == ["read"] * 3
    raw.call("POST", f"/{index}/_close")
    feed.says(1, index)
    raw.call("POST", f"/{index}/_open")
    raw.drop(index)
    feed.says(1, index)
    raw.create(index, DATED)
    raw.fill(index, 3, updated_at=STAMP)
    feed.says(0)
    assert feed.ops() == ["read"] * 3


@pytest.mark.parametrize("engine", FAMILIES, indirect=True)
def test_a_pattern_of_which_one_is_closed(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """The documents of a closed index behind a pattern are not deleted: an error until it is open or gone."""
    for part in ("a", "b"):
        raw.create(f"{index}-{part}", DATED)
        raw.fill(f"{index}-{part}", 3, updated_at=STAMP)
    feed.write(engine.url, f"{index}-*").says(0)
    assert feed.ops() == ["read"] * 6
    raw.call("POST", f"/{index}-b/_close")
    done = feed.run("poll")
    assert "deleted" not in feed.ops()
    assert done.returncode == 1
    assert f"{index}-b" in done.stderr


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
def test_a_timestamp_that_is_none(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """Not mapped, or mapped as text: exit 2, and the date fields that there are."""
    text = "string" if raw.typed else "text"
    raw.create(f"{index}-a", {"created": {"type": "date"}, "meta": {"properties": {"at": {"type": "date"}}}})
    raw.create(f"{index}-b", {"updated_at": {"type": text}, "updated": {"type": "date"}})
    for part in "ab":
        raw.fill(f"{index}-{part}", 1)
    by = 'tracker = "updated_at"'
    feed.write(engine.url, f"{index}-a", by).says(
        2, "watches.one.timestamp_field", "no document has", "created", "meta.at"
    )
    feed.write(engine.url, f"{index}-b", by).says(2, "watches.one.timestamp_field", f"as {text}", "(updated)")
    feed.write(engine.url, f"{index}-b", f'{by}\ntimestamp_field = ""').says(0)
    feed.says(2, "watches.one.timestamp_field", args=["backfill", "--since", "1h"])


@pytest.mark.parametrize("engine", FAMILIES, indirect=True)
def test_odd_ids_end_to_end(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """Every id that an engine takes comes out of the file sink's JSON as it is: read, updated and deleted."""
    raw.create(index, DATED)
    raw.bulk(index, [({"index": {"_id": id}}, {"updated_at": STAMP}) for id in ODD], refresh="true")
    feed.write(engine.url, index).says(0)
    raw.bulk(index, [({"index": {"_id": id}}, {"updated_at": STAMP, "n": 1}) for id in ODD[::2]], refresh="true")
    raw.bulk(index, [({"delete": {"_id": id}}, None) for id in ODD[1::2]], refresh="true")
    feed.says(0)
    events = feed.events()
    assert sorted(event["id"] for event in events if event["op"] == "read") == sorted(ODD)
    assert sorted(event["id"] for event in events if event["op"] == "updated") == sorted(ODD[::2])
    assert sorted(event["id"] for event in events if event["op"] == "deleted") == sorted(ODD[1::2])
    assert len(events) == 2 * len(ODD)


@pytest.fixture
def roomy(engine: Engine) -> Iterator[Engine]:
    """An engine that takes 20 MB at once: 9.x with so small a heap only when it is told to."""
    if engine.name == "es2":
        yield engine
        return
    yield start([engine.name], instance="qa-roomy", settings={"indexing_pressure.memory.limit": "60%"})[0]
    stop([engine.name], "qa-roomy")


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
def test_a_document_of_20_megabytes(roomy: Engine, index: str, feed: Feed) -> None:
    """It is read, told and updated among small ones."""
    raw = Raw(roomy)
    raw.create(index, {**DATED, "big": {"type": "object", "enabled": False}})
    big = {"text": "x" * (20 << 20)}
    raw.put(index, "big", {"updated_at": STAMP, "big": big})
    raw.fill(index, 20, updated_at=STAMP)
    feed.write(roomy.url, index).says(0)
    raw.put(index, "big", {"updated_at": STAMP, "big": big, "n": 1})
    raw.refresh(index)
    feed.says(0)
    raw.drop(index)
    events = [event for event in feed.events() if event["id"] == "big"]
    assert [event["op"] for event in events] == ["read", "updated"]
    assert events[1]["changed"] == ["n"]
    assert events[1]["after"]["big"] == events[1]["before"]["big"] == big
    assert len(feed.events()) == 22


# --- states


def test_a_state_of_a_newer_esfeed(feed: Feed) -> None:
    """Its schema is named, and nothing in it is touched."""
    feed.says(0, args=["status"])
    with contextlib.closing(sqlite3.connect(feed.state)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    feed.says(1, "newer esfeed", "'9999'")
    feed.says(1, "newer esfeed", args=["status"])


def test_a_state_that_is_none(feed: Feed) -> None:
    """A file of something else, a folder, a damaged database, another database: said as such."""
    feed.state.write_text("these are notes, not a database\n" * 100)
    feed.says(1, "not a SQLite database")
    feed.state.unlink()
    feed.state.mkdir()
    feed.says(1, "cannot be opened")
    feed.state.rmdir()
    feed.config.write_text('state = "sqlite:///no/such/folder/x.db"\n' + feed.config.read_text())
    feed.says(2, "no/such/folder")


@pytest.mark.parametrize("engine", ["es9"], indirect=True)
def test_a_damaged_state(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """A database with pages overwritten is called corrupt, or still works; it never brings a traceback or deletes."""
    raw.create(index, DATED)
    raw.fill(index, 200, updated_at=STAMP, text="abc" * 50)
    feed.write(engine.url, index).says(0)
    whole = feed.state.read_bytes()
    told = []
    for seed in range(4):
        damaged = bytearray(whole)
        chosen = random.Random(seed)
        for _ in range(12):
            at = chosen.randrange(1, len(damaged) // 4096) * 4096
            damaged[at : at + 512] = chosen.randbytes(512)
        for beside in feed.folder.glob("esfeed.db-*"):
            beside.unlink()
        feed.state.write_bytes(damaged)
        raw.put(index, f"more{seed}", {"updated_at": STAMP})
        raw.refresh(index)
        done = feed.run("poll")
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        assert done.returncode in (0, 1, 3)
        told.append(done.stderr)
    assert "deleted" not in feed.ops()
    assert any("corrupt" in text for text in told)


def test_a_state_that_cannot_be_written(feed: Feed) -> None:
    """A read-only file, or a folder in which no lock can be made: what to allow is said."""
    feed.says(0, args=["status"])
    feed.state.chmod(0o400)
    told = feed.says(1, "state", args=["poll"], obeying=True)
    assert "read-only" in told
    assert "let this user" in told
    feed.state.chmod(0)
    feed.says(1, "cannot be opened", args=["status"], obeying=True)
    feed.state.chmod(0o600)
    for lock in feed.folder.glob("*.lock"):
        lock.unlink()
    feed.folder.chmod(0o500)
    told = feed.says(1, "lock file", args=["poll"], obeying=True)
    feed.folder.chmod(0o700)
    assert "let this user" in told


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=False).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("engine", ["es9"], indirect=True)
def test_a_full_disk(engine: Engine, raw: Raw, index: str, feed: Feed, tiny: Path) -> None:
    """It is said; and with room again the feed goes on with nothing lost or told twice."""
    raw.create(index, DATED)
    raw.bulk(
        index,
        [({"index": {"_id": str(n)}}, {"updated_at": STAMP, "x": random.randbytes(900).hex()}) for n in range(900)],
    )
    raw.refresh(index)
    feed.write(engine.url, index)
    feed.config.write_text(f'state = "sqlite:///{tiny}/esfeed.db"\n' + feed.config.read_text())
    feed.says(1, "disk under the state", "full")
    before = len(feed.events())
    assert before < 900
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny)], check=True)
    feed.says(0)
    assert sorted(int(event["id"]) for event in feed.events()) == list(range(900))


def test_a_disk_that_is_full_from_the_start(feed: Feed, tiny: Path) -> None:
    """Not even the schema fits."""
    feed.config.write_text(f'state = "sqlite:///{tiny}/esfeed.db"\n' + feed.config.read_text())
    with contextlib.suppress(OSError), (tiny / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    told = feed.says(1, "full")
    assert "state" in told


def test_a_second_process_says_who_holds_the_state(feed: Feed) -> None:
    """It names the command and the process; status and events still work; a kill -9 leaves nothing behind."""
    first = subprocess.Popen([command(), "-c", str(feed.config), "run"], cwd=feed.folder, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: json.loads(feed.run("status", "--json").stdout)["running"])
        for args in (["poll"], ["run"]):
            feed.says(1, "`esfeed run`", f"process {first.pid}", args=args)
        feed.says(0, args=["events"])
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert json.loads(feed.run("status", "--json").stdout)["running"] is None
        feed.says(1, DOWN)
    finally:
        first.kill()
        first.wait()


def test_an_ordered_end(feed: Feed) -> None:
    """SIGTERM and SIGINT end a feed with 0 within ten seconds, whatever its cluster does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        first = subprocess.Popen(
            [command(), "-c", str(feed.config), "run"], cwd=feed.folder, stderr=subprocess.PIPE, text=True
        )
        try:
            eventually(lambda: json.loads(feed.run("status", "--json").stdout)["running"])
            first.send_signal(number)
            _, told = first.communicate(timeout=12)
        finally:
            first.kill()
            first.wait()
        assert first.returncode == 0
        assert "Traceback" not in told
        assert "feed.stopped" in told


# --- done in part


@pytest.mark.parametrize("engine", ["es9"], indirect=True)
def test_one_watch_of_two_fails(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """Exit 3, the failing one is named, and the other's events are delivered; whatever is wrong with the first."""
    raw.create(f"{index}-good", DATED)
    raw.create(f"{index}-undated", {"n": {"type": "integer"}})
    for part in ("good", "undated"):
        raw.fill(f"{index}-{part}", 2, **({"updated_at": STAMP} if part == "good" else {}))
    for wrong in (f"{index}-missing", f"{index}-undated"):
        feed.write(engine.url, wrong, 'tracker = "updated_at"', more=f'[watches.two]\nindex = "{index}-good"')
        told = feed.says(3, "watches.one" if "undated" in wrong else "watch one")
        assert "watch two" not in told
        assert "watches.two" not in told
        assert feed.ops() == ["read"] * 2
    feed.says(2 if "undated" in wrong else 1, args=["poll", "--watch", "one"])
    feed.says(0, args=["poll", "--watch", "two"])


@pytest.mark.parametrize("engine", ["es9"], indirect=True)
def test_one_sink_of_two_fails(engine: Engine, raw: Raw, index: str, feed: Feed) -> None:
    """Exit 3, the failing one is named, the other has everything; later the first gets it too."""
    raw.create(index, DATED)
    raw.fill(index, 2, updated_at=STAMP)
    other = feed.folder / "later"
    feed.write(engine.url, index, more='[sinks.broken]\ntype = "file"\npath = "later/events.jsonl"\nfsync = false')
    other.write_text("a file where a folder should be")
    told = feed.says(3, "sink broken", args=["poll", "--timeout", "1"])
    assert "sink audit" not in told
    assert feed.ops() == ["read"] * 2
    other.unlink()
    other.mkdir()
    feed.says(0)
    assert len((other / "events.jsonl").read_text().splitlines()) == 2
    assert feed.ops() == ["read"] * 2
