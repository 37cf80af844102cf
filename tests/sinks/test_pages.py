"""The pages of the docs on sinks: their examples are settings that load."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from esfeed.config import parse
from esfeed.plugins import sink_class

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "sinks").glob("*.rst"))
HEAD = '[clusters.main]\nhosts = ["http://127.0.0.1:9200"]\n[watches.servers]\nindex = "servers"\n'


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_load(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of a page is taken by the settings as it stands, and is of the sink that the page is about."""
    found = re.findall(r"\.\. code-block:: toml\n\n((?:    .*\n|\n)+)", page.read_text())
    assert found, f"{page} has no example"
    for example in map(textwrap.dedent, found):
        for name in re.findall(r'"env:(\w+)"', example):
            monkeypatch.setenv(name, "value")
        sinks = tomllib.loads(example)["sinks"]
        assert {sink["type"] for sink in sinks.values()} == {page.stem}
        assert set(parse(HEAD + example, Path("esfeed.toml")).sinks) == set(sinks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_field_is_described(page: Path) -> None:
    """The reference of settings is made from the models, so every field of every sink has a description."""
    fields = sink_class(page.stem).Settings.model_fields  # type: ignore[attr-defined]  # every sink has it
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_line_is_short() -> None:
    """The pages keep to the width of the code."""
    long = [f"{page.name}:{n}" for page in PAGES for n, line in enumerate(page.open(), 1) if len(line.rstrip()) > 120]
    assert not long
