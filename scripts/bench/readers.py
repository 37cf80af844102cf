"""What hundreds of readers cost: delays with and without them, and memory. On an engine in memory; no network.

A feed (``esfeed run --http``) follows an index every 100 ms into a file while a writer writes at an even pace, each
document with the time of its writing. First nobody reads over HTTP, then READERS read server-sent events. Told are, for
the file (the feed's own delay) and for the readers: the delay from the write until it is there, p50 and p99; the memory
of the feed's process; and whether every reader got every event.

    python scripts/bench/readers.py [--readers 500] [--seconds 20] [--rate 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _feed import serving

from esfeed.demo.lookalike import lookalike

_WRITTEN = re.compile(rb'"written":\s?(\d+)')
SETTINGS = """\
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{engine}"]
[watches.bench]
index = "bench"
interval = "100ms"
[sinks.audit]
type = "file"
path = "{folder}/audit.jsonl"
"""


def percentiles(delays: list[float]) -> dict[str, float]:
    """p50, p99 and the largest, in milliseconds."""
    if len(delays) < 2:
        return {}
    cuts = statistics.quantiles(delays, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1), "max_ms": round(max(delays), 1)}


def write(engine: str, seconds: float, rate: float, run: str) -> int:
    """Writes at an even pace; returns how many."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        body = json.dumps({"written": time.time_ns(), "updated_at": int(time.time() * 1000), "pad": "x" * 300}).encode()
        request = urllib.request.Request(
            f"{engine}/bench/_doc/{run}-{count}", body, {"content-type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request).read()
        count += 1
        time.sleep(max(0.0, began + count / rate - time.monotonic()))
    return count


class Audit(threading.Thread):
    """Reads the feed's file as it grows, and notes how late each line is."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self.delays: list[float] = []
        self.over = False

    def run(self) -> None:
        with self._path.open("rb") as file:
            file.seek(0, 2)
            rest = b""
            while not self.over:
                data = file.read()
                now = time.time_ns()
                whole, _, rest = (rest + data).rpartition(b"\n")
                self.delays += [(now - int(stamp)) / 1e6 for stamp in _WRITTEN.findall(whole)]
                time.sleep(0.005)


async def read(url: str, number: int, until: float) -> tuple[list[float], list[int]]:
    """``number`` readers until a time; the delays of all their events, and how many each got."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    delays: list[float] = []

    async def one() -> int:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /v1/changes?since=now&feed=eventsource HTTP/1.1\r\nhost: localhost\r\n\r\n")
        got, rest = 0, b""
        while True:
            try:
                data = await asyncio.wait_for(reader.read(1 << 18), until - time.monotonic())
            except TimeoutError:
                break
            if not data:
                break
            now = time.time_ns()
            rest += data
            whole, _, rest = rest.rpartition(b"\n")
            stamps = _WRITTEN.findall(whole)
            got += len(stamps)
            delays.extend((now - int(stamp)) / 1e6 for stamp in stamps)
        writer.close()
        return got

    counts = await asyncio.gather(*(one() for _ in range(number)))
    return delays, list(counts)


def memory(pid: int) -> float:
    """Resident megabytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0


def cpu(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        url, number, seconds = asked.read
        delays, counts = asyncio.run(read(url, int(number), time.monotonic() + float(seconds)))
        print(json.dumps({**percentiles(delays), "events": sum(counts), "least": min(counts), "most": max(counts)}))
        return
    with tempfile.TemporaryDirectory() as name, lookalike() as engine:
        told = _bench(Path(name), engine, asked.readers, asked.seconds, asked.rate)
    print(json.dumps(told, indent=2))


def _bench(folder: Path, engine: str, readers: int, seconds: float, rate: float) -> dict[str, Any]:
    mappings = {"properties": {"updated_at": {"type": "date"}}}
    body = json.dumps({"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": mappings}).encode()
    headers = {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{engine}/bench", body, headers, method="PUT")).read()
    write(engine, 0.1, rate, "first")
    settings = SETTINGS.format(folder=folder, engine=engine) + '[http]\nanonymous = "loopback"\n'
    with serving(folder, settings) as (feed, url):
        while not (folder / "audit.jsonl").exists() or not (folder / "audit.jsonl").stat().st_size:
            time.sleep(0.1)
        return {
            "readers": readers,
            "writes_a_second": rate,
            "without": _phase(folder, engine, feed.pid, seconds, rate, "without"),
            "with": _phase(folder, engine, feed.pid, seconds, rate, "with", url, readers),
        }


def _phase(
    folder: Path, engine: str, pid: int, seconds: float, rate: float, run: str, url: str = "", readers: int = 0
) -> dict[str, Any]:
    other = None
    if readers:
        # Readers are elsewhere in life: here they get what processor time the feed leaves.
        asked = ["nice", "-n", "19", sys.executable, __file__, "--read", url, str(readers), str(seconds + 12)]
        other = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)
        time.sleep(8)
    audit = Audit(folder / "audit.jsonl")
    audit.start()
    time.sleep(0.5)
    began, used = time.monotonic(), cpu(pid)
    count = write(engine, seconds, rate, run)
    time.sleep(1.5)
    audit.over = True
    took = time.monotonic() - began
    told: dict[str, Any] = {
        "written": count,
        "in_the_file": len(audit.delays),
        "feed": percentiles(audit.delays),
        "memory_mb": memory(pid),
        "cpu_share": round((cpu(pid) - used) / took, 2),
    }
    if other is not None:
        out, _ = other.communicate(timeout=120)
        told["readers"] = json.loads(out)
        assert told["readers"]["least"] == count, "some reader did not get every event"
    return told


if __name__ == "__main__":
    main()
