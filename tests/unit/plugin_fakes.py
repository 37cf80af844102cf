"""Sinks and profiles that stand in for installed ones, and a whole settings file that uses them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from esfeed.config import plugins
from esfeed.config.load import parse
from esfeed.config.types import Duration, Secret, SinkSection, Text
from esfeed.errors import ConfigError

HERE = "tests.unit.plugin_fakes" if __name__.startswith("tests.") else __name__


class PlainSettings(SinkSection):
    """A sink that needs nothing."""


class StrangeSettings(SinkSection):
    """A sink with keys of every kind."""

    url: Text = Field(description="the url to post to")
    secret: Secret | None = Field(None, description="the secret to sign with")
    headers: dict[str, str] = Field(default_factory=dict, description="further headers")
    wait: Duration = Field(1.0, description="how long to wait")
    tries: int = Field(3, ge=1, description="how often to try")
    mixed: int | list[str] = Field(1, description="a number or a list")


class PlainSink:
    """A sink that needs nothing."""

    Settings: ClassVar[type[SinkSection]] = PlainSettings


class StrangeSink:
    """A sink with keys of every kind."""

    Settings: ClassVar[type[SinkSection]] = StrangeSettings


class NoSink:
    """Has no Settings."""


class NoProfile:
    """Has no describe."""


class BrokenProfile:
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("no disk")


def points(*more: EntryPoint) -> EntryPoints:
    """The usual fakes: sinks file, stdout, webhook, kafka (its client is missing); profiles plain, searchlight."""
    sink, profile = plugins.SINKS, plugins.PROFILES
    return EntryPoints(
        [
            EntryPoint("file", f"{HERE}:PlainSink", sink),
            EntryPoint("stdout", f"{HERE}:PlainSink", sink),
            EntryPoint("webhook", f"{HERE}:StrangeSink", sink),
            EntryPoint("kafka", "no_such_kafka_client.sink:KafkaSink", sink),
            EntryPoint("plain", "esfeed.changes.profiles.plain:PlainProfile", profile),
            EntryPoint("searchlight", "esfeed.changes.profiles.searchlight:SearchlightProfile", profile),
            *more,
        ]
    )


def install(monkeypatch: pytest.MonkeyPatch, *more: EntryPoint) -> None:
    """Makes :mod:`esfeed.config.plugins` see the fakes, and nothing else."""
    found = points(*more)
    monkeypatch.setattr(plugins, "declared", lambda group: found.select(group=group))


FILE = Path("esfeed.toml")
WHOLE = """
state = "sqlite:///esfeed.db"
[clusters.main]
hosts = ["http://127.0.0.1:9200"]
[watches.servers]
index = "searchlight-search"
profile = "searchlight"
[sinks.audit]
type = "file"
[[routes]]
watches = ["servers"]
sinks = ["audit"]
where = "op != 'read' && type == 'OS::Nova::Server'"
"""


CLUSTER, WATCH, SINK, ROUTE = "[clusters.main]", "[watches.servers]", "[sinks.audit]", "[[routes]]"


def with_(section: str, lines: str) -> str:
    """The whole example with lines added to one of its sections, in place of those with the same key."""
    key = lines.partition("=")[0].strip()
    kept, inside = [], False
    for line in WHOLE.splitlines():
        if line.startswith("["):
            inside = line == section
        if not (inside and line.startswith(f"{key} =")):
            kept.append(line)
        if line == section:
            kept.append(lines)
    return "\n".join(kept)


def said(text: str) -> str:
    """What is said about a faulty file."""
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    return str(caught.value)
