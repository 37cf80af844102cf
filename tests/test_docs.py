"""The documentation builds without a warning, and what it shows is so: settings load, commands and programs run."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from esfeed.config.load import parse
from esfeed.demo.lookalike import lookalike
from tests.support.pages import ROOT, Block, Reader, blocks, pages

ALL = [block for page in pages() for block in blocks(page)]
SETTINGS = [b for b in ALL if b.language == "toml" and b.not_run is None and b.file in (None, "esfeed.toml")]
RUN = ("console", "python", "javascript")
DOCUMENTS = {
    "servers": [{"name": "web-1", "status": "BUILD"}, {"name": "web-2", "status": "ACTIVE"}],
    "searchlight-search": [{"name": "debian-12", "status": "active", "project_id": "p1"}],
}
TOOLS = ("curl", "node", "sqlite3")
SOME = """
[clusters.main]
hosts = ["http://127.0.0.1:9200"]
[watches.servers]
index = "servers"
[sinks.audit]
type = "file"
path = "events.jsonl"
"""
TABLES = {
    "clusters": {"hosts": ["http://127.0.0.1:9200"]},
    "watches": {"index": "servers"},
    "sinks": {"type": "stdout"},
}


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the menu, and every reference leads somewhere."""
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-E", "-d", str(tmp_path / "cache")]
    done = subprocess.run(
        [*command, "docs", str(tmp_path / "html")], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "html" / "reference" / "settings.html").read_text()
    assert "sinks.webhook.timeout" in told
    assert re.search(r"clusters\.NAME\.retries.*?from 1 to 100", told, re.DOTALL)
    assert "docs/" not in re.sub(r"<[^>]+>", "", told)
    for page, of in (("index", "Follow an index"), ("contributing", "Write a sink")):
        included = (tmp_path / "html" / f"{page}.html").read_text()
        assert of in included
        assert not re.search(r'href="[^"]*\.rst"', included), "a link of the repository leads to no page"


def _named(block: Block) -> dict[str, str]:
    """A value for each variable that the settings name: one that fits whatever is asked of it."""
    return dict.fromkeys(re.findall(r"env:(\w+)", block.text), "whsec_" + "MDEy" * 12)


