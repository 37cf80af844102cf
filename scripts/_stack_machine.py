"""What `scripts/stack` needs of the machine: a folder, Debian's servers, and a virtual environment for each service.

Searchlight and Zaqar pin what esfeed does not, so each has an environment of its own, and neither is esfeed's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import _services_machine
from _host import EngineError, held, make_root, say

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


VARIABLE = "ESFEED_STACK_DIR"
ROOT = Path(os.environ.get(VARIABLE) or default_root()).absolute()


def prepare_root() -> None:
    make_root(ROOT, VARIABLE, "env", "run")


def locked(name: str) -> AbstractContextManager[None]:
    """Holds ROOT/NAME.lock."""
    return held(ROOT / f"{name}.lock")


def need_program(name: str, package: str) -> str:
    """The path of a program, from Debian's package where it is not there yet."""
    return str(_services_machine.need_program("the stack", name, (package,)))


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


def _environment(name: str, python: Callable[[], str], pins: Sequence[str], first: Sequence[str]) -> Path:
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
