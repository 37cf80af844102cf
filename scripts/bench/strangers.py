"""What strangers do to a feed over HTTP: stalls, slow connections, heads without end, and requests that make no sense.

A feed (``esfeed run --http``) follows an index every 100 ms into a file while a writer writes at an even pace. First
nobody disturbs it; then each disturbance runs for SECONDS. For each it prints the feed's own delay from the write to
the file (p50, p99), that p99 beside the undisturbed one, whether the file has every event, what HTTP answered by
status, and the memory of both processes. It ends with 1 where an event is missing, HTTP answered 5xx (but for the 503
of too many connections), esfeed logged a fault of its own, or a process grew by more than a quarter while it was
fuzzed.

A disturbance is a process of its own that gets the processor last, as strangers run elsewhere. With ``--rounds``, all
phases take turns that often, and the last lines compare them: what else the machine does meanwhile concerns all of
them. The phase ``schemathesis`` runs where that is installed (``pip install schemathesis``) or named by
SCHEMATHESIS.

    python scripts/bench/strangers.py [--seconds 30] [--fuzz 300]
    python scripts/bench/strangers.py --only stall --seconds 20 --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _feed import esfeed, serving
from readers import SETTINGS, Audit, memory, percentiles, write

from esfeed.demo.lookalike import lookalike
from tests.web.test_budget import STALLS

_HTTP = "[http]\nrequests_per_second = 100000.0\n"
_EVEN = SETTINGS.replace("interval", 'overlap = "1s"\ninterval')
"""This engine in memory is followed by dates: with the usual overlap, polls would cost more with each phase."""
_SLOW = 1700
_MAX_GROWTH = 1.25
_PIECES = (
    b"GET", b"POST", b"HEAD", b"OPTIONS", b"PRI", b"/v1/changes", b"/v1/status", b"/v1/dead", b"/v1/redrive", b"/enter",
    b"/static/../x", b"?since=", b"&where=", b"&limit=-1", b"%00", b"%ff", b"\xff\xfe", b"HTTP/1.1", b"HTTP/9.9",
    b"host: localhost", b"host: evil@127.0.0.1", b"content-length: 5", b"content-length: -1",
    b"content-length: 9999999",
    b"transfer-encoding: chunked", b"transfer-encoding: chunked, identity", b"expect: 100-continue", b"upgrade: h2c",
    b"connection: keep-alive", b"last-event-id: 9999999999999999999", b"accept: text/event-stream", b"cookie: esfeed=",
    b"authorization: Bearer ", b"x-auth-token: ", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b":", b"0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"{}", b'{"sink":', b"[" * 500,
)  # fmt: skip


@dataclass(frozen=True)
class Server:
    """The running feed, as strangers and its operator see it."""

    folder: Path
    url: str
    pid: int
    tenant: str
    admin: str

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        address = urlsplit(self.url)
        return address.hostname or "", address.port or 0

    def answers(self) -> dict[str, float]:
        """How many answers there were so far, by status."""
        request = urllib.request.Request(f"{self.url}/metrics", headers={"authorization": f"Bearer {self.admin}"})
        text = urllib.request.urlopen(request, timeout=60).read().decode()
        found = re.findall(r'^esfeed_http_requests_total\{status="(\d+)"\} (\S+)', text, re.MULTILINE)
        return {status: float(count) for status, count in found}

    def memory(self) -> tuple[float, float]:
        """Megabytes of the feed's process, and of the one that serves."""
        children = Path(f"/proc/{self.pid}/task").glob("*/children")
        pids = [int(pid) for one in children for pid in one.read_text().split()]
        return memory(self.pid), sum(memory(pid) for pid in pids)


def stall(server: Server, over: threading.Event) -> None:
    """A tenant tries every condition that once held the process, over and over."""
    while not over.is_set():
        for where in STALLS:
            if over.is_set():
                return
            url = f"{server.url}/v1/changes?since=0&where={quote(where)}"
            request = urllib.request.Request(url, headers={"authorization": f"Bearer {server.tenant}"})
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=60).read()


