"""What docs/http.rst says is so: its settings are read, its names exist, and its commands are commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from esfeed.cli.main import cli
from esfeed.config.http import HttpSettings, KeystoneSettings
from esfeed.config.load import build
from esfeed.web.openapi import description
from tests.web.support import Desk

PAGE = (Path(__file__).resolve().parents[2] / "docs/http.rst").read_text()


def block(kind: str) -> str:
    """The first block of code of that kind."""
    found = re.search(rf"\.\. code-block:: {kind}\n\n((?:    .*\n|\n)+)", PAGE)
    assert found
    return re.sub("^    ", "", found[1], flags=re.MULTILINE)


def test_its_settings_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read as they stand, no key is left out, and those with a default show it or an example that fits."""
    (tmp_path / "server.pem").write_text("")
    monkeypatch.setenv("ESFEED_KEYSTONE_PASSWORD", "x")
    raw = tomllib.loads(block("toml").replace("/etc/esfeed/server.pem", str(tmp_path / "server.pem")))
    config = build(
        {
            "clusters": {"main": {"hosts": ["http://127.0.0.1:9200"]}},
            "watches": {"w": {"index": "i"}},
            "sinks": {"s": {"type": "stdout"}},
            **raw,
        }
    )
    assert config.http is not None
    assert raw["http"].keys() == HttpSettings.model_fields.keys() - {"key"}
    optional = {"project_name", "user_domain_name", "project_domain_name", "ca_certs", "timeout"}
    assert raw["http"]["keystone"].keys() == KeystoneSettings.model_fields.keys() - optional
    for name, field in HttpSettings.model_fields.items():
        if field.default not in (None, ()) and not field.is_required() and field.default_factory is None:
            assert getattr(config.http, name) == field.default, name


def test_every_path_is_named(desk: Desk) -> None:
    """Each path of the API and each page, and it answers."""
    for path in (*description()["paths"], "/", "/demo/instances"):
        assert f"``{path}``" in PAGE, path
    for path in re.findall(r"^``(/[^`]*)``  ", PAGE, re.MULTILINE):
        assert desk.get(path).status_code in (200, 405, 503), path


def test_every_parameter_is_named() -> None:
    """Each parameter of ``/v1/changes`` is on the page."""
    for parameter in description()["paths"]["/v1/changes"]["get"]["parameters"]:
        assert re.search(rf"``{parameter['name']}\b", PAGE), parameter["name"]


def test_every_metric_it_names_is_there(desk: Desk) -> None:
    """Or comes once a watch was well."""
    there = desk.get("/metrics").text
    for name in set(re.findall(r"``(esfeed_[a-z_]+)``", PAGE)):
        assert name in there or name.startswith("esfeed_watch_lag"), name


def test_every_command_is_one() -> None:
    """With options that it has."""
    commands = re.findall(r"(?:\$ |``)esfeed ([a-z]+(?: (?:add|list|remove))?)((?: [^`\n]*)?)", PAGE)
    assert len(commands) >= 8
    for command, rest in commands:
        shown = CliRunner().invoke(cli, [*command.split(), "--help"])
        assert shown.exit_code == 0, command
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in shown.output, (command, option)
