"""A re-sync by Searchlight's own command, on 2.4.6 and on 5.6.16; and a backfill of what it loads."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.openstack.cloud import Cloud, Image, Network, Subnet, Zone, new_project
from tests.openstack.feed import OpenStackFeed, told
from tests.support.clients import eventually
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

MakeFeed = Callable[..., OpenStackFeed]
ALWAYS_NOW = {"OS::Neutron::FloatingIP", "OS::Neutron::Router", "OS::Neutron::SecurityGroup", "OS::Nova::Flavor",
              "OS::Nova::Hypervisor", "OS::Nova::ServerGroup"}  # fmt: skip
"""Types whose ``updated_at`` Searchlight sets to the time of the sync, where their service has none."""


@pytest.fixture
def sampled(cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with Searchlight's own sample resources in it, synchronised."""
    cloud.stack.stand_in("PUT", f"/_stand-in/samples?from={cloud.stack.record['examples']}/load")
    cloud.stack.sync()
    yield cloud
    cloud.stack.stand_in("DELETE", "/_stand-in/samples")
    cloud.stack.sync()


def searchlight_sync(stack: Stack) -> subprocess.Popen[bytes]:
    """The command as an operator types it, in the background."""
    program = stack.record["searchlight_python"].removesuffix("python") + "searchlight-manage"
    command = [program, "--config-file", stack.record["searchlight_conf"], "index", "sync", "--force"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_sync_while_notifications_arrive(sampled: Cloud, feed: MakeFeed) -> None:
    """All is written anew into another index; told is what changed, and each of what came by notification meanwhile."""
    check_sync(sampled, feed)


def check_sync(sampled: Cloud, feed: MakeFeed) -> None:
    """On whichever engine."""
    run = feed().start()
    project = new_project()
    images = [Image(sampled, project) for _ in range(30)]
    process = searchlight_sync(sampled.stack)
    sent = 0
    try:
        while process.poll() is None and sent < len(images):
            images[sent].create()
            sent += 1
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    finally:
        assert process.wait(60) == 0
    last = Image(sampled, project)
    last.create()
    eventually(lambda: told(run.of_tenant(project), last.id), seconds=40)
    eventually(lambda: settled(sampled, run, project), seconds=40)
    others = [
        event["data"] for event in run.audit() if event["data"]["id"] not in {each.id for each in [*images, last]}
    ]
    assert {data["op"] for data in others} <= {"updated"}, Counter((d["op"], d["type"]) for d in others)
    assert {data["type"] for data in others} <= ALWAYS_NOW, Counter((d["op"], d["type"]) for d in others)
    assert all(data["changed"] == ["updated_at"] for data in others), [d["changed"] for d in others]


def settled(cloud: Cloud, run: OpenStackFeed, project: str) -> bool:
    """Whether the tenant has been told of just those of its images that the index has now, as last news."""
    last = {event["data"]["id"]: event["data"]["op"] for event in run.of_tenant(project)}
    cloud.call("POST", f"/{cloud.index}/_refresh")
    query = {"query": {"term": {"owner": project}}}
    hits = cloud.call("POST", f"/{cloud.index}/OS::Glance::Image/_search?size=100", query)["hits"]["hits"]
    return {doc_id for doc_id, op in last.items() if op != "deleted"} == {hit["_id"] for hit in hits}


def test_backfill_of_the_sample_resources(sampled: Cloud, feed: MakeFeed) -> None:
    """`esfeed backfill --since` tells each of the 59 resources in 78 documents once, to whom it is for."""
    run = feed()
    assert run("poll").returncode == 0
    assert run.audit() == []
    hits = sampled.call("POST", f"/{sampled.index}/_search?size=1000", {"query": {"match_all": {}}})["hits"]["hits"]
    resources = {(hit["_type"], hit["_id"].removesuffix("_ADMIN").removesuffix("_USER")) for hit in hits}
    config = run.config.read_text().replace("where = \"op != 'read'\"", "")
    run.config.write_text(config)
    done = run("backfill", "--since", "2000-01-01", "--undated")
    assert done.returncode == 0, done.stderr
    events = [event["data"] for event in run.audit()]
    assert {d["op"] for d in events} == {"read"}
    assert sorted((d["type"], d["id"]) for d in events) == sorted(resources)
    undated = {d["type"] for d in events if d["after"].get("updated_at") is None}
    assert undated == {"OS::Glance::Metadef"}, "they have no date, and come by --undated only"
    print(f"{len(resources)} resources in {len(hits)} documents, {len(events)} told")
    assert (len(resources), len(hits)) >= (59, 78)
    owners = Counter(d["after"].get("tenant_id") for d in events if d["type"] == "OS::Nova::Server")
    for owner, count in owners.items():
        mine = [event["data"] for event in run.of_tenant(owner)]
        assert sum(d["type"] == "OS::Nova::Server" for d in mine) == count
        assert not any("OS-EXT-SRV-ATTR" in json.dumps(d) for d in mine)


def test_on_5(on_five: Cloud, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same on 5.6.16, where Searchlight deletes no zone and no subnet: they stay there, and no delete is told."""
    made: list[OpenStackFeed] = []

    def make() -> OpenStackFeed:
        made.append(OpenStackFeed(tmp_path_factory.mktemp("feed"), on_five))
        return made[-1]

    stack = on_five.stack
    stack.stand_in("PUT", f"/_stand-in/samples?from={stack.record['examples']}/load")
    stack.sync()
    try:
        check_sync(on_five, make)
        check_deletes(on_five, made[0])
    finally:
        for each in made:
            each.clean_up()


def check_deletes(cloud: Cloud, run: OpenStackFeed) -> None:
    """What is deleted in truth is told, what stays is not."""
    project = new_project()
    network, zone, image = Network(cloud, project), Zone(cloud, project), Image(cloud, project)
    for each in (network, zone, image):
        each.create()
    eventually(lambda: all(told(run.of_tenant(project), each.id) for each in (network, zone, image)), seconds=40)
    subnet = Subnet(cloud, project, network.id)
    subnet.create()
    eventually(lambda: told(run.of_tenant(project), subnet.id), seconds=40)
    for gone in (subnet, zone, image):
        gone.delete()
    eventually(lambda: told(run.of_tenant(project), image.id) == ["created", "deleted"], seconds=40)
    last = Image(cloud, project)
    last.create()
    eventually(lambda: told(run.of_tenant(project), last.id), seconds=40)
    for stays in (subnet, zone):
        assert cloud.documents(stays.kind, stays.id), f"{stays.kind} was deleted; is this another Searchlight?"
        assert told(run.of_tenant(project), stays.id) == ["created"]
