"""The scripts that run servers, as tests call them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


class ScriptFailure(Exception):
    """A script could not do what it was asked; the text is its own."""


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, ended."""
    command = [sys.executable, str(script), *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


def call(script: Path, *arguments: str) -> str:
    """What the script prints. Raises ``ScriptFailure``."""
    done = run(script, *arguments)
    if done.returncode:
        raise ScriptFailure(f"scripts/{script.name} {' '.join(arguments)}\n{done.stderr.strip()}")
    return done.stdout


def chosen(variable: str, kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """The ``names`` that a variable lists (comma-separated; "none" for none); all if it is not set."""
    text = os.environ.get(variable, "").strip()
    if text == "none":
        return ()
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) or tuple(names)
    if unknown := [name for name in found if name not in names]:
        raise ValueError(f"{variable}: no {kind} {', '.join(unknown)}; choose from {', '.join(names)}, or none")
    return found
