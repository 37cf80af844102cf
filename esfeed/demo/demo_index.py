"""The engine of the demo, and its own index in it, which is removed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

import esfeed
from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.connection import Connection
from esfeed.demo.lookalike import lookalike
from esfeed.errors import ClusterError, ConfigError, EsfeedError

ENGINES = ("es2", "es5", "es6", "es7", "es8", "es9", "os2", "os3")
"""The real engines that ``scripts/engines`` can start, in a source tree."""

TYPE_FIELD = "resource_type"
"""The field for the type of a resource on engines without types (7 and later, and OpenSearch)."""

_DATE = {"type": "date", "format": "strict_date_optional_time||epoch_millis"}


@dataclass(frozen=True, slots=True)
class DemoIndex:
    """An engine and the index of the demo. ``many_types``: its documents have Searchlight's types as ``_type``."""

    url: str
    engine: str
    index: str
    alias: str
    many_types: bool
    one_type: bool
    in_memory: bool = False

    def type_of(self, kind: str) -> str | None:
        """The ``_type`` of a document of that kind; ``None`` for none."""
        return kind if self.many_types else "_doc" if self.one_type else None


class EngineClient:
    """Plain HTTP to the engine, for the simulated cloud and for checks; the feed has its own client."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(10.0))

    def request(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer. Raises ``ClusterError`` for a failure."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        try:
            answer = self._pool.request(method, self._url + path, body=raw, headers={"content-type": kind})
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"{self._url} cannot be reached ({error})", "start an engine there") from error
        text = answer.data.decode(errors="replace")
        if answer.status >= 300:
            raise ClusterError(f"{self._url} answered {answer.status} to {method} {path}: {text[:300]}")
        return json.loads(text)

    def bulk(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Writes; returns once the engine has acknowledged everything. Raises ``ClusterError`` for any refusal."""
        answer = self.request("POST", "/_bulk", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        if answer["errors"]:
            raise ClusterError(f"the engine refused a write of the demo: {json.dumps(answer['items'])[:300]}")

    def close(self) -> None:
        """Closes all connections."""
        self._pool.clear()


@contextlib.contextmanager
def demo_index(name: str | None) -> Iterator[tuple[DemoIndex, EngineClient]]:
    """An engine by name or URL (``None``: in memory) with a new, empty index. The end of the context removes both.

    On an engine given by URL, only the index belongs to the demo, and it has a unique name.
    """
    with contextlib.ExitStack() as stack:
        if name is None:
            url, label = stack.enter_context(lookalike()), ""
        elif name in ENGINES:
            url, label = stack.enter_context(_from_source_tree(name)), ""
        elif name.startswith(("http://", "https://")):
            url, label = name.rstrip("/"), f"esfeed-demo-{uuid.uuid4().hex[:6]}"
        else:
            raise ConfigError(
                "--engine", name, f"write one of {', '.join(ENGINES)}, or a url such as http://127.0.0.1:9200"
            )
        where = _describe(url, label)
        if name is None:
            where = replace(where, engine="osmem, an OpenSearch look-alike in memory", in_memory=True)
        client = EngineClient(url)
        stack.callback(client.close)
        stack.callback(_remove, client, where)
        _create(client, where)
        yield where, client


def _describe(url: str, label: str) -> DemoIndex:
    cluster = EngineCluster(Connection("demo", [url], tries=1))
    try:
        engine = cluster.engine
    except ClusterError as error:
        raise EsfeedError(error.message, "start it, or omit --engine to use one in memory") from error
    finally:
        cluster.close()
    elastic = engine.distribution == "elasticsearch"
    index = f"{label or 'searchlight'}-{datetime.now(UTC):%Y_%m_%d_%H_%M_%S}"
    old = elastic and engine.version < (6,)
    six = elastic and (6,) <= engine.version < (7,)
    return DemoIndex(url, str(engine), index, label or "searchlight-search", old, six)


def _create(client: EngineClient, where: DemoIndex) -> None:
    properties: dict[str, Any] = {"properties": {"updated_at": _DATE, "created_at": _DATE}}
    if where.many_types:
        properties = {"_default_": properties}
    elif where.one_type:
        properties = {"_doc": properties}
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.request("PUT", f"/{where.index}", {"settings": settings, "mappings": properties})
    client.request("POST", "/_aliases", {"actions": [{"add": {"index": where.index, "alias": where.alias}}]})


def _remove(client: EngineClient, where: DemoIndex) -> None:
    """Removes the index, even if its creation was interrupted; an engine that is gone took it along."""
    with contextlib.suppress(ClusterError):
        client.request("DELETE", f"/{quote(where.index)}")


@contextlib.contextmanager
def _from_source_tree(name: str) -> Iterator[str]:
    script = Path(esfeed.__file__).resolve().parents[1] / "scripts" / "engines"
    if not script.is_file():
        hint = f"only a source tree has scripts/engines ({script}); write a url instead"
        raise ConfigError("--engine", name, hint)
    instance = f"--instance=demo-{os.getpid()}"
    try:
        up = subprocess.run(
            [sys.executable, str(script), "up", name, instance, "--json"], stdout=subprocess.PIPE, check=False
        )
        if up.returncode:
            raise EsfeedError(f"scripts/engines up {name} failed", "see its output above")
        yield str(json.loads(up.stdout)[0]["url"])
    finally:
        # In its own session: a second Ctrl-C must not leave the engine behind.
        subprocess.run([sys.executable, str(script), "down", name, instance], check=False, start_new_session=True)
