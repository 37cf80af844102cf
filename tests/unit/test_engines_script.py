"""What scripts/engines and its pytest side answer without starting any engine: wrong words, a bare machine."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import engines, scripts

NAMES = "es2 es5 es6 es7 es8 es9 os2 os3"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script's own module on what the machine has."""
    monkeypatch.syspath_prepend(str(engines.SCRIPT.parent))
    return importlib.import_module("_engines_machine")


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return scripts.run(engines.SCRIPT, *arguments, ESFEED_ENGINES_DIR=str(folder))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: command"),
        (["up"], f"up needs a name: all, or some of {NAMES}"),
        (["up", "es4"], f"no engine es4: choose from {NAMES}"),
        (["down", "es8", "x"], f"no engine x: choose from {NAMES}"),
        (["up", "es8", "--set", "novalue"], "'novalue' is not KEY=VALUE"),
        (["up", "es8", "--instance", "../x"], "'../x' may hold only a-z, 0-9 and -"),
        (["up", "es8", "os3", "--security"], "--security is for es7 es8 es9 os2, not os3"),
        (["up", "all", "--security"], "--security is for es7 es8 es9 os2, not es2, es5, es6, os3"),
        (["status", "--keep"], "unrecognized arguments: --keep"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(arguments: list[str], words: str, folder: Path) -> None:
    """A mistyped call starts nothing, leaves nothing, and names the choices."""
    result = run(*arguments, folder=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert list(folder.iterdir()) == []


def test_status_without_engines_lists_all_eight_as_down(folder: Path) -> None:
    """The table has a row an engine, so a reader sees what there could be."""
    result = run("status", folder=folder)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert rows[0] == ["name", "instance", "version", "state", "pid", "url"]
    assert [row[0] for row in rows[1:]] == NAMES.split()
    assert {row[3] for row in rows[1:]} == {"down"}


def test_status_as_json_of_one(folder: Path) -> None:
    """`--json` gives the same as records."""
    (record,) = json.loads(run("status", "es8", "--json", folder=folder).stdout)
    assert record == {"name": "es8", "instance": "main", "version": "8.15.0", "state": "down"}


def test_status_never_takes_a_foreign_process_for_an_engine(folder: Path) -> None:
    """A recorded pid that now is another program's counts as ended, and `down` leaves that program alone."""
    instance = folder / "run" / "es8-old"
    instance.mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        record = {"name": "es8", "pid": bystander.pid, "url": "http://127.0.0.1:1", "security": False, "settings": {}}
        (instance / "record.json").write_text(json.dumps(record))
        statuses = json.loads(run("status", "es8", "--json", folder=folder).stdout)
        assert [each["state"] for each in statuses] == ["down", "ended"]
        assert run("down", "es8", "--instance", "old", folder=folder).returncode == 0
        assert not instance.exists()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_down_of_what_is_not_up_is_no_error(folder: Path) -> None:
    """`down` may be called twice, or by a clean-up that does not know what ran."""
    result = run("down", folder=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_folder_with_a_space_is_refused(folder: Path) -> None:
    """The engines' own start scripts split such a path."""
    result = run("status", folder=folder / "a b")
    assert result.returncode == 1
    assert result.stderr.startswith("engines: not every server starts from")
    assert "ESFEED_ENGINES_DIR" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands engines to another user")
def test_folder_that_nobody_can_enter_is_refused(folder: Path) -> None:
    """Root hears at once, not from an engine's log, that the folder will not do."""
    folder.chmod(0o700)
    result = run("status", folder=folder / "engines")
    assert result.returncode == 1
    assert result.stderr == (
        f"engines: user nobody cannot enter {folder}/engines; set ESFEED_ENGINES_DIR to a folder under /var/tmp\n"
    )


@pytest.fixture
def bare_machine(machine: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The same on a machine without Maven and Java, where nothing can be installed."""
    monkeypatch.setattr(machine, "ROOT", folder)
    monkeypatch.setattr(machine, "find_java", lambda wanted, program="java": None)
    monkeypatch.setattr(machine, "apt_install", lambda *choices: False)
    monkeypatch.setattr(machine, "pip_java", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    return machine


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("es2", "es2 needs java 17 to 23: install openjdk-17-jdk-headless or openjdk-21-jdk-headless (Debian)"),
        ("es9", "es9 needs java 21 or newer: install openjdk-21-jdk-headless or openjdk-25-jdk-headless (Debian)"),
    ],
)
def test_missing_java_names_the_engine_and_the_package(name: str, words: str, bare_machine: ModuleType) -> None:
    """Where nothing can be installed, the reader is told what to install."""
    with pytest.raises(bare_machine.EngineError) as caught:
        bare_machine.need_java(bare_machine.BUILDS[name])
    assert str(caught.value).startswith(words)


def test_missing_tool_names_its_package(bare_machine: ModuleType) -> None:
    """mvn is in the package maven, which its name alone does not tell."""
    with pytest.raises(bare_machine.EngineError, match=r"^mvn is missing: install the Debian package maven$"):
        bare_machine.need_tool("mvn", "maven")


def test_pytest_side_knows_the_same_engines(machine: ModuleType) -> None:
    """The helper's list and the script's are written twice, since the script stands alone."""
    assert tuple(machine.BUILDS) == engines.NAMES
    assert tuple(name for name, build in machine.BUILDS.items() if build.securable) == engines.SECURABLE


@pytest.mark.parametrize(
    ("value", "names"),
    [("", engines.NAMES), ("none", ()), ("es8", ("es8",)), (" os3, es2,es2 ", ("os3", "es2"))],
)
def test_selected_reads_the_variable(value: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is kept, repeats and spaces are not."""
    monkeypatch.setenv(engines.VARIABLE, value)
    assert engines.selected() == names


def test_selected_refuses_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo must not pass as a run over fewer engines."""
    monkeypatch.setenv(engines.VARIABLE, "es8,es10")
    with pytest.raises(ValueError, match=r"ESFEED_TEST_ENGINES: no engine es10; choose from es2, .*, os3, or none"):
        engines.selected()


def test_start_and_stop_of_nothing_call_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` without a name would end all eight."""
    monkeypatch.setattr(subprocess, "run", None)
    assert engines.start([]) == []
    engines.stop([])


def test_start_passes_on_what_the_script_says() -> None:
    """A failing start shows the script's own words in the test report."""
    with pytest.raises(scripts.ScriptFailure, match="'sp ace' may hold only"):
        engines.start(["es8"], instance="sp ace")
