#!/usr/bin/env python3
"""One poll of many indices behind a pattern, with an update and a delete in each.

    .venv-test/bin/python scripts/bench/pattern.py --indices 80 --engine es9

Compared with a loop that sends one search to each index. Indices and files are removed.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _machine import INSTANCE, circumstances, engine_for

from tests.engines.test_oracle import Feed
from tests.support.clients import Raw

DOCUMENTS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="es9")
    parser.add_argument("--instance", default=INSTANCE)
    parser.add_argument("--indices", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with engine_for(asked.engine, asked.instance) as engine, tempfile.TemporaryDirectory() as folder:
        raw, name = Raw(engine), f"bench-{secrets.token_hex(4)}"
        names = [f"{name}-{n:03}" for n in range(asked.indices)]
        try:
            for one in names:
                raw.create(one, settings={"number_of_replicas": 0})
                raw.fill(one, DOCUMENTS)
            feed = Feed(engine.url, f"{name}-*", Path(folder))
            feed.poll()
            for n in range(asked.rounds):
                for one in names:
                    raw.put(one, "0", {"round": n})
                    raw.delete(one, str(n + 1))
                raw.refresh(f"{name}-*")
                started = time.perf_counter()
                found = feed.poll()
                took = time.perf_counter() - started
                ops = sorted(event["data"]["op"] for event in found)
                assert ops == ["deleted"] * len(names) + ["updated"] * len(names), ops[:5]
                started = time.perf_counter()
                for one in names:
                    raw.call("POST", f"/{one}/_search", {"size": DOCUMENTS})
                bare = time.perf_counter() - started
                print(f"poll {took:6.2f} s   a search of each index {bare:5.2f} s   {took / bare:5.2f} x", flush=True)
            feed.close()
        finally:
            raw.call("DELETE", f"/{','.join(names)}")
    print(circumstances(engine))


if __name__ == "__main__":
    main()
