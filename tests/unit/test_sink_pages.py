"""The pages under docs/sinks: each example of settings loads, and each page answers the same questions."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from esfeed.config.load import parse
from esfeed.config.plugins import sink_class
from esfeed.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "sinks"
PAGES = sorted(page for page in FOLDER.glob("*.rst") if page.stem != "index")
_EXAMPLE = re.compile(r"^\.\. code-block:: toml\n\n((?:    .*\n|\n)+)", re.M)
_REST = """
[clusters.main]
hosts = ["http://127.0.0.1:9200"]
[watches.servers]
cluster = "main"
index = "servers"
"""


def examples(page: Path) -> list[str]:
    return [textwrap.dedent(found[1]) for found in _EXAMPLE.finditer(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_load(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a reader copies is accepted, once the environment has what it names."""
    texts = examples(page)
    assert texts, "a page about a sink without settings to copy"
    for text in texts:
        for name in re.findall(r'"env:(\w+)"', text):
            monkeypatch.setenv(name, "secret")
        config = parse(_REST + text, tmp_path / "esfeed.toml")
        for sink in config.sinks.values():
            assert sink_class(sink.type).Settings is type(sink)  # type: ignore[attr-defined]  # checked by sink_class
        assert any(sink.type == page.stem for sink in config.sinks.values()), "the page is about another type"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_mistake_in_an_example_would_be_found(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The test above can fail: the same text with one key misspelt does not load."""
    text = examples(page)[0]
    for name in re.findall(r'"env:(\w+)"', text):
        monkeypatch.setenv(name, "secret")
    with pytest.raises(ConfigError, match="type: is missing"):
        parse(_REST + text.replace('type = "', 'tpye = "', 1), tmp_path / "esfeed.toml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_field_is_described(page: Path) -> None:
    """The reference of settings is made from the models, so every field of every sink has a description."""
    fields = sink_class(page.stem).Settings.model_fields  # type: ignore[attr-defined]  # checked by sink_class
    assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize("name", ["amqp", "kafka", "nats"])
def test_pages_of_brokers_answer_what_a_reader_asks(name: str) -> None:
    """What ok means, which order is kept, what comes twice, and what happens on failure, restart and oversize."""
    text = (PAGES[0].parent / f"{name}.rst").read_text()
    for question in ("``ok`` means", "Order", "At least once", "Partial failure", "Restart of", "Too large"):
        assert re.search(rf"^{re.escape(question)}", text, re.M), question
    keys = set(sink_class(name).Settings.model_fields)  # type: ignore[attr-defined]  # checked by sink_class
    settings = set(re.findall(r"^(\w+) = ", "".join(examples(PAGES[0].parent / f"{name}.rst")), re.M))
    assert settings <= keys
