"""A bare scan of ids and versions: urllib3, msgspec, a thread a shard; nothing is kept but a count.

ids.py URL INDEX SHARDS
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import urllib3

_SIZE = 10_000


class Hit(msgspec.Struct, gc=False):
    """One document, without what it holds."""

    id: str = msgspec.field(name="_id")
    version: int = msgspec.field(name="_version")


class Hits(msgspec.Struct, gc=False):
    """Those of one page."""

    hits: list[Hit]


class Page(msgspec.Struct, gc=False):
    """An answer to a search or a scroll."""

    scroll: str = msgspec.field(name="_scroll_id")
    hits: Hits


def scan(url: str, index: str, shard: int) -> int:
    """How many documents one shard has, read one by one."""
    pool = urllib3.PoolManager(headers={"content-type": "application/json"}, retries=False)

    def ask(method: str, path: str, body: object) -> bytes:
        answer = pool.request(method, url + path, body=msgspec.json.encode(body))
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {answer.data[:300]!r}")
        return bytes(answer.data)

    decoder, found = msgspec.json.Decoder(Page), 0
    body = {"size": _SIZE, "_source": False, "version": True, "sort": ["_doc"]}
    page = decoder.decode(ask("POST", f"/{index}/_search?scroll=5m&preference=_shards:{shard}", body))
    while page.hits.hits:
        found += len(page.hits.hits)
        page = decoder.decode(ask("POST", "/_search/scroll", {"scroll": "5m", "scroll_id": page.scroll}))
    ask("DELETE", "/_search/scroll", {"scroll_id": [page.scroll]})
    return found


def main() -> None:
    """Reads all shards at once, and prints how many documents there were."""
    url, index, shards = sys.argv[1:]
    with ThreadPoolExecutor(int(shards)) as pool:
        found = list(pool.map(lambda shard: scan(url, index, shard), range(int(shards))))
    print(msgspec.json.encode({"documents": sum(found)}).decode())


main()
