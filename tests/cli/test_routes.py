"""Routes at work: one feed, several sinks, each with its own idea of the same documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import urllib3

from esfeed.demo.lookalike import lookalike
from tests.support.clients import esfeed

SETTINGS = """
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["{url}"]
[watches.servers]
index = "servers"
[sinks.whole]
type = "file"
path = "{folder}/whole"
[sinks.tenant]
type = "file"
path = "{folder}/tenant"
[sinks.mirror]
type = "file"
path = "{folder}/mirror"
format = "raw"
[[routes]]
sinks = ["whole"]
[[routes]]
sinks = ["tenant"]
fields = ["name", "status", "project_id", "-*secret*"]
redact = [{{ fields = ["name"], action = "hash", key = "{key}" }}]
rename = {{ status = "state" }}
route = "{{project_id}}"
subject = "{{route}}/{{state}}"
[[routes]]
sinks = ["mirror"]
where = "op == 'deleted' || after.status != 'BUILD'"
fields = ["-*secret*"]
"""
KEY = "a key of sixteen or more"


def lines(path: Path) -> list[dict[str, Any]]:
    """The events, or documents, that a file has."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_sink_sees_its_own(tmp_path: Path) -> None:
    """From the index to three files: whole, shaped for a tenant, and as bare documents; what is hidden is in one alone.

    A document that a route can make nothing of is held back from that route's sink, and others go on.
    """

    def put(name: str, **document: Any) -> None:
        body = json.dumps({"name": name, "updated_at": "2026-11-24T10:00:00Z", **document})
        headers = {"content-type": "application/json"}
        answer = urllib3.request("PUT", f"{url}/servers/_doc/{name}?refresh=true", body=body, headers=headers)
        assert answer.status in (200, 201)

    with lookalike() as url:
        (tmp_path / "esfeed.toml").write_text(SETTINGS.format(folder=tmp_path, url=url, key=KEY))

        def poll() -> None:
            done = esfeed("poll", config=tmp_path / "esfeed.toml")
            assert done.returncode in (0, 3), done.stderr
            assert "SECRET" not in done.stdout + done.stderr

        put("nobodys", status="ACTIVE", o={"secret_a": "SECRET0"})
        put("web-1", status="BUILD", project_id="p1", n=9007199254740993, o={"secret_a": "SECRET1"})
        poll()
        put("web-1", status="BUILD", project_id="p1", n=9007199254740993, o={"secret_a": "SECRET2"})
        poll()
        put("web-1", status="ACTIVE", project_id="p1", n=9007199254740993, o={"secret_a": "SECRET2"})
        poll()
        urllib3.request("DELETE", f"{url}/servers/_doc/web-1?refresh=true")
        poll()

    whole = [event["data"]["op"] for event in lines(tmp_path / "whole") if event["data"]["id"] == "web-1"]
    assert whole == ["read", "updated", "updated", "deleted"]
    tenant = lines(tmp_path / "tenant")
    assert [event["data"]["op"] for event in tenant] == ["read", "updated", "deleted"]
    assert [event["subject"] for event in tenant] == ["p1/BUILD", "p1/ACTIVE", "p1/ACTIVE"]
    assert tenant[1]["data"]["changed"] == ["state"]
    assert tenant[1]["data"]["after"].keys() == {"name", "state", "project_id"}
    assert len(tenant[1]["data"]["after"]["name"]) == 64
    assert tenant[0]["data"]["origin"]["updated_at"] is None
    mirror = lines(tmp_path / "mirror")
    assert [one.get("name", one.get("_deleted")) for one in mirror] == ["nobodys", "web-1", True]
    assert mirror[1]["n"] == 9007199254740993
    assert mirror[1]["o"] == {}
    for name in ("tenant", "mirror"):
        assert b"SECRET" not in (tmp_path / name).read_bytes()
