"""What scripts/stack does without a server: what needs what, who is who, and how it says no."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

import pytest

from tests.support.scripts import run
from tests.support.stack import SCRIPT


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script as a module."""
    sys.path.insert(0, str(SCRIPT.parent))
    loader = SourceFileLoader("stack_script", str(SCRIPT))
    spec = spec_from_loader("stack_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules["stack_script"] = module
    loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules["stack_script"]


def test_a_part_brings_what_it_needs(script: ModuleType) -> None:
    """In an order in which each can start."""
    assert script.with_needs(["zaqar"]) == ["redis", "zaqar"]
    for names in (["listener"], list(script.ALL), ["zaqar-keystone", "listener"]):
        levels = script.in_order(script.with_needs(names))
        started: set[str] = set()
        for level in levels:
            for name in level:
                assert set(script.PARTS[name].needs if name in script.PARTS else ()) <= started, name
            started |= set(level)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "nova"], "no part nova: choose from engine"),
        (["up", "--instance", "Ä"], "may hold only a-z, 0-9 and -"),
        (["up", "--engine", "es9"], "invalid choice"),
        (["sync", "--instance", "nowhere"], "run scripts/stack up first"),
        ([], "required"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], said: str, tmp_path: os.PathLike[str]) -> None:
    """In words, and with an exit code."""
    done = run(SCRIPT, *arguments, ESFEED_STACK_DIR=str(tmp_path))
    assert done.returncode != 0
    assert said in done.stderr


def test_nothing_there(tmp_path: os.PathLike[str]) -> None:
    """Neither status nor down minds."""
    assert "scripts/stack up starts one" in run(SCRIPT, "status", ESFEED_STACK_DIR=str(tmp_path)).stdout
    assert run(SCRIPT, "down", ESFEED_STACK_DIR=str(tmp_path)).returncode == 0