@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_settings_that_are_shown_load(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As they stand; where only some sections are shown, the others are added."""
    monkeypatch.chdir(tmp_path)
    for name, value in _named(block).items():
        monkeypatch.setenv(name, value if "ENGINE" not in name else "http://127.0.0.1:9200")
    shown = tomllib.loads(block.text)
    text = block.text
    for name in re.findall(r'= "(/[\w./-]+\.(?:pem|crt|key))"', text) + re.findall(r'"([\w.-]+\.pem)"', text):
        (tmp_path / Path(name).name).touch()
        text = text.replace(f'"{name}"', f'"{Path(name).name}"')
    routes = shown.get("routes", [])
    profile = {"profile": "searchlight"} if any("tenant" in route for route in routes) else {}
    used = {
        "clusters": {watch.get("cluster", "main") for watch in shown.get("watches", {}).values()} or {"main"},
        "watches": {name for route in routes for name in route.get("watches", ())} or {"servers"},
        "sinks": {name for route in routes for name in route["sinks"]} or {"screen"},
    }
    # A route for tenants needs watches that know whose documents are.
    kinds: dict[str, Any] = {**TABLES, "watches": {**TABLES["watches"], **profile}}
    for table, names in used.items():
        for name in names if table not in shown else names & set():
            text += f"\n[{table}.{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in kinds[table].items())
    config = parse(text, tmp_path / "esfeed.toml")
    assert set(shown.get("sinks", config.sinks)) == set(config.sinks)
    config.router()


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "toml" and b not in SETTINGS], ids=str)
def test_other_toml_can_be_read(block: Block) -> None:
    """What is not esfeed's settings is TOML all the same."""
    assert tomllib.loads(block.text)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """An engine in memory with the indices that pages speak of."""
    with lookalike() as url:
        for index, documents in DOCUMENTS.items():
            for number, document in enumerate(documents):
                _put(f"{url}/{index}/_doc/{number}", {**document, "updated_at": "2026-11-24T10:00:00Z"})
        yield url


def _put(url: str, body: Any) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"}, method="PUT")
    with urllib.request.urlopen(request):
        pass


@pytest.mark.parametrize("page", [page for page in pages() if any(b.language in RUN for b in blocks(page))])
def test_what_a_page_shows_is_so(page: str, engine: str, tmp_path: Path) -> None:
    """A reader who types all of it, from the top, meets what the page says; one with settings, where it shows none."""
    commands = " ".join(block.text for block in blocks(page) if block.language == "console" and block.not_run is None)
    if missing := [tool for tool in TOOLS if f"$ {tool} " in commands and shutil.which(tool) is None]:
        pytest.skip(f"{page} needs {', '.join(missing)}; scripts/test installs what Debian has")
    (tmp_path / "esfeed.toml").write_text(SOME.replace("http://127.0.0.1:9200", engine))
    reader = Reader(tmp_path, engine)
    try:
        for block in blocks(page):
            reader.follow(block)
    finally:
        reader.leave()


def test_what_is_not_run_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """The few blocks that no test can run are told with their reasons, and stay few."""
    left_out = [block for block in ALL if block.not_run is not None]
    with capsys.disabled():
        for block in left_out:
            print(f"\n{block} is not run: {block.not_run}", end="")
    assert all(len(block.not_run or "") > 20 for block in left_out)
    assert len(left_out) <= 0.25 * len([block for block in ALL if block.language in (*RUN, "toml")])


def test_commands_are_in_blocks_that_are_run() -> None:
    """A ``$`` in a literal block would be a command that nobody tries."""
    for page in pages():
        shown = {line for block in blocks(page) for line in block.text.splitlines()}
        typed = [line.strip() for line in (ROOT / page).read_text().splitlines() if re.match(r"\s+\$ ", line)]
        assert [line for line in typed if line not in shown] == [], page


def test_the_demo_script_runs_the_demo() -> None:
    """README's first command is tried as `esfeed demo`, since the script itself would install into the source tree."""
    assert (ROOT / "scripts" / "demo").read_text().rstrip().endswith('exec "${python%/*}/esfeed" demo "$@"')
    assert os.access(ROOT / "scripts" / "demo", os.X_OK)


def test_readme_leads_to_pages_and_names_every_sink() -> None:
    """Its links to files lead somewhere, and its table has each type of sink that is declared."""
    text = (ROOT / "README.rst").read_text()
    links = re.findall(r"<(docs/[^>]+)>", text)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).is_file()] == []
    told = ", ".join(re.findall(r"^`([\w, ]+)\s<docs/", text, re.MULTILINE)).split(", ")
    declared = {p.name for p in entry_points(group="esfeed.sinks") if p.dist is not None and p.dist.name == "esfeed"}
    assert declared <= set(told)


# --- reference


def _logged() -> dict[str, str]:
    """Every event that the code logs, with its level: the constant first argument, also of calls that pass it on."""
    found = {}
    for path in (ROOT / "esfeed").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            name, first, of = node.func.attr, node.args[0], ast.unparse(node.func.value)
            level = "error" if path.name == "daemon.py" and ast.unparse(node.func) == "self._failed" else name
            if level not in ("debug", "info", "warning", "error", "exception", "critical"):
                continue
            if of not in ("log", "_log", "self", "self._log"):
                continue
            if isinstance(first, ast.Constant) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", str(first.value)):
                found[str(first.value)] = level
            else:
                assert path.name == "daemon.py", f"{path}:{node.lineno} logs an event whose name no test can see"
    return found


def test_log_events_are_all_told() -> None:
    """The page names each event that the code logs, at its level, and no other."""
    page = (ROOT / "docs" / "reference" / "log-events.rst").read_text()
    told = dict(re.findall(r"^``([a-z_.]+)`` \((\w+)\)$", page, re.MULTILINE))
    assert told == _logged()


