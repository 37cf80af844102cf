"""What the demo stands on: the counters of its engine, and the comparison that it ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esfeed.changes.profiles.searchlight import ROLE_FIELD
from esfeed.demo import replay
from esfeed.demo.demo_index import DemoIndex, EngineClient
from esfeed.demo.lookalike import lookalike
from esfeed.errors import ClusterError


def test_the_look_alike_counts_every_operation() -> None:
    """Updates and deletes move its counters as an engine's, a refused write does not, and refreshes follow."""
    with lookalike() as url:
        client = EngineClient(url)
        client.request("PUT", "/one", {"settings": {"number_of_shards": 1}})

        def counted(path: str) -> tuple[int, int, int]:
            (copies,) = client.request("GET", path)["indices"]["one"]["shards"].values()
            indexing, refresh = copies[0]["indexing"], copies[0]["refresh"]
            return indexing["index_total"], indexing["delete_total"], refresh["external_total"]

        stats = "/one/_stats?level=shards&filter_path=indices.*.shards.*.indexing,indices.*.shards.*.refresh"
        seen = [counted(stats)]
        for body in ({"n": 1}, {"n": 2}):
            client.request("PUT", "/one/_doc/1", body)
            seen.append(counted(stats))
        with pytest.raises(ClusterError, match="409"):
            client.request("PUT", "/one/_doc/1?version=1&version_type=external", {"n": 3})
        seen.append(counted(stats))
        client.request("DELETE", "/one/_doc/1")
        seen.append(counted(stats))
        assert seen == [(0, 0, 0), (1, 0, 1), (2, 0, 2), (2, 0, 2), (3, 0, 3)]
        assert counted("/one/_stats?level=shards") == (3, 0, 3)


def test_the_comparison_names_what_is_wrong(tmp_path: Path) -> None:
    """A document that was never told, one that outlived its delete, one that differs; each by its type and id."""

    def told(op: str, doc_id: str, n: int = 0) -> str:
        after = {"n": n, ROLE_FIELD: "admin"} if n else None
        return json.dumps({"data": {"op": op, "type": "t", "id": doc_id, "after": after}}) + "\n"

    lines = [
        told("created", "left", 1),
        told("created", "other", 1),
        told("read", "same", 1),
        told("updated", "same", 2),
    ]
    events = tmp_path / "events.jsonl"
    events.write_text("".join([*lines, told("created", "gone", 1), told("deleted", "gone")]))

    class Fake(EngineClient):
        def request(self, method: str, path: str, body: object = None) -> object:
            found = {"lost": {"n": 1}, "other": {"n": 2}, "same_ADMIN": {"n": 2}, "hidden_USER": {"n": 1}}
            hits = [
                {
                    "_id": id,
                    "_type": "t",
                    "_source": {**source, ROLE_FIELD: ["user"] if "USER" in id else "admin"},
                }
                for id, source in found.items()
            ]
            return {"hits": {"hits": hits}}

    where = DemoIndex("http://127.0.0.1:1", "none", "i", "a", True, False)
    compared = replay.compare("admin", events, where, Fake(where.url))
    assert not compared.equal
    assert (compared.missing, compared.left_over, compared.different) == (("t/lost",), ("t/left",), ("t/other",))
    assert compared.documents == 3
