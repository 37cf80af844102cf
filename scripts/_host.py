"""What all scripts that run servers need of the machine: a folder to work in, another user, Debian's packages."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class EngineError(Exception):
    """Something that the caller can correct; its text says how."""


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # in one piece, since several threads speak


def as_engine_user() -> dict[str, Any]:
    """Arguments for subprocess that make the child run unprivileged."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give_to_engine_user(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def make_root(root: Path, variable: str, *folders: str) -> None:
    """Makes ``folders`` in ``root``, which ``variable`` of the environment names. Raises ``EngineError``."""
    if not Path("/proc/self/stat").exists():
        raise EngineError("servers can be started on Linux only: processes are told apart by /proc")
    if " " in str(root):
        raise EngineError(f"not every server starts from '{root}' (a space); set {variable} to another folder")
    os.umask(0o022)  # the user who runs the servers must be able to read what is laid here
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    if root.stat().st_uid != os.geteuid():
        raise EngineError(f"{root} belongs to another user; set {variable} to a folder of your own")


def see_that_nobody_can_enter(root: Path, variable: str) -> None:
    """Raises ``EngineError`` if the user who is to run the servers cannot enter ``root``."""
    entered = subprocess.run(["test", "-x", str(root / "run")], cwd="/", check=False, **as_engine_user())
    if entered.returncode:
        raise EngineError(f"user nobody cannot enter {root}; set {variable} to a folder under /var/tmp")


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock ``path``, so that neither threads nor other calls of a script do the same work at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue  # whoever held it before took the file away
            yield
            return


def apt_install(*choices: str) -> bool:
    """As root on Debian, installs the first of `choices` that there is; False where none is."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-qq"], env=environment, stdout=sys.stderr, check=False)
    for package in choices:
        known = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False)
        if not re.search(r"Candidate: \d", known.stdout):
            continue
        say(f"installing {package} by apt-get")
        command = ["apt-get", "install", "-y", "-qq", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends", package]
        if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode == 0:
            return True
    return False