def _form(value: Any, path: str = "") -> dict[str, str]:
    """Every path of an object with the kind of what is there; what a document holds is its own."""
    if isinstance(value, dict) and path not in ("data.before", "data.after"):
        return {
            key: kind
            for name, inner in value.items()
            for key, kind in _form(inner, f"{path}.{name}".strip(".")).items()
        }
    return {path: type(value).__name__}


def test_the_sample_event_is_like_a_real_one(engine: str, tmp_path: Path) -> None:
    """The same fields, of the same kinds, in the same order; and the page explains each."""
    sample = json.loads((ROOT / "docs" / "reference" / "event.json").read_text())
    settings = (
        f'[clusters.main]\nhosts = ["{engine}"]\n[watches.servers]\nindex = "sample"\n'
        '[sinks.audit]\ntype = "file"\npath = "events.jsonl"\n'
    )
    (tmp_path / "esfeed.toml").write_text(settings)
    for status in ("BUILD", "ACTIVE"):
        _put(f"{engine}/sample/_doc/1", {"name": "web-1", "status": status, "updated_at": "2026-11-24T10:00:00Z"})
        command = [sys.executable, "-m", "esfeed.cli.main", "poll"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr
    real = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert list(_form(sample).items()) == list(_form(real).items())
    for name in ("op", "type", "subject", "source", "specversion", "datacontenttype"):
        assert sample[name] == real[name] if name in sample else sample["data"][name] == real["data"][name]
    page = (ROOT / "docs" / "reference" / "events.rst").read_text()
    told = set(re.findall(r"^\s*(?:\* - )?``([\w.]+)``", page, re.MULTILINE))
    assert set(_form(sample)) <= told


def test_each_claim_of_the_threat_model_has_its_test() -> None:
    """Each claim of the page on security names tests, and those are there."""
    page = (ROOT / "docs" / "security.rst").read_text()
    named = re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", page)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
    promised = page.partition("What is not promised")[0]
    for claim in re.findall(r"^\* .*(?:\n  .*)*", promised, re.MULTILINE):
        assert "``tests/" in claim, claim


def test_the_main_path_is_there() -> None:
    """Each file on the page of the main path is there, is named in one step only, and has what the page says."""
    page = (ROOT / "docs" / "main-path.rst").read_text()
    steps = re.findall(r"^(\d+)\. ``(esfeed/[\w/]+\.py)`` ((?:.|\n(?!\d|\n))*)", page, re.MULTILINE)
    assert [int(number) for number, _, _ in steps] == [*range(1, len(steps) + 1)]
    assert len({file for _, file, _ in steps}) == len(steps) > 25
    for _, file, text in steps:
        source = (ROOT / file).read_text()
        functions = re.findall(
            r"``(?:[A-Z]\w+\.)?((?!status\b)_?[a-z]\w+)``", text.replace("``_seq_no``", "").replace("``_stats``", "")
        )
        for name in functions:
            assert f"def {name}(" in source, f"{file}: {name}"
        for owner in re.findall(r"``([A-Z]\w+)\.\w+``", text):
            assert f"class {owner}" in source, f"{file}: {owner}"
    for file in re.findall(r"``(esfeed/[\w/]+\.py)``", page):
        assert (ROOT / file).is_file(), file


def test_where_things_are() -> None:
    """Every room of the house is in the table for contributors, but for those that only others are made of."""
    page = (ROOT / "CONTRIBUTING.rst").read_text()
    rooms = {room.rstrip("/") for room in re.findall(r"``(esfeed/[\w/]+)``", page)}
    tests = set(re.findall(r"``(tests/\w+)``", page))
    assert all((ROOT / each).is_dir() for each in rooms | tests)
    there = {f"esfeed/{each.parent.name}" for each in (ROOT / "esfeed").glob("*/__init__.py")}
    assert there - rooms == {
        f"esfeed/{each}" for each in ("demo", "model", "native", "net", "observe", "ports", "testing")
    }
