"""Threads that read something of a kind for the first time at the same moment, in processes that may die of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import esfeed

# Each child begins anew: what was made in one would hide the fault from all others.
_SCRIPT = """
import json, os, sys, threading
import msgspec
from esfeed.cluster import responses as answers
from esfeed.cluster.stats import read_stats

if sys.argv[1] == "msgspec":
    answers.read = lambda raw, kind: msgspec.json.decode(raw, type=kind)

copy = {
    "routing": {"state": "STARTED", "primary": True, "node": "n"}, "docs": {"count": 3}, "store": {"size_in_bytes": 9},
    "indexing": {"index_total": 3, "delete_total": 0}, "refresh": {"total": 2, "external_total": 2},
    "commit": {"user_data": {"translog_uuid": "t", "history_uuid": "h"}},
    "seq_no": {"max_seq_no": 2, "global_checkpoint": 2},
}
answer = {"_shards": {"total": 1, "failed": 0}, "indices": {"i": {"uuid": "u", "shards": {"0": [copy]}}}}

class Client:
    known_engine = None

    def request(self, *about, **more):
        return json.dumps(answer).encode()

def child():
    sys.setswitchinterval(1e-6)
    go = threading.Barrier(4)
    right = []

    def look():
        go.wait()
        right.append(read_stats(Client(), "i").shards["i/0"].max_seq_no == 2)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(right != [True] * 4)

died = 0
for _ in range(40):
    pid = os.fork()
    if not pid:
        child()
    died += os.waitpid(pid, 0)[1] != 0
print(died)
"""


def died(way: str) -> int:
    """How many of forty processes did."""
    asked = [sys.executable, "-c", _SCRIPT, way]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_threads_that_read_a_kind_for_the_first_time() -> None:
    """Two watches that ask for the counters at the same moment (with msgspec's own ``decode`` most of these die)."""
    assert died("ours") == 0


def test_nothing_is_read_by_a_decoder_in_the_making() -> None:
    """``msgspec.json.decode(…, type=…)`` makes one; of what has no struct in it that is harmless."""
    found = []
    for path in Path(esfeed.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "msgspec.json.decode",
                "msgspec.msgpack.decode",
            ):
                kinds = [ast.unparse(word.value) for word in node.keywords if word.arg == "type"]
                found += [(path.name, kind) for kind in kinds if kind not in ("str", "dict[str, msgspec.Raw]")]
    assert found == []
