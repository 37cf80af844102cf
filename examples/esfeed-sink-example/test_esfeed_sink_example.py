"""Runs the contract of sinks for this sink."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from esfeed_sink_example import SpoolSettings, SpoolSink

from esfeed.errors import ConfigError
from esfeed.testing.sink_contract import SinkContract


class TestSpool(SinkContract):
    """The target breaks when its folder is moved away."""

    @pytest.fixture(autouse=True)
    def _target(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "spool"
        self.folder.mkdir()

    def make_sink(self) -> SpoolSink:
        return SpoolSink(SpoolSettings(folder=str(self.folder)))

    def received(self) -> list[tuple[str, int]]:
        events = [json.loads(path.read_bytes()) for path in sorted(self.folder.glob("[0-9]*.json"))]
        return [(event["id"], event["data"]["position"]) for event in events]

    def break_target(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def restore_target(self) -> None:
        self.folder.with_name("away").rename(self.folder)


def test_no_folder(tmp_path: Path) -> None:
    """A missing folder is an error in the settings that names the key."""
    with pytest.raises(ConfigError, match=r"^folder = .*create it"):
        SpoolSink(SpoolSettings(folder=str(tmp_path / "none"))).open()
