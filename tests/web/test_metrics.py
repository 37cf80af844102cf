"""What is measured: values after known work, and that what is shipped for Grafana and Prometheus names only those."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from esfeed.demo.cloud import SERVER
from esfeed.errors import ClusterError
from tests.support.clients import eventually
from tests.web.conftest import Open, StageMaker
from tests.web.live import target
from tests.web.support import Desk

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "etc/grafana/esfeed.json"
RULES = ROOT / "etc/prometheus/esfeed.rules.yml"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_a_feed_at_work_is_measured(stage: StageMaker) -> None:
    """Events, polls, requests, delays, sizes and cursors, after a create, an update and a delete."""
    with target() as hooks:
        staged = stage(f'[sinks.hooks]\ntype = "webhook"\nurl = "{hooks.url}"\nallow_private = true\nattempts = 2\n')
        staged.cloud.create(SERVER, "web-1", status="BUILD")
        eventually(lambda: len(hooks.got) == 2)
        hooks.refused_word = "ERROR"
        staged.cloud.change("web-1", status="ERROR")
        desk = Client(staged.live.url)
        eventually(lambda: value(desk.samples(), "esfeed_sink_dead", sink="hooks") == 1)
        hooks.refused_word = ""
        staged.cloud.delete("web-1")
        eventually(lambda: len(hooks.got) == 3)
        # Until two refreshes are over, nobody can say how many operations are not seen.
        lag = "esfeed_watch_lag_operations", frozenset({("watch", "cloud")})
        eventually(lambda: lag in desk.samples())
        found = desk.samples()
    # Both views of the server, and the flavor at first.
    events = {op: value(found, "esfeed_events_total", watch="cloud", op=op) for op in ("read", "created", "updated")}
    assert events == {"read": 1, "created": 2, "updated": 2}
    assert value(found, "esfeed_events_total", watch="cloud", op="deleted") == 2
    polls = value(found, "esfeed_poll_duration_seconds_count", watch="cloud")
    assert polls >= 3
    assert value(found, "esfeed_cluster_requests_total", watch="cloud") >= polls
    assert value(found, "esfeed_cluster_received_bytes_total", watch="cloud") > 100 * polls
    assert value(found, "esfeed_poll_failures_total", watch="cloud") == 0
    assert value(found, "esfeed_watch_up", watch="cloud") == 1
    assert 0 <= value(found, "esfeed_watch_lag_seconds", watch="cloud") < 10
    assert value(found, "esfeed_watch_lag_operations", watch="cloud") >= 0
    assert value(found, "esfeed_sink_events_total", sink="hooks", outcome="ok") == 3
    assert value(found, "esfeed_sink_delay_seconds_count", sink="hooks") == 3
    assert value(found, "esfeed_sink_delay_seconds_bucket", sink="audit", le="10.0") == 4
    assert value(found, "esfeed_sink_backlog", sink="audit") == 0
    assert value(found, "esfeed_log_position") == value(found, "esfeed_log_entries") == 7
    assert value(found, "esfeed_state_bytes") > 10_000
    assert value(found, "esfeed_log_bytes") > 500


class Client:
    def __init__(self, url: str) -> None:
        import httpx

        self._url = url
        self._client = httpx.Client(verify=False)

    def samples(self) -> Samples:
        answer = self._client.get(f"{self._url}/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return samples(answer.text)


def test_a_poll_that_fails_is_counted(desk: Desk) -> None:
    """The watch is down, and its lag is not told as long as it was never well."""
    before = samples(desk.get("/metrics").text)
    assert value(before, "esfeed_poll_failures_total", watch="servers") == 0
    with pytest.raises(ClusterError):
        desk.app.runner.poll("servers")
    found = samples(desk.get("/metrics").text)
    assert value(found, "esfeed_poll_failures_total", watch="servers") == 1
    assert value(found, "esfeed_watch_up", watch="servers") == 0
    assert ("esfeed_watch_lag_seconds", frozenset({("watch", "servers")})) not in found


def test_retries_are_counted(open_desk: Open) -> None:
    """A target that is down: each try that went out is one, and what never went out is none."""
    with target() as hooks:
        more = f'[sinks.hooks]\ntype = "webhook"\nurl = "{hooks.url}"\nallow_private = true\n'
        desk = open_desk(more=more)
        hooks.down = True
        assert desk.app.dispatchers
        desk.fill(1)
        desk.app.runner.deliver("hooks")
        found = samples(desk.get("/metrics").text)
        assert value(found, "esfeed_sink_retries_total", sink="hooks") == 1
        assert value(found, "esfeed_sink_events_total", sink="hooks", outcome="retry") == 1
        assert value(found, "esfeed_sink_parked", sink="hooks") == 1
        assert value(found, "esfeed_sink_backlog", sink="audit") == 1
        assert value(found, "esfeed_sink_lag_seconds", sink="audit") > 0


def known(desk: Desk) -> set[str]:
    return {name for name, _ in samples(desk.get("/metrics").text)} | {
        # They are there once the watch was well.
        "esfeed_watch_lag_seconds",
        "esfeed_watch_lag_operations",
    }


def test_the_grafana_board_names_only_what_there_is(desk: Desk) -> None:
    """Every metric of every panel and variable exists, and every metric family of the feed is on some panel."""
    board = json.loads(BOARD.read_text())
    desk.get("/v1/me")
    text = json.dumps(board)
    named = set(re.findall(r"\besfeed_[a-z_]+", text))
    assert named <= known(desk), named - known(desk)
    shown = {name.removesuffix("_bucket") for name in named}
    of_feed = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in known(desk)
        if name.startswith(("esfeed_watch", "esfeed_sink", "esfeed_events", "esfeed_poll", "esfeed_cluster"))
    }
    missing = of_feed - shown - {"esfeed_sink_send_duration_seconds", "esfeed_watch_up", "esfeed_watch_stalled"}
    assert not missing
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_the_alerts_name_only_what_there_is(desk: Desk) -> None:
    """And so do their tests."""
    for file in (RULES, RULES.with_name("esfeed.rules.test.yml")):
        expressions = re.findall(r"\besfeed_[a-z_]+", re.sub(r"esfeed\.rules\.\w+", "", file.read_text()))
        assert set(expressions) <= known(desk), file


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not installed")
def test_the_alerts_fire_when_they_should() -> None:
    """Prometheus' own tool reads the rules, and runs their tests."""
    for ask in (["check", "rules", RULES.name], ["test", "rules", "esfeed.rules.test.yml"]):
        done = subprocess.run(["promtool", *ask], capture_output=True, text=True, cwd=RULES.parent, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_finds_no_fault_with_the_metrics(desk: Desk) -> None:
    """Names, units and help texts are as its guide wants them."""
    text = "\n".join(line for line in desk.get("/metrics").text.splitlines() if "process_" not in line) + "\n"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
