"""What scripts/services and its pytest side answer without starting any server: wrong words, a bare machine."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import scripts
from tests.support import services as support

NAMES = "rabbitmq redis nats mosquitto postgresql kafka"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> ModuleType:
    """The script's own module on what the machine has, at work in ``folder``."""
    monkeypatch.syspath_prepend(str(support.SCRIPT.parent))
    module = importlib.import_module("_services_machine")
    monkeypatch.setattr(module, "ROOT", folder)
    return module


@pytest.fixture
def server(machine: ModuleType) -> ModuleType:
    """The script's own module on processes."""
    return importlib.import_module("_services_server")


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return scripts.run(support.SCRIPT, *arguments, ESFEED_SERVICES_DIR=str(folder))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: command"),
        (["up"], f"up needs a name: all, or some of {NAMES}"),
        (["up", "mysql"], f"no service mysql: choose from {NAMES}"),
        (["down", "redis", "x"], f"no service x: choose from {NAMES}"),
        (["up", "redis", "--set", "novalue"], "'novalue' is not KEY=VALUE"),
        (["up", "redis", "--instance", "../x"], "'../x' may hold only a-z, 0-9 and -"),
        (["up", "redis", "nats", "--set", "a=b"], "--set is in one server's own words: name one service"),
        (["status", "--keep"], "unrecognized arguments: --keep"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(arguments: list[str], words: str, folder: Path) -> None:
    """A mistyped call starts nothing, leaves nothing, and names the choices."""
    result = run(*arguments, folder=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert list(folder.iterdir()) == []


def test_status_without_servers_lists_all_as_down(folder: Path) -> None:
    """The table has a row a service, so a reader sees what there could be."""
    result = run("status", folder=folder)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert rows[0] == ["name", "instance", "version", "state", "pid", "url"]
    assert [row[0] for row in rows[1:]] == NAMES.split()
    assert {row[3] for row in rows[1:]} == {"down"}


def test_a_foreign_process_is_never_taken_for_a_server(folder: Path) -> None:
    """A recorded pid that now is another program's counts as ended, and ``down`` leaves that program alone."""
    instance = folder / "run" / "redis-old"
    instance.mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        processes = [[bystander.pid, "another-boot/1"]]
        record = {"name": "redis", "pid": bystander.pid, "processes": processes, "port": 1, "settings": {}}
        (instance / "record.json").write_text(json.dumps(record))
        statuses = json.loads(run("status", "redis", "--json", folder=folder).stdout)
        assert [each["state"] for each in statuses] == ["down", "ended"]
        assert run("down", "redis", "--instance", "old", folder=folder).returncode == 0
        assert not instance.exists()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_down_of_what_is_not_up_is_no_error(folder: Path) -> None:
    """``down`` may be called twice, or by a clean-up that does not know what ran; it leaves no locks behind."""
    result = run("down", folder=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list((folder / "run").iterdir()) == []


def test_folder_with_a_space_is_refused(folder: Path) -> None:
    """Some servers' settings and start scripts split such a path."""
    result = run("status", folder=folder / "a b")
    assert result.returncode == 1
    assert result.stderr.startswith("services: not every server starts from")
    assert "ESFEED_SERVICES_DIR" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands servers to another user")
def test_folder_that_nobody_can_enter_is_refused(folder: Path) -> None:
    """Root hears at once, not from a server's log, that the folder will not do."""
    folder.chmod(0o700)
    result = run("status", folder=folder / "services")
    assert result.returncode == 1
    assert result.stderr == (
        f"services: user nobody cannot enter {folder}/services; set ESFEED_SERVICES_DIR to a folder under /var/tmp\n"
    )


@pytest.mark.parametrize(
    ("service", "program", "package"),
    [
        ("rabbitmq", "rabbitmq-server", "rabbitmq-server"),
        ("redis", "redis-server", "redis-server"),
        ("nats", "nats-server", "nats-server"),
        ("mosquitto", "mosquitto", "mosquitto"),
        ("postgresql", "postgres", "postgresql-15"),
    ],
)
def test_missing_program_names_the_command_that_installs_it(
    service: str, program: str, package: str, machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be installed, the reader is told what to run."""
    monkeypatch.setattr(machine, "find_program", lambda name, *folders: None)
    monkeypatch.setattr(machine, "apt_install", lambda *choices: False)
    module = importlib.import_module(f"_services_{service}")
    kind = next(
        each for each in vars(module).values() if isinstance(each, type) and getattr(each, "name", "") == service
    )
    with pytest.raises(machine.ServiceError) as caught:
        kind().need()
    assert str(caught.value).startswith(f"{service} needs {program}: as root, run: apt-get install {package}")


def test_nothing_starts_while_packages_are_installed(
    machine: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian asks policy-rc.d; ours says no and goes away again, also after a failure. Another's is left as it is."""
    monkeypatch.setattr(machine, "POLICY", folder / "policy-rc.d")
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    asked: list[int] = []

    def install() -> None:
        with machine.nothing_started():
            asked.append(subprocess.run([str(folder / "policy-rc.d"), "redis-server", "start"], check=False).returncode)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        install()
    assert asked == [101]  # "action not allowed"
    assert not (folder / "policy-rc.d").exists()
    (folder / "policy-rc.d").write_text("the machine's own")
    with machine.nothing_started():
        pass
    assert (folder / "policy-rc.d").read_text() == "the machine's own"


def test_lock_that_was_taken_away_is_not_held_twice(machine: ModuleType, folder: Path) -> None:
    """``down`` takes the lock's file away; whoever waited for it takes a new one, as everybody does afterwards."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from _services_machine import locked, ROOT\n"
        "with locked('x'): print((ROOT / 'x.lock').exists(), flush=True)\n"
    )
    with machine.locked("x"):
        command = [sys.executable, "-c", code, str(support.SCRIPT.parent)]
        environment = {**os.environ, "ESFEED_SERVICES_DIR": str(folder)}
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        (folder / "x.lock").unlink()
    assert waiting.communicate(timeout=10)[0] == b"True\n"


def test_birth_tells_processes_apart(server: ModuleType) -> None:
    """A process keeps its birth; one that ended, waited for or not, has none."""
    process = subprocess.Popen(["sleep", "60"])
    born = server.birth(process.pid)
    assert born == server.birth(process.pid) != server.birth(os.getpid())
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert server.birth(process.pid) == ""
    process.wait()
    assert server.birth(process.pid) == ""


def test_pytest_side_knows_the_same_services(folder: Path) -> None:
    """The helper's list and the script's are written twice, since the script stands alone."""
    assert tuple(each["name"] for each in json.loads(run("status", "--json", folder=folder).stdout)) == support.NAMES


@pytest.mark.parametrize(
    ("value", "names"),
    [("", support.NAMES), ("none", ()), ("redis", ("redis",)), (" kafka, nats,nats ", ("kafka", "nats"))],
)
def test_selected_reads_the_variable(value: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is kept, repeats and spaces are not."""
    monkeypatch.setenv(support.VARIABLE, value)
    assert support.selected() == names


def test_selected_refuses_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo must not pass as a run over fewer services."""
    monkeypatch.setenv(support.VARIABLE, "redis,mysql")
    with pytest.raises(ValueError, match=r"ESFEED_TEST_SERVICES: no service mysql; choose from rabbitmq, .*, or none"):
        support.selected()


def test_stop_of_nothing_calls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``down`` without a name would end all."""
    monkeypatch.setattr(subprocess, "run", None)
    support.stop([])


def test_start_passes_on_what_the_script_says() -> None:
    """A failing start shows the script's own words in the test report."""
    with pytest.raises(scripts.ScriptFailure, match="'sp ace' may hold only"):
        support.start("redis", instance="sp ace")


@pytest.mark.parametrize("others", [False, True])
def test_last_user_ends_what_tests_began(others: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared server stays as long as another test process uses it, or if it was up before the tests."""
    stopped: list[str] = []
    record = {"folder": str(folder), "started": True, **dict.fromkeys(support.Service.__dataclass_fields__, "")}
    record |= {"name": "redis", "folder": str(folder)}
    monkeypatch.setenv("ESFEED_SERVICES_DIR", str(folder))
    monkeypatch.setattr(support, "_held", {})
    monkeypatch.setattr(support, "_call", lambda *arguments: json.dumps([record]))
    monkeypatch.setattr(support, "stop", stopped.extend)
    support.service("redis")
    with (folder / "redis.users").open() as other:
        if others:
            fcntl.flock(other, fcntl.LOCK_SH)
        support.release()
    assert stopped == ([] if others else ["redis"])
    assert support._held == {}


def test_sweep_ends_what_killed_runs_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of a process that is no more is ended; one of a living process, and a named one, are left alone."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"nats-qa-gw0-{gone.pid}-1", f"nats-qa-gw0-{os.getpid()}-2", "redis-main", "redis-mine"):
        (folder / "run" / name).mkdir(parents=True)
    monkeypatch.setenv("ESFEED_SERVICES_DIR", str(folder))
    support.sweep()
    left = {each.name for each in (folder / "run").glob("*/")}
    assert left == {f"nats-qa-gw0-{os.getpid()}-2", "redis-main", "redis-mine"}
