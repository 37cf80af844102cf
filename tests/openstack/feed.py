"""A feed beside Searchlight as an operator sets it up: tenants' queues in Zaqar, and the operators' own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.openstack.cloud import Cloud, new_project
from tests.support.clients import esfeed, eventually
from tests.support.warm import Started
from tests.support.zaqar import Consumer

SETTINGS = """
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{engine}"]
[watches.cloud]
index = "{index}"
profile = "searchlight"
interval = "100ms"
{watch}
[sinks.tenants]
type = "zaqar"
url = "{zaqar}"
auth = "noauth"
queue = "changes-{{owner}}"
project = "{{owner}}"
{tenants}
[sinks.operators]
type = "zaqar"
url = "{zaqar}"
auth = "noauth"
queue = "changes"
project = "{operators}"
[sinks.audit]
type = "file"
path = "{folder}/audit.jsonl"
[[routes]]
sinks = ["tenants"]
tenant = "*"
where = "op != 'read'"
[[routes]]
sinks = ["operators", "audit"]
admin = true
where = "op != 'read'"
"""


class OpenStackFeed:
    """``esfeed`` with those settings; ``watch`` and ``tenants`` are further lines of these sections."""

    def __init__(self, folder: Path, cloud: Cloud, watch: str = "", tenants: str = "") -> None:
        self.folder, self.cloud = folder, cloud
        self.operators = new_project()
        self.config = folder / "esfeed.toml"
        record = cloud.stack.record
        self.config.write_text(
            SETTINGS.format(
                folder=folder,
                engine=record["engine"],
                index=cloud.index,
                zaqar=record["zaqar"],
                operators=self.operators,
                watch=watch,
                tenants=tenants,
            )
        )
        self.process: Started | None = None
        self.log = folder / "log"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return esfeed(*arguments, config=self.config)

    def start(self) -> OpenStackFeed:
        """``esfeed run``, after one ``esfeed poll`` that learns what is there."""
        assert self("poll").returncode == 0, self("poll").stderr
        with self.log.open("ab") as log:
            self.process = Started("--config", str(self.config), "run", stdout=log, stderr=log)
        eventually(lambda: "feed.started" in self.log.read_text(), seconds=30)
        return self

    def status(self) -> Any:
        """``esfeed status --json``."""
        return json.loads(self("status", "--json").stdout)

    def clean_up(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def audit(self) -> list[Any]:
        """What the operators' file has."""
        path = self.folder / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def of_tenant(self, project: str) -> list[Any]:
        """What a tenant reads with its own client in its own project."""
        consumer = Consumer(self.cloud.stack.record["zaqar"], project)
        return list(consumer.messages(f"changes-{project}"))

    def of_operators(self) -> list[Any]:
        """What the operators read."""
        return list(Consumer(self.cloud.stack.record["zaqar"], self.operators).messages("changes"))


def told(events: list[Any], doc_id: str) -> list[str]:
    """What happened to a resource, in order."""
    return [event["data"]["op"] for event in events if event["data"]["id"] == doc_id]