def slow(server: Server, over: threading.Event) -> None:
    """1,700 connections, each of which sends a byte of a head every two seconds."""
    held: list[socket.socket] = []
    while not over.is_set():
        while len(held) < _SLOW and not over.is_set():
            with contextlib.suppress(OSError):
                held.append(socket.create_connection(server.address, 5))
        for one in [*held]:
            try:
                one.send(b"G")
            except OSError:
                held.remove(one)
                one.close()
        over.wait(2)
    for one in held:
        one.close()


def endless(server: Server, over: threading.Event) -> None:
    """Header lines and URLs, up to a gigabyte each, as fast as they are taken."""
    line = b"x-more: " + b"y" * 8000 + b"\r\n"
    while not over.is_set():
        for begin, piece in ((b"GET / HTTP/1.1\r\n", line), (b"GET /", b"z" * 65536)):
            with contextlib.suppress(OSError), socket.create_connection(server.address, 5) as sock:
                sock.settimeout(5)
                sock.sendall(begin)
                sent = 0
                while sent < 1 << 30 and not over.is_set():
                    sock.sendall(piece)
                    sent += len(piece)


def raw(server: Server, over: threading.Event) -> None:
    """Requests put together at random from pieces of good and bad ones, with a good token or none."""
    rng = random.Random(14)
    while not over.is_set():
        parts = [rng.choice(_PIECES) for _ in range(rng.randint(1, 30))]
        if rng.random() < 0.7:
            head = b"%b %b HTTP/1.1\r\nhost: localhost\r\n" % (rng.choice(_PIECES[:5]), rng.choice(_PIECES[5:16]))
            token = server.tenant if rng.random() < 0.5 else server.admin
            parts = [head, b"authorization: Bearer %b\r\n" % token.encode(), *parts, b"\r\n\r\n"]
        data = bytearray(b"".join(parts))
        for _ in range(rng.choice((0, 0, 1, 5))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(OSError), socket.create_connection(server.address, 5) as sock:
            sock.settimeout(0.2)
            sock.sendall(data)
            sock.recv(65536)


def schemathesis(server: Server, over: threading.Event) -> None:
    """What the API's description allows, and what it does not, by schemathesis."""
    program = os.environ.get("SCHEMATHESIS") or shutil.which("schemathesis")
    if program is None:
        print("schemathesis is not installed: that phase does nothing", file=sys.stderr)
        return
    with (server.folder / "schemathesis.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, "run", f"{server.url}/v1/openapi.json", "--max-time", "86400", "--continue-on-failure",
                "--checks", "not_a_server_error", "--header", f"authorization: Bearer {server.admin}",
                "--request-timeout", "5", "--no-shrink", "--suppress-health-check", "all",
            ],
            stdout=log, stderr=log, cwd=server.folder,
        )  # fmt: skip
        over.wait()
        process.terminate()
        process.wait()


@contextmanager
def followed(folder: Path, engine: str) -> Iterator[Server]:
    """A feed that has followed its index once."""
    with serving(folder, _EVEN.format(folder=folder, engine=engine) + _HTTP) as (feed, url):
        tokens = [
            subprocess.run([*esfeed(folder), "token", "add", *about], capture_output=True, text=True, check=True)
            for about in (["--tenant", "p1"], ["--admin"])
        ]
        while not (folder / "audit.jsonl").exists():
            time.sleep(0.1)
        yield Server(folder, url, feed.pid, *(made.stdout.strip() for made in tokens))


_DISTURBANCES: dict[str, Callable[[Server, threading.Event], None]] = {
    one.__name__: one for one in (stall, slow, endless, raw, schemathesis)
}


@contextmanager
def disturbed(name: str, server: Server) -> Iterator[None]:
    """While the context lasts, another process disturbs the server; nobody does where no disturbance has that name."""
    if name not in _DISTURBANCES:
        yield
        return
    about = [str(each) for each in astuple(server)]
    command = ["nice", "-n", "10", sys.executable, __file__, "--disturb", name, *about]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # It has begun: what its start costs is no disturbance.
        yield
    finally:
        process.terminate()
        process.wait(60)


