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


def scan(url: str, index: str, shard: int) -> tuple[int, int]:
    """How many documents one shard has, read one by one; and the bytes of all answers."""
    pool = urllib3.PoolManager(headers={"content-type": "application/json"}, retries=False)
    octets = found = 0

    def ask(method: str, path: str, body: object) -> bytes:
        nonlocal octets
        answer = pool.request(method, url + path, body=msgspec.json.encode(body))
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.data[:300]!r}")
        octets += len(answer.data)
        return answer.data

    decoder = msgspec.json.Decoder(Page)
    body = {"size": _SIZE, "_source": False, "version": True, "sort": ["_doc"]}
    page = decoder.decode(ask("POST", f"/{index}/_search?scroll=5m&preference=_shards:{shard}", body))
    while page.hits.hits:
        found += len(page.hits.hits)
        page = decoder.decode(ask("POST", "/_search/scroll", {"scroll": "5m", "scroll_id": page.scroll}))
    ask("DELETE", "/_search/scroll", {"scroll_id": [page.scroll]})
    return found, octets


def scan_all(url: str, index: str, shards: int) -> tuple[int, int]:
    """The same of all shards, read at once."""
    with ThreadPoolExecutor(shards) as pool:
        found = list(pool.map(lambda shard: scan(url, index, shard), range(shards)))
    return sum(count for count, _ in found), sum(octets for _, octets in found)


def main() -> None:
    """Prints how many documents and bytes there were."""
    url, index, shards = sys.argv[1:]
    found, octets = scan_all(url, index, int(shards))
    print(msgspec.json.encode({"documents": found, "bytes": octets}).decode())


if __name__ == "__main__":
    main()
