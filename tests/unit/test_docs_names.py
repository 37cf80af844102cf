"""Names that pages mention exist: log events, metrics, fields of the status, and commands with their options."""

from __future__ import annotations

import ast
import re

import pytest
from click.testing import CliRunner

from esfeed.cli.main import cli
from tests.support.pages import ROOT

TROUBLE = (ROOT / "docs" / "troubleshooting.rst").read_text()
LOG_EVENTS = (ROOT / "docs" / "reference" / "log-events.rst").read_text()
METRICS = (ROOT / "docs" / "reference" / "metrics.rst").read_text()
FIELDS = ("running", "position", "error", "tracker", "why", "poll_seconds", "poll_bytes", "documents", "backlog")


def _listed(page: str) -> set[str]:
    return set(re.findall(r"``(esfeed_[a-z_]+[a-z])``", page))


def _in_code() -> set[str]:
    """The names of metrics: what the modules of metrics name as a text, but for the prefix of a process."""
    found = set()
    for path in ("metrics.py", "feed_metrics.py"):
        for node in ast.walk(ast.parse((ROOT / "esfeed" / "web" / path).read_text())):
            if isinstance(node, ast.Constant) and re.fullmatch(r"esfeed_[a-z_]+", str(node.value)):
                found.add(str(node.value))
    return found - {"esfeed_http"}


def test_every_metric_is_in_the_reference() -> None:
    """And no other."""
    assert _listed(METRICS) == _in_code()


def test_metrics_of_troubleshooting_are_in_the_reference() -> None:
    named = {name.removesuffix("_total") for name in _listed(TROUBLE)}
    assert len(named) > 10
    assert named <= _listed(METRICS)


def test_log_events_of_troubleshooting_are_in_the_reference() -> None:
    known = set(re.findall(r"^``([a-z_.]+)`` \(\w+\)$", LOG_EVENTS, re.MULTILINE))
    parts = {name.partition(".")[0] for name in known} - {"data"}
    named = {name for name in re.findall(r"``([a-z]+\.[a-z_]+)``", TROUBLE) if name.partition(".")[0] in parts}
    assert len(named) > 10
    assert named <= known


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_status_that_troubleshooting_names(name: str) -> None:
    assert f"``{name}``" in TROUBLE
    assert f'"{name}": ' in (ROOT / "esfeed" / "runtime" / "status.py").read_text()


def test_commands_of_troubleshooting_are_commands() -> None:
    """With options that they have."""
    named = re.findall(r"``esfeed ([a-z]+(?: (?:rename|forget))?)([^`\n]*)", TROUBLE)
    assert len(named) > 8
    for command, rest in named:
        shown = CliRunner().invoke(cli, [*command.split(), "--help"])
        assert shown.exit_code == 0, command
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in shown.output, (command, option)
