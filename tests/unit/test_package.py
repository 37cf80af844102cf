"""What is installed is what is here."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_with_code_is_a_package() -> None:
    """A folder without ``__init__.py`` would be missing from an installed esfeed, migrations for one."""
    folders = {file.parent.relative_to(ROOT) for file in (ROOT / "esfeed").rglob("*.py")}
    packages = {Path(*name.split(".")) for name in find_packages(str(ROOT), include=["esfeed", "esfeed.*"])}
    assert folders == packages
