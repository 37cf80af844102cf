"""What `scripts/services` needs of the machine: a folder of its own, and servers that Debian packages bring."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from _engines_security import make_certificates
from _host import EngineError, apt_install, held, make_root, say, see_that_nobody_can_enter

VARIABLE = "ESFEED_SERVICES_DIR"
ROOT = Path(os.environ.get(VARIABLE) or f"/var/tmp/esfeed-services-{os.geteuid()}").absolute()
POLICY = Path("/usr/sbin/policy-rc.d")
_PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")  # sbin is in few users' PATH


class ServiceError(EngineError):
    """An error that the caller can correct; its text says how."""


def prepare_root() -> None:
    make_root(ROOT, VARIABLE, "run")
    see_that_nobody_can_enter(ROOT, VARIABLE)


def locked(name: str) -> AbstractContextManager[None]:
    """Holds ROOT/NAME.lock."""
    return held(ROOT / f"{name}.lock")


def certificates(target: Path) -> None:
    """A throwaway authority, a node's and a client's certificate, in a new folder; made once, then copied.

    Two services of one machine trust the same authority, then; that of another call is no stranger's.
    """
    need_program("every service", "openssl", ("openssl",))
    source = ROOT / "certs"
    with locked("certs"):
        if source.exists() and time.time() - source.stat().st_mtime > 10 * 86400:  # they are good for 30 days
            shutil.rmtree(source)
        if not source.exists():
            fresh = ROOT / "certs.new"
            shutil.rmtree(fresh, ignore_errors=True)
            make_certificates(fresh)
            for key in fresh.glob("*.key"):
                key.chmod(0o600)
            fresh.rename(source)
    shutil.copytree(source, target)


def find_program(name: str, *folders: str) -> Path | None:
    """A program in one of the glob patterns ``folders``, the newest first, else where programs are."""
    for pattern in folders:
        found = sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"), reverse=True)
        if found:
            return found[0]
    where = os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES))
    path = shutil.which(name, path=where)
    return Path(path) if path else None


def need_program(service: str, name: str, packages: tuple[str, ...], *folders: str) -> Path:
    """The program, installed first where it is missing and that can be done."""
    with locked("install"):
        if found := find_program(name, *folders):
            return found
        with nothing_started():
            installed = apt_install(*packages)
        if installed and (found := find_program(name, *folders)):
            return found
    choices = " or ".join(packages)
    raise ServiceError(f"{service} needs {name}: as root, run: apt-get install {packages[0]} (Debian's {choices})")


@contextlib.contextmanager
def nothing_started() -> Iterator[None]:
    """While packages are installed, Debian starts none of the services that they bring, now or at the next boot.

    https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
    """
    mine = os.geteuid() == 0 and POLICY.parent.is_dir() and not POLICY.exists()
    before = _enabled()
    if mine:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            POLICY.unlink(missing_ok=True)
        if fresh := sorted(_enabled() - before):
            say(f"keeping {', '.join(fresh)} from starting at boot")
            subprocess.run(["systemctl", "disable", "-q", *fresh], check=False)


def _enabled() -> set[str]:
    if os.geteuid() != 0 or not Path("/run/systemd/system").is_dir():
        return set()
    command = ["systemctl", "list-unit-files", "--state=enabled", "--no-legend", "--plain", "--type=service"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return {line.split()[0] for line in told.stdout.splitlines() if line.strip()}


@functools.lru_cache
def package_version(package: str) -> str:
    """The version of an installed Debian package, "-" where it is not installed."""
    with contextlib.suppress(OSError):
        command = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        if told[:1] == ["installed"]:
            return told[1].partition(":")[2] or told[1]
    return "-"
