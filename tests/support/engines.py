"""Real search engines for tests: which ones to run against, and how to start and stop them (see scripts/engines)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from tests.support.scripts import SCRIPTS, call, chosen

SCRIPT = SCRIPTS / "engines"
NAMES = ("es2", "es5", "es6", "es7", "es8", "es9", "os2", "os3")
FAMILIES = ("es2", "es6", "es9", "os3")
"""One engine of each way in which a feed works: types and no sequence numbers, both, and the newest of either kind.

For what a feed makes of a cluster's answers. What each engine answers is tested on all of them in ``tests/cluster``,
and that a feed is exact in ``tests/engines/test_oracle.py``.
"""
SECURABLE = ("es7", "es8", "es9", "os2")
VARIABLE = "ESFEED_TEST_ENGINES"


@dataclass(frozen=True)
class Engine:
    """A running engine. `pid` is its JVM; the last five are set only when it was started with security."""

    name: str
    url: str
    distribution: Literal["elasticsearch", "opensearch"]
    version: str
    pid: int
    ca_certs: str | None = None
    username: str | None = None
    password: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def selected() -> tuple[str, ...]:
    """The engines that ESFEED_TEST_ENGINES names; see ``scripts.chosen``."""
    return chosen(VARIABLE, "engine", NAMES)


def start(
    names: Iterable[str],
    *,
    instance: str = "main",
    security: bool = False,
    settings: Mapping[str, str] | None = None,
    keep: bool = False,
) -> list[Engine]:
    """Starts the engines that are not up yet; `keep` begins with the data and port of one killed or stopped with it."""
    options = [f"--set={key}={value}" for key, value in (settings or {}).items()]
    options += ["--security"] * security + ["--keep"] * keep
    wanted = list(names)
    if not wanted:
        return []
    records = json.loads(_call("up", *wanted, "--json", f"--instance={instance}", *options))
    known = {field.name for field in fields(Engine)}
    return [Engine(**{key: value for key, value in record.items() if key in known}) for record in records]


def stop(names: Iterable[str], instance: str = "main", *, keep: bool = False) -> None:
    """Ends the engines and, unless `keep`, removes their data."""
    wanted = list(names)
    if wanted:  # without a name the script would end all eight
        _call("down", *wanted, f"--instance={instance}", *["--keep"] * keep)


@contextlib.contextmanager
def shared(name: str, instance: str, *, security: bool = False) -> Iterator[Engine]:
    """An engine that all test processes of this user share; the last one that lets it go ends it."""
    with (Path(tempfile.gettempdir()) / f"esfeed-{os.geteuid()}-{name}-{instance}.users").open("wb") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield start([name], instance=instance, security=security)[0]
        fcntl.flock(users, fcntl.LOCK_UN)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stop([name], instance)


def _call(*arguments: str) -> str:
    return call(SCRIPT, *arguments)
