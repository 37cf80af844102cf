"""Where and when something was measured, and the files that results are kept in."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.engines import Engine, start, stop

INSTANCE = "bench"
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks"
CACHE = Path(os.environ.get("ESFEED_BENCH_DIR", Path.home() / ".cache" / "esfeed" / "bench"))


def circumstances(engine: Engine | None) -> dict[str, Any]:
    """The machine, the day, the versions and the command, for a result's file."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": {
            "cpu": cpu[1] if cpu else platform.machine(),
            "cores": os.cpu_count(),
            "memory_gb": round(memory / (1 << 30)),
            "kernel": platform.release(),
        },
        "engine": None if engine is None else f"{engine.distribution} {engine.version}",
        "engine_java": os.environ.get("ESFEED_ENGINE_JAVA_OPTS", "as scripts/engines starts it"),
        "python": platform.python_version(),
        "commit": commit(),
        "command": shlex.join([f"scripts/bench/{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "load_at_begin": round(os.getloadavg()[0], 2),
    }


@contextmanager
def engine_for(name: str, instance: str, settings: Mapping[str, str] | None = None) -> Iterator[Engine]:
    """The engine, up, with those settings.

    One of the instance "bench" is this run's alone: it may compile all the way, and is ended.
    """
    own = instance == INSTANCE
    if own:
        os.environ.setdefault("ESFEED_ENGINE_JAVA_OPTS", "")
        os.environ.setdefault("ESFEED_ENGINE_HEAP", "1g")
    (engine,) = start([name], instance=instance, settings=settings)
    try:
        yield engine
    finally:
        if own:
            stop([name], instance)


def commit() -> str:
    """Of esfeed, with a mark where the sources are not what it says."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    return told.stdout.strip() or "unknown"


def keep(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Writes a result to its file, in place of the one before; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path
