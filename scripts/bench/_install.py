"""Brings the programs to compare with into a folder outside the tree, each by the ordinary client of its registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from _machine import CACHE, ROOT

_LIMIT = 600.0


class Missing(Exception):
    """A program that cannot be had here; the text says why."""


def python(name: str, *packages: str) -> Path:
    """The Python of an environment that has ``packages`` ("name==version")."""
    folder = CACHE / name
    stamp = folder / "installed"
    wanted = "\n".join(packages)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _say(f"installing {' '.join(packages)}")
        _do(sys.executable, "-m", "venv", str(folder))
        _do(str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *packages)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def node(package: str, version: str) -> Path:
    """The folder of a package's commands."""
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed here")
    folder = CACHE / package
    told = folder / "node_modules" / package / "package.json"
    if not told.exists() or json.loads(told.read_text())["version"] != version:
        _say(f"installing {package} {version}")
        folder.mkdir(parents=True, exist_ok=True)
        _do(npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), f"{package}@{version}")
    return folder / "node_modules" / ".bin"


def jar(group: str, name: str, version: str) -> Path:
    """A jar of Maven's central repository, by itself."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Maven is not installed here")
    path = Path.home() / ".m2" / "repository" / group.replace(".", "/") / name / version / f"{name}-{version}.jar"
    if not path.exists():
        _say(f"fetching {name} {version}")
        _do(maven, "-q", "-B", "dependency:get", f"-Dartifact={group}:{name}:{version}", "-Dtransitive=false")
    return path


def jars(name: str, *artifacts: str) -> Path:
    """A folder with jars ("group:name:version") and all that they need."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Maven is not installed here")
    folder = CACHE / name
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(artifacts):
        _say(f"fetching {' '.join(artifacts)}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        wanted = "".join(
            "<dependency>"
            + "".join(
                f"<{tag}>{text}</{tag}>" for tag, text in zip(("groupId", "artifactId", "version"), parts, strict=True)
            )
            + "</dependency>"
            for parts in (artifact.split(":") for artifact in artifacts)
        )
        (folder / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>esfeed</groupId><artifactId>bench</artifactId>"
            f"<version>1</version><dependencies>{wanted}</dependencies></project>"
        )
        _do(maven, "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}/lib")  # fmt: skip
        stamp.write_text("\n".join(artifacts))
    return folder / "lib"


def native() -> Path:
    """The raw reader, built from ``native/main.go``."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        raise Missing("Go is not installed here")
    source, program = ROOT / "scripts" / "bench" / "native", CACHE / "native" / "native"
    if not program.exists() or program.stat().st_mtime < (source / "main.go").stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        _do(go, "build", "-o", str(program), ".", folder=source)
    return program


def tell(*command: str) -> str:
    """The first line that a command prints."""
    return (_do(*command).strip().splitlines() or [""])[0]


def _do(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, check=False, text=True, timeout=_LIMIT, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    if done.returncode:
        raise Missing(_last(done.stderr.strip() or done.stdout.strip()))
    return done.stdout


def _environment() -> dict[str, str]:
    # Nothing of the environment that runs the bench may leak into another program's.
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def _last(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()] or ["it failed without a word"]
    return lines[0][:300] if lines[0].startswith("[ERROR]") else lines[-1][:300]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
