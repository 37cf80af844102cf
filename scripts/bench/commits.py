#!/usr/bin/env python3
"""What changes for speed brought: commits of esfeed beside one another, in the same run, on the same documents.

    scripts/bench/commits --engine es7 --documents 200000 33ccc0c b4566b5 HEAD

Each commit is checked out into a folder of its own, and its command line run with this environment's packages: the
start of ``esfeed --version``, a backfill to a file, a first poll with everything kept, a poll with nothing new, a poll
that finds a re-sync, the same documents behind the alias in another index, and a small watch beside one that reads for
the first time. Commits take turns; seconds and processor seconds are of whole programs, medians. The number of lines in
each file is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import load
from _machine import DOCS, INSTANCE, ROOT, circumstances, engine_for, keep
from _measure import Failed, run
from _neighbour import delays

from tests.support.clients import Raw

STEPS = ("start", "backfill", "first poll", "idle poll", "re-sync", "neighbour")
_LIMIT = 1800.0
_COMMAND = [sys.executable, "-c", "from esfeed.cli.main import main; main()"]


class Tree:
    """A commit, checked out into ``folder``. ``subject`` is the first line of its message."""

    def __init__(self, name: str, folder: Path) -> None:
        self.commit = _git("rev-parse", "--short", name)
        self.subject = _git("log", "-1", "--format=%s", name)
        self.folder = folder
        _git("worktree", "add", "--detach", "--force", str(folder), name)
        here, there = ROOT / "esfeed" / "native", folder / "esfeed" / "native"
        self.native = there.is_dir() and any(here.glob("_native*.so"))
        if self.native and not _git("diff", name, "--", "esfeed/native/src"):
            for built in here.glob("_native*.so"):
                shutil.copy(built, there)
        elif self.native:
            subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=there, check=True)
            shutil.copy(there / "target" / "release" / "libesfeed_native.so", there / "_native.abi3.so")

    def close(self) -> None:
        """Removes the folder."""
        _git("worktree", "remove", "--force", str(self.folder))

    @property
    def environment(self) -> dict[str, str]:
        """What has Python take this commit's esfeed."""
        return {"PYTHONPATH": str(self.folder)}

    def esfeed(self, folder: Path, *arguments: str) -> dict[str, float]:
        """Runs the command of this commit in ``folder``."""
        cost = run([*_COMMAND, *arguments], folder, _LIMIT, self.environment)
        return {"seconds": cost.seconds, "cpu": cost.cpu, "peak_mb": cost.peak_mb}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and keeps the result."""
    asked = _parse(arguments)
    with engine_for(asked.engine, asked.instance) as engine, tempfile.TemporaryDirectory(prefix="esfeed-") as base:
        raw, name = Raw(engine), f"bench-commits-{os.getpid()}-{int(time.time())}"
        about = circumstances(engine)
        with _trees(asked.commits, Path(base)) as trees, _indices(raw, name, asked.documents) as move:
            rounds: dict[str, list[dict[str, Any]]] = {tree.commit: [] for tree in trees}
            for number in range(asked.repeat):
                for tree in trees:
                    folder = Path(base, f"{tree.commit}-{number}")
                    folder.mkdir()
                    rounds[tree.commit].append(_round(tree, folder, raw, name, asked.documents, move))
                    shutil.rmtree(folder)
                    print(tree.commit, json.dumps(rounds[tree.commit][-1]), file=sys.stderr, flush=True)
        told = [
            {"commit": tree.commit, "subject": tree.subject, "native": tree.native, **_medians(rounds[tree.commit])}
            for tree in trees
        ]
        result = {**about, "documents": asked.documents, "repeat": asked.repeat, "commits": told}
        print(f"kept in {keep(f'commits-{engine.name}', result, asked.results)}", file=sys.stderr)
    if not asked.no_docs:
        from _report import write

        write(asked.results, asked.results.parent)
    return 0


@contextmanager
def _trees(names: Sequence[str], base: Path) -> Iterator[list[Tree]]:
    trees: list[Tree] = []
    try:
        for name in names:
            trees.append(Tree(name, base / f"tree-{len(trees)}"))
        yield trees
    finally:
        for tree in trees:
            tree.close()


@contextmanager
def _indices(raw: Raw, name: str, count: int) -> Iterator[Callable[[str, str], None]]:
    """Two indices of the same documents, and an alias that ``move`` takes from one to the other."""

    def move(left: str, to: str) -> None:
        actions = [{"remove": {"index": f"{name}-{left}", "alias": name}}] if left else []
        actions.append({"add": {"index": f"{name}-{to}", "alias": name}})
        raw.call("POST", "/_aliases", {"actions": actions})

    try:
        for which in ("old", "new"):
            load(raw, f"{name}-{which}", count, fingerprints=False)
        move("", "old")
        yield move
    finally:
        for which in ("old", "new"):
            raw.drop(f"{name}-{which}")


def _round(
    tree: Tree, folder: Path, raw: Raw, index: str, count: int, move: Callable[[str, str], None]
) -> dict[str, dict[str, float]]:
    """All steps of one commit, on the index that the alias leads to at first."""
    found = {"start": tree.esfeed(folder, "--version")}
    settings = {name: _settings(folder, raw.engine.url, index, name) for name in ("backfill", "poll")}
    found["backfill"] = tree.esfeed(folder, "-c", str(settings["backfill"]), "backfill", "--since", "2000-01-01")
    _check(folder / "backfill.jsonl", count)
    feed = ("-c", str(settings["poll"]), "poll", "--timeout", f"{_LIMIT:g}")
    found["first poll"] = tree.esfeed(folder, *feed)
    _check(folder / "poll.jsonl", count)
    found["idle poll"] = tree.esfeed(folder, *feed)
    move("old", "new")
    try:
        found["re-sync"] = tree.esfeed(folder, *feed)
    finally:
        move("new", "old")
    _check(folder / "poll.jsonl", count)
    found["neighbour"] = delays(_COMMAND, tree.environment, raw, f"{index}-old", folder)
    return found


def _settings(folder: Path, url: str, index: str, name: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f'state = "sqlite:///{folder}/{name}.db"\n[clusters.main]\nhosts = ["{url}"]\n[watches.w]\nindex = "{index}"\n'
        f'[sinks.out]\ntype = "file"\npath = "{folder}/{name}.jsonl"\n'
    )
    return path


def _check(path: Path, count: int) -> None:
    with path.open("rb") as file:
        found = sum(1 for _ in file)
    if found != count:
        raise Failed(f"{path.name} has {found:,} lines, not {count:,}")


def _medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        step: {key: statistics.median(each[step][key] for each in rounds) for key in rounds[0][step]} for step in STEPS
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="+", help="as git names them, the oldest first")
    parser.add_argument("--engine", default="es7", help="a name that scripts/engines knows")
    parser.add_argument("--instance", default="main", help=f'"main", or "{INSTANCE}": an engine for this run alone')
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--results", type=Path, default=DOCS / "results", help="where results are kept")
    parser.add_argument("--no-docs", action="store_true", help="make no tables and plots of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
