"""The benchmarks still run: small data, no figure of time is judged, only that what was read is what was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Raw
from tests.support.engines import Engine

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
DOCUMENTS = 2_000
WANTED = ("esfeed-backfill", "esfeed-snapshot", "esfeed-learn", "scan", "ids", "native-file", "native-2")
AGREED = "2b15b18d3c454a40"

pytestmark = pytest.mark.engines


@pytest.fixture
def engine(started: Callable[[str], Engine]) -> Engine:
    """One is enough: what differs between engines is tested elsewhere."""
    return started("es7")


def bench(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs one of the scripts; what it keeps goes to ``folder``."""
    command = [sys.executable, str(BENCH / script), *arguments, "--results", str(folder / "results")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, check=False)


def test_all_that_reads_reads_all(engine: Engine, tmp_path: Path) -> None:
    """Each contender's documents are those that were written, or it says that it cannot be had; plots are drawn."""
    done = bench("reads.py", "--documents", str(DOCUMENTS), "--repeat", "1", "--only", *WANTED, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "reads-es7.json").read_text())
    assert result["digest"] == AGREED, "the documents are others than before: old results cannot be compared with new"
    told: dict[str, Any] = {each["key"]: each for each in result["contenders"]}
    assert set(told) == set(WANTED)
    for key, each in told.items():
        assert each["faults"] == [], key
        if key.startswith("native") and each["missing"]:
            assert each["missing"] == "Go is not installed here"
            continue
        assert each["missing"] == ""
        assert len(each["runs"]) == 1
        assert each["median"]["peak_mb"] > 1
        assert each["median"]["cpu"] > 0
    for theme in ("light", "dark"):
        assert "helpers.scan" in (tmp_path / f"reads-es7-{theme}.svg").read_text()
    assert "helpers.scan" in (tmp_path / "results.inc").read_text()
    assert result["index"] not in Raw(engine).call("GET", "/_cluster/state/metadata")["metadata"]["indices"]


def test_a_copy_that_differs_is_told(tmp_path: Path) -> None:
    """The check itself finds a document that is missing, one that is there twice and one that was altered."""
    sys.path.insert(0, str(BENCH))
    try:
        from _data import Total, documents
    finally:
        sys.path.remove(str(BENCH))
    all_of_them = list(documents(10))

    def total(copy: list[tuple[str, bytes]]) -> Total:
        made = Total()
        for id, source in copy:
            made.add(id, source)
        return made

    wanted = total(all_of_them)
    id, source = all_of_them[0]
    spaced = json.dumps(dict(reversed(json.loads(source).items())), indent=1).encode()
    assert total([*all_of_them[5:], *all_of_them[1:5], (id, spaced)]).against(wanted) == ""
    assert total(all_of_them[1:]).against(wanted) == "1 missing"
    assert total([*all_of_them, all_of_them[3]]).against(wanted) == "1 repeated"
    altered = source.replace(b"458577451500000001", b"458577451500000000")
    assert altered != source
    assert total([*all_of_them[1:], (id, altered)]).against(wanted) == "1 altered"
    assert total([*all_of_them[2:], (id, altered)]).against(wanted) == "1 missing, 1 altered"


def test_polls_are_measured(engine: Engine, tmp_path: Path) -> None:
    """An idle poll is one request, deletes are told, and a re-sync of unchanged documents tells nothing."""
    arguments = ("following", "--documents", str(DOCUMENTS), "--deletes", "20", "--repeat", "1")
    done = bench("polls.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "following-es7.json").read_text())
    assert [(each["requests"], each["events"]) for each in result["idle"]] == [(1, 0), (1, 0)]
    assert [each["poll"]["events"] for each in result["deletes"]] == [{"deleted": k} for k in (1, 10, 20)]
    assert result["resync"]["poll"]["events"] == {}
    assert {scan["documents"] for scan in result["resync"]["scans"]} == {DOCUMENTS + 1}


def test_a_first_poll_is_taken_apart(engine: Engine, tmp_path: Path) -> None:
    """Every stage was met, and parts take no more than what they are parts of."""
    done = bench("polls.py", "profile", "--documents", str(DOCUMENTS), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "profile-es7.json").read_text())
    assert all(stage["wall"] > 0 for stage in result["stages"])
    assert sum(stage["cpu"] for stage in result["stages"] if not stage["depth"]) < 1.2 * result["cpu"]
    assert "the end of the transaction" in (tmp_path / "results.inc").read_text()


def test_the_state_is_measured(tmp_path: Path) -> None:
    """Without an engine: what a revision takes, and that what is asked is answered."""
    done = bench("polls.py", "state", "--revisions", "5000", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "state.json").read_text())
    assert [step["revisions"] for step in result["steps"]] == [5_000]
    assert 40 < result["steps"][0]["bytes"] < 400
    assert result["with_documents"]["with"] > result["with_documents"]["without"]
    assert "1,000 revisions by key" in (tmp_path / "state-light.svg").read_text()


def test_commits_are_compared(engine: Engine, tmp_path: Path) -> None:
    """A commit is run from a folder of its own, which is gone afterwards."""
    done = bench("commits.py", "HEAD", "--documents", "500", "--repeat", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads((tmp_path / "results" / "commits-es7.json").read_text())["commits"]
    assert told["re-sync"]["cpu"] > 0
    assert "Before and after" in (tmp_path / "results.inc").read_text()
    trees = subprocess.run(["git", "worktree", "list"], cwd=BENCH, capture_output=True, text=True, check=True)
    assert "/esfeed-" not in trees.stdout


def test_memory_is_measured(engine: Engine, tmp_path: Path) -> None:
    """A few seconds of it: the feed's sinks and its reader got events, and the plot is drawn."""
    arguments = ("--engine", "es7", "--instance", "main", "--minutes", "0.1", "--every", "1", "--rate", "50")
    done = bench("memory.py", *arguments, "--most", "9", "--csv", str(tmp_path / "looks.csv"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "memory-es7.json").read_text())
    assert min(result[name] for name in ("written", "webhook_requests", "read", "end_mb", "threads", "files")) > 0
    assert (tmp_path / "looks.csv").read_text().startswith("seconds,written,requests,read,rss,pss,anonymous")
    assert "minutes" in (tmp_path / "memory-es7-dark.svg").read_text()
    assert "Memory over time" in (tmp_path / "results.inc").read_text()
