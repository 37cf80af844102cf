"""What tests speak to engines with, beside the code under test; and the ``esfeed`` command as a subprocess."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3

from tests.support import warm
from tests.support.engines import Engine

_Value = TypeVar("_Value")
_TURN_WITHIN = 120.0


class Refused(Exception):
    """The engine answered with a fault; ``status`` and ``body`` are its own."""

    def __init__(self, what: str, status: int, body: Any) -> None:
        super().__init__(f"{what}: {status} {str(body)[:500]}")
        self.status = status
        self.body = body


def _is_anothers_turn(path: str, refused: Refused) -> bool:
    if refused.status == 429 and "circuit_breaking_exception" in str(refused):
        return True  # other tests have its memory just now
    if path.startswith("/_snapshot/"):
        return refused.status == 503 and "snapshot" in str(refused)
    return path.startswith("/_plugins/_security/") and refused.status == 409


class Raw:
    """One engine, in its own words. ``kind`` is the ``_type`` that documents get where the engine has types.

    ``numbers`` makes what it is of a number with a fraction or an exponent.
    """

    def __init__(self, engine: Engine, kind: str = "doc", numbers: Callable[[str], Any] = float) -> None:
        self.engine = engine
        self.kind = kind
        self._numbers = numbers
        headers = {"content-type": "application/json"}
        options: dict[str, Any] = {}
        if engine.ca_certs:
            options["ca_certs"] = engine.ca_certs
            headers |= urllib3.make_headers(basic_auth=f"{engine.username}:{engine.password}")
        self._pool = urllib3.PoolManager(headers=headers, retries=False, **options)

    @property
    def typed(self) -> bool:
        return self.engine.distribution == "elasticsearch" and self.engine.major < 7

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """The parsed answer. Raises ``Refused`` for a status of 400 and more (but a 404 to a DELETE or HEAD).

        What an engine does one at a time for all tests, snapshots and changes of roles, waits for its turn, and so does
        everything while it has no memory left.
        """
        until = time.monotonic() + _TURN_WITHIN
        while True:
            try:
                return self._call(method, path, body, **params)
            except Refused as refused:
                if not _is_anothers_turn(path, refused) or time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _call(self, method: str, path: str, body: Any, **params: Any) -> Any:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        url = f"{self.engine.url}{path}" + (f"?{urlencode(params)}" if params else "")
        answer = self._pool.request(method, url, body=body)
        try:
            parsed = json.loads(answer.data, parse_float=self._numbers) if answer.data else None
        except ValueError:
            parsed = answer.data.decode(errors="replace")
        if answer.status >= 400 and not (answer.status == 404 and method in ("DELETE", "HEAD")):
            raise Refused(f"{method} {path}", answer.status, parsed)
        return parsed

    # --- indices

    def create(
        self,
        index: str,
        properties: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        mappings: Mapping[str, Any] | None = None,
    ) -> None:
        """An index with one shard and no replica, unless ``settings`` say otherwise."""
        body: dict[str, Any] = {"settings": {"number_of_shards": 1, "number_of_replicas": 0, **(settings or {})}}
        if properties is not None:
            mappings = {self.kind: {"properties": properties}} if self.typed else {"properties": properties}
        if mappings is not None:
            body["mappings"] = mappings
        self.call("PUT", f"/{index}", body)
        self.call("GET", f"/_cluster/health/{index}", wait_for_status="yellow", timeout="30s")

    def refresh(self, index: str) -> None:
        self.call("POST", f"/{index}/_refresh")

    def alias(self, index: str, name: str, **how: Any) -> None:
        self.call("POST", "/_aliases", {"actions": [{"add": {"index": index, "alias": name, **how}}]})

    def drop(self, prefix: str) -> None:
        """Deletes every index whose name begins so, closed ones too."""
        found = self.call("GET", "/_cluster/state/metadata", filter_path="metadata.indices.*.state") or {}
        for name in found.get("metadata", {}).get("indices", {}):
            if name.startswith(prefix):
                self.call("DELETE", f"/{name}")

    # --- documents

    def bulk(self, index: str, actions: Iterable[tuple[dict[str, Any], Any]], **params: Any) -> list[dict[str, Any]]:
        """``({"index": {"_id": …}}, source)`` each, source ``None`` for a delete; raises where one fails but by 404."""
        lines: list[bytes] = []
        for action, source in actions:
            ((op, about),) = action.items()
            about = {"_index": index, **({"_type": self.kind} if self.typed else {}), **about}
            lines.append(json.dumps({op: about}).encode())
            if source is not None:
                lines.append(source if isinstance(source, bytes) else json.dumps(source).encode())
        answer = self.call("POST", "/_bulk", b"\n".join(lines) + b"\n", **params)
        items = [next(iter(item.values())) for item in answer["items"]]
        for item in items:
            if item["status"] >= 400 and item["status"] != 404:
                raise Refused(f"bulk {item['_id']!r}", item["status"], item)
        return items

    def put(self, index: str, id: str, source: Any, **about: Any) -> dict[str, Any]:
        """Indexes one document (by ``_bulk``, so that any id will do). ``about`` is said with its id: ``routing=…``."""
        return self.bulk(index, [({"index": {"_id": id, **self._named(about)}}, source)])[0]

    def delete(self, index: str, id: str, **about: Any) -> dict[str, Any]:
        return self.bulk(index, [({"delete": {"_id": id, **self._named(about)}}, None)])[0]

    def fill(self, index: str, count: int, **fields: Any) -> None:
        """``count`` documents with ids ``0`` and on and a number ``n``, and refreshes."""
        self.bulk(index, [({"index": {"_id": str(n)}}, {"n": n, **fields}) for n in range(count)], refresh="true")

    def _named(self, about: dict[str, Any]) -> dict[str, Any]:
        """The metadata keys as this engine writes them: with an underscore before 7."""
        old = self.typed and self.engine.major < 6
        plain = {"routing", "parent", "version", "version_type"}
        return {f"_{key}" if key == "type" or (old and key in plain) else key: value for key, value in about.items()}


def eventually(ask: Callable[[], _Value], seconds: float = 20.0, every: float = 0.05) -> _Value:
    """The first true answer of ``ask``; fails when none came in time."""
    until = time.monotonic() + seconds
    while True:
        found = ask()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"still {found!r} after {seconds:g} s")
        time.sleep(every)


def esfeed(
    *args: str, config: Path | None = None, cwd: Path | None = None, obeying: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own (see ``warm``), in the folder of ``config`` unless ``cwd`` is given.

    ``obeying``: file modes bind it, even where root runs the tests; that takes a process that is executed.
    """
    options = ["--config", str(config)] if config else []
    folder = cwd or (config.parent if config else None)
    variables = {**os.environ, **environment}
    if not obeying:
        return warm.run(*options, *args, cwd=folder, environment=variables)
    return subprocess.run(
        [command(), *options, *args],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
        env=variables,
        preexec_fn=obey_modes,
    )


def obey_modes() -> None:
    """For a child process before it executes: gives up root's right to pass over file modes (Linux)."""
    if os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        for capability in (dac_override, dac_read_search):
            if ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0):
                raise OSError("prctl")


def command() -> str:
    """The path of the ``esfeed`` command of this environment."""
    return str(Path(sys.executable).with_name("esfeed"))


def encoded(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")