def disturb(name: str, folder: str, url: str, pid: str, tenant: str, admin: str) -> None:
    """Disturbs until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    threading.Thread(
        target=_DISTURBANCES[name], args=(Server(Path(folder), url, int(pid), tenant, admin), over), name=name
    ).start()
    print("begins", flush=True)
    while not over.wait(0.5):
        """A signal is taken between two waits."""


def phase(server: Server, engine: str, seconds: float, name: str, number: int) -> tuple[dict[str, Any], list[float]]:
    """Writes for so long while something disturbs; how the feed did, and each delay in milliseconds."""
    before, began = server.answers(), server.memory()
    audit = Audit(server.folder / "audit.jsonl")
    audit.start()
    with disturbed(name, server):
        time.sleep(1)
        count = write(engine, seconds, 20, f"{name}-{number}")
        until = time.monotonic() + 20
        while len(audit.delays) < count and time.monotonic() < until:
            time.sleep(0.1)
    audit.over = True
    answers = {status: n - before.get(status, 0.0) for status, n in server.answers().items()}
    told = {
        "phase": name,
        "written": count,
        "in_the_file": len(audit.delays),
        **percentiles(audit.delays),
        "answers": {status: int(n) for status, n in sorted(answers.items()) if n},
        "memory_mb": {"feed": [began[0], server.memory()[0]], "http": [began[1], server.memory()[1]]},
    }
    return told, audit.delays


def compared(title: str, told: list[dict[str, Any]], delays: dict[str, list[float]]) -> dict[str, Any]:
    """All delays of a phase; and its p99 beside the undisturbed one of the same round, as the median of all rounds."""
    undisturbed = [one["p99_ms"] for one in told if one["phase"] == "undisturbed"]
    disturbed = [one["p99_ms"] for one in told if one["phase"] == title]
    ratios = [one / beside for one, beside in zip(disturbed, undisturbed, strict=True)]
    return {"all": title, **percentiles(delays[title]), "p99_beside_undisturbed": round(statistics.median(ratios), 2)}


def faults(told: list[dict[str, Any]], log: str) -> list[str]:
    """What is not as it should be."""
    found = [f"{one['phase']}: {one['written']} written, {one['in_the_file']} in the file" for one in told
             if one["written"] != one["in_the_file"]]  # fmt: skip
    for one in told:
        found += [f"{one['phase']}: answered {s}" for s in one["answers"] if s.startswith("5") and s != "503"]
        if one["phase"] in ("raw", "schemathesis"):
            found += [
                f"{one['phase']}: memory of {who} {before} to {after} MB"
                for who, (before, after) in one["memory_mb"].items()
                if after > _MAX_GROWTH * before
            ]
    return found + [line for line in log.splitlines() if "web.broken" in line or "web.died" in line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    parser.add_argument("--fuzz", type=float, default=300.0, help="seconds of each of the two kinds of fuzzing")
    parser.add_argument("--rounds", type=int, default=1, help="how often all phases take turns")
    parser.add_argument("--only", action="append", help="a phase, beside the undisturbed one (may be repeated)")
    parser.add_argument("--disturb", nargs=6, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.disturb:
        disturb(*asked.disturb)
        return 0
    phases = [("undisturbed", asked.seconds), *((one, asked.seconds) for one in ("stall", "slow", "endless"))]
    phases += [("raw", asked.fuzz), ("schemathesis", asked.fuzz)]
    told: list[dict[str, Any]] = []
    delays: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, lookalike() as engine:
        write(engine, 0.1, 20, "first")
        with followed(Path(name), engine) as server:
            time.sleep(2)
            for number, (title, seconds) in itertools.product(range(asked.rounds), phases):
                if asked.only and title not in ("undisturbed", *asked.only):
                    continue
                one, some = phase(server, engine, seconds, title, number)
                delays.setdefault(title, []).extend(some)
                told.append(one)
                print(json.dumps(one), flush=True)
            for title in delays:
                print(json.dumps(compared(title, told, delays)))
            time.sleep(1)
        found = faults(told, (Path(name) / "log.jsonl").read_text())
        with contextlib.suppress(OSError):
            print("\n".join((Path(name) / "schemathesis.log").read_text().splitlines()[-25:]), file=sys.stderr)
    for fault in found:
        print(f"FAULT {fault}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
