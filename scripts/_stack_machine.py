"""What `scripts/stack` needs of the machine: a folder, Debian's servers, and a virtual environment for each service.

Searchlight and Zaqar pin what esfeed does not, so each has an environment of its own, and neither is esfeed's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from _engines_machine import EngineError, apt_install, say

HERE = Path(__file__).resolve().parent
FILES = HERE / "stack.d"
ENGINES = {"es2": "2.4.1", "es5": "5.5.3"}
"""The engines that Searchlight 9.0.0 runs on, and the client that it needs for each."""

_PYTHON_HINT = "install it (pyenv install 3.8), or name one by ESFEED_STACK_PYTHON38"


class StackError(EngineError):
    """An error that the caller can correct; its text says how."""


def default_root() -> Path:
    """Short, since a unix socket or an Erlang node dislikes long paths; apart for each user."""
    return Path(f"/var/tmp/esfeed-stack-{os.geteuid()}")


ROOT = Path(os.environ.get("ESFEED_STACK_DIR") or default_root()).absolute()


def prepare_root() -> None:
    if not Path("/proc/self/stat").exists():
        raise StackError("the stack can be started on Linux only: processes are told apart by /proc")
    for name in ("env", "run"):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    if ROOT.stat().st_uid != os.geteuid():
        raise StackError(f"{ROOT} belongs to another user; set ESFEED_STACK_DIR to a folder of your own")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds ROOT/NAME.lock, so that two calls of this script do not do the same work at once."""
    with (ROOT / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def need_program(name: str, package: str) -> str:
    """The path of a program, from Debian's package where it is not there yet."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/rabbitmq/bin"])
    with locked("install"):
        if not shutil.which(name, path=places):
            _install_quietly(package)
    found = shutil.which(name, path=places)
    if not found:
        raise StackError(f"{name} is needed: install Debian's {package} (apt-get install {package})")
    return found


def _install_quietly(package: str) -> None:
    # Debian starts a server as soon as it is installed; ours runs on its own port, so nothing is to start by itself.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = os.geteuid() == 0 and not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        apt_install(package)
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def searchlight(engine: str) -> Path:
    """Searchlight 9.0.0 for that engine: the bin folder of its environment. The first time takes a minute or two."""
    pins = [f"elasticsearch=={ENGINES[engine]}" if line.startswith("elasticsearch==") else line
            for line in _pins("searchlight.txt")]  # fmt: skip
    with locked(f"env-{engine}"):
        return _environment(f"searchlight-{engine}", _python38, pins, ("pip<24", "setuptools<58", "wheel"))


def zaqar() -> Path:
    """Zaqar 23.0.1: the bin folder of its environment."""
    with locked("env-zaqar"):
        return _environment("zaqar", lambda: sys.executable, _pins("zaqar.txt"), ())


def install_all() -> None:
    """All that any stack needs, so that no start has to wait for it."""
    need_program("rabbitmq-server", "rabbitmq-server")
    need_program("redis-server", "redis-server")
    zaqar()
    for engine in ENGINES:
        searchlight(engine)


def _pins(name: str) -> list[str]:
    return [line for line in (FILES / name).read_text().split("\n") if line and not line.startswith("#")]


def _environment(name, python, pins, first) -> Path:  # type: ignore[no-untyped-def]  # see the two callers
    folder, stamp = ROOT / "env" / name, hashlib.sha256("\n".join([*pins, *first]).encode()).hexdigest()
    if (folder / ".installed").is_file() and (folder / ".installed").read_text() == stamp:
        return folder / "bin"
    say(f"stack: installing {name} ({len(pins)} packages)")
    shutil.rmtree(folder, ignore_errors=True)
    _run([python(), "-m", "venv", str(folder)])
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if first:
        _run([*pip, *first])
    # Every package is pinned, and Searchlight's own pins contradict one another: pip is not to have a view of it.
    _run([*pip, "--no-deps", *pins])
    (folder / ".installed").write_text(stamp)
    return folder / "bin"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"{' '.join(command[:6])} … failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")


def _python38() -> str:
    """Searchlight 9.0.0 was written for Python 3.8; later ones lack what its pins use."""
    places = [os.environ.get("ESFEED_STACK_PYTHON38"), shutil.which("python3.8")]
    roots = [
        Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions",
        Path("/opt"),
        Path("/usr/local"),
    ]
    places += [str(path) for root in roots for path in sorted(root.glob("*/bin/python3.8"), reverse=True)]
    for place in filter(None, places):
        script = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 8))"
        with contextlib.suppress(OSError):
            # A shim of pyenv's is there even where its Python is not, so it is asked, not believed.
            if subprocess.run([place, "-c", script], capture_output=True, check=False).returncode == 0:
                return place
    raise StackError(f"Searchlight 9.0.0 needs Python 3.8, and none was found: {_PYTHON_HINT}")
