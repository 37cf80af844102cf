"""Notification, RabbitMQ, searchlight-listener, Elasticsearch 2.4.6, esfeed, Zaqar, and back with a tenant's client."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.openstack.cloud import (
    Cloud,
    Flavor,
    Image,
    Network,
    Port,
    RecordSet,
    Resource,
    Server,
    Subnet,
    Volume,
    Zone,
    new_project,
)
from tests.openstack.feed import OpenStackFeed, told
from tests.support.clients import eventually

pytestmark = pytest.mark.stack

MakeFeed = Callable[..., OpenStackFeed]
OWNED = (Image, Server, Network, Volume, Zone)
CHILDREN = ((Subnet, Network), (Port, Network), (RecordSet, Zone))
ADMIN_ONLY = ("provider:", "OS-EXT-SRV-ATTR:", "binding:", "compute-7")


def test_all_types_from_the_service_to_the_tenant(
    cloud: Cloud, feed: MakeFeed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Created, updated and deleted, each once, in order, to the owner's queue alone, with how long each step took."""
    run = feed().start()
    mine, other = new_project(), new_project()
    parents = [kind(cloud, mine) for kind in OWNED]
    by_type = {type(each): each for each in parents}
    foreign = Server(cloud, other)
    delays: list[tuple[str, str, float, float, float]] = []

    def step(op: str, resources: list[Resource], act: Callable[[Resource], float]) -> None:
        delays.extend(follow(cloud, run, mine, op, resources, act))

    step("created", parents, lambda each: each.create())
    children: list[Resource] = [kind(cloud, mine, by_type[parent].id) for kind, parent in CHILDREN]
    step("created", children, lambda each: each.create())
    foreign.create()
    step("updated", [*parents, *children], lambda each: each.rename("second"))
    # A port's and a subnet's deletion are another test's: Searchlight does not do them as it should.
    step("deleted", [children[2]], lambda each: each.delete())
    step("deleted", [by_type[kind] for kind in (Image, Server, Volume, Zone)], lambda each: each.delete())

    eventually(lambda: told(run.of_tenant(other), foreign.id))
    events = run.of_tenant(mine)
    for each in (*parents, *children):
        gone = ["deleted"] if isinstance(each, Image | Server | Volume | Zone | RecordSet) else []
        assert told(events, each.id) == ["created", "updated", *gone], each.kind
    assert {event["data"]["id"] for event in events} == {each.id for each in (*parents, *children)}
    assert not any(word in json.dumps(events) for word in ADMIN_ONLY)
    assert {event["data"]["id"] for event in run.of_tenant(other)} == {foreign.id}
    updated = next(e for e in events if e["data"]["id"] == parents[0].id and e["data"]["op"] == "updated")
    assert (updated["data"]["before"]["name"], updated["data"]["after"]["name"]) == ("first", "second")
    with capsys.disabled():
        print(table(delays))


def follow(
    cloud: Cloud, run: OpenStackFeed, tenant: str, op: str, resources: list[Resource], act: Callable[[Resource], float]
) -> list[tuple[str, str, float, float, float]]:
    """Does it to all, waits until the tenant has read of each, and says how long each of the three steps took."""
    sent = {each.id: act(each) for each in resources}
    indexed: dict[str, float] = {}
    read: dict[str, tuple[float, Any]] = {}
    end = time.monotonic() + 30
    while len(read) < len(resources):
        left = [each.kind for each in resources if each.id not in read]
        assert time.monotonic() < end, f"{op} {left} not told after 30 s; {run.log.read_text()[-1500:]}"
        for each in resources:
            if each.id not in indexed and in_index(cloud, each, op):
                indexed[each.id] = time.time()
        for event in run.of_tenant(tenant):
            if event["data"]["op"] == op and event["data"]["id"] in sent:
                read.setdefault(event["data"]["id"], (time.time(), event))
        time.sleep(0.02)
    found = []
    for each in resources:
        at, event = read[each.id]
        seen = datetime.fromisoformat(event["time"]).timestamp()
        there = min(indexed.get(each.id, seen), seen)
        found.append((each.kind, op, there - sent[each.id], seen - there, at - seen))
    return found


def in_index(cloud: Cloud, each: Resource, op: str) -> bool:
    """Whether the index has it so, refreshed or not (a get, not a search)."""
    paired = each.kind in ("OS::Nova::Server", "OS::Cinder::Volume") or each.kind.startswith("OS::Neutron")
    suffix = "_USER" if paired else ""
    routing = f"?routing={each.parent}{suffix}" if each.parent else ""
    found = cloud.call("GET", f"/{cloud.index}/{each.kind}/{each.id}{suffix}{routing}")
    if op == "deleted":
        return not found.get("found")
    source = found.get("_source", {})
    return bool(found.get("found")) and (op == "created" or each.name in str(source.get(each.name_field)))


def table(delays: list[tuple[str, str, float, float, float]]) -> str:
    """The delays in milliseconds."""
    lines = ["", f"{'':28}{'':9}{'listener':>9}{'esfeed':>8}{'Zaqar':>7}  ms"]
    lines += [f"{kind:28}{op:9}{a * 1e3:9.0f}{b * 1e3:8.0f}{c * 1e3:7.0f}" for kind, op, a, b, c in delays]
    medians = [statistics.median(float(row[column]) for row in delays) * 1e3 for column in (2, 3, 4)]
    return "\n".join([*lines, f"{'median':37}{medians[0]:9.0f}{medians[1]:8.0f}{medians[2]:7.0f}"])


def test_nfv_one_consumer_sees_all_in_order(cloud: Cloud, feed: MakeFeed) -> None:
    """What an orchestrator such as Tacker asks for: server, image and flavor, created, changed, deleted."""
    run = feed().start()
    project = new_project()
    resources = [kind(cloud, project) for kind in (Server, Image, Flavor)]

    def operators(each: Resource) -> list[str]:
        return told(run.of_operators(), each.id)

    for op, act in (
        ("created", Resource.create),
        ("updated", lambda each: each.rename("x")),
        ("deleted", Resource.delete),
    ):
        for each in resources:
            act(each)
        eventually(lambda op=op: all(operators(each)[-1:] == [op] for each in resources), seconds=30)
    for each in resources:
        assert operators(each) == ["created", "updated", "deleted"], each.kind
    positions = [event["data"]["position"] for event in run.of_operators()]
    assert positions == sorted(set(positions)), "one feed's order, nothing twice"
    server = [event for event in run.of_operators() if event["data"]["id"] == resources[0].id]
    assert "OS-EXT-SRV-ATTR:host" in server[0]["data"]["after"], "operators have the administrator's view"


def test_monitoring_hears_of_hypervisors(cloud: Cloud, feed: MakeFeed) -> None:
    """They have no notifications, only re-syncs: what is new, changed or gone after one is told, to operators alone."""
    stack = cloud.stack
    hypervisors = [{**each, "id": 900 + n} for n, each in enumerate(cloud.sample("hypervisors")[:2])]
    stack.put("/compute/v2.1/os-hypervisors/detail", {"hypervisors": hypervisors})
    stack.sync()
    run = feed()
    assert run("poll").returncode == 0
    changed = {**hypervisors[0], "status": "disabled"}
    stack.put("/compute/v2.1/os-hypervisors/detail", {"hypervisors": [changed, {**hypervisors[1], "id": 950}]})
    stack.sync()
    done = run("poll")
    assert done.returncode == 0, done.stderr
    events = [event for event in run.of_operators() if event["data"]["type"] == "OS::Nova::Hypervisor"]
    assert {(event["data"]["id"], event["data"]["op"]) for event in events} == {
        ("900", "updated"),
        ("901", "deleted"),
        ("950", "created"),
    }
    (update,) = [event["data"] for event in events if event["data"]["id"] == "900"]
    assert "status" in update["changed"]
    stack.put("/compute/v2.1/os-hypervisors/detail", {"hypervisors": []})


def test_zaqar_away_for_a_while(cloud: Cloud, feed: MakeFeed) -> None:
    """Killed and back after changes went by: the queue has each of them once, the file never waited.

    For as many seconds as ``ESFEED_TEST_AWAY`` says; only a few by default.
    """
    run = feed().start()
    project = new_project()
    images = [Image(cloud, project) for _ in range(5)]
    images[0].create()
    eventually(lambda: told(run.of_tenant(project), images[0].id))
    cloud.stack.kill("zaqar")
    for image in images[1:]:
        image.create()
    eventually(lambda: all(told(run.audit(), image.id) for image in images), seconds=30)
    time.sleep(float(os.environ.get("ESFEED_TEST_AWAY", "0")))
    cloud.stack.up("zaqar")
    eventually(lambda: len(run.of_tenant(project)) >= 5, seconds=70)
    assert sorted(event["data"]["id"] for event in run.of_tenant(project)) == sorted(each.id for each in images)


def test_a_tenant_whose_queue_takes_less(cloud: Cloud, feed: MakeFeed) -> None:
    """The event that is too big for it is kept and named; that tenant's others and other tenants' go on."""
    from tests.support.zaqar import Consumer

    run = feed().start()
    small, other = new_project(), new_project()
    Consumer(cloud.stack.record["zaqar"], small).limit(f"changes-{small}", 4096)
    big = Image(cloud, small)
    big.name = "x" * 5000
    after, others = Image(cloud, small), Image(cloud, other)
    for each in (big, after, others):
        each.create()
    eventually(lambda: told(run.of_tenant(small), after.id) and told(run.of_tenant(other), others.id), seconds=30)
    assert told(run.of_tenant(small), big.id) == []
    assert run.status()["sinks"]["tenants"]["dead"] == 1
    dead = run("dead")
    assert "the limit of queue" in dead.stdout
    assert big.id in dead.stdout


def test_several_resource_groups_as_one_watch(cloud: Cloud, feed: MakeFeed) -> None:
    """``*-search``: Searchlight's own group beside another one whose alias moves, as a re-sync of that group does."""
    run = feed()
    run.config.write_text(run.config.read_text().replace(f'index = "{cloud.index}"', 'index = "*-search"'))
    group = f"group{new_project()[:8]}"
    mapping = {"mappings": {"OS::Heat::Stack": {"properties": {"updated_at": {"type": "date"}}}}}
    documents = {n: {"id": f"{group}-{n}", "name": "x", "updated_at": "2026-11-24T10:00:00Z"} for n in range(3)}

    def fill(index: str) -> None:
        cloud.call("PUT", f"/{index}", mapping)
        for n, document in documents.items():
            cloud.call("PUT", f"/{index}/OS::Heat::Stack/{group}-{n}", document)
        cloud.call("POST", f"/{index}/_refresh")

    def moved(index: str, action: str) -> dict[str, Any]:
        return {action: {"index": index, "alias": f"{group}-search"}}

    try:
        fill(f"{group}-one")
        cloud.call("POST", "/_aliases", {"actions": [moved(f"{group}-one", "add")]})
        run.start()
        image = Image(cloud, new_project())
        image.create()
        documents[1]["name"] = "y"
        fill(f"{group}-two")
        actions = [moved(f"{group}-one", "remove"), moved(f"{group}-two", "add")]
        cloud.call("POST", "/_aliases", {"actions": actions})
        cloud.call("DELETE", f"/{group}-one")
        eventually(lambda: told(run.audit(), image.id) and told(run.audit(), f"{group}-1"), seconds=60)
        image.delete()
        eventually(lambda: told(run.audit(), image.id) == ["created", "deleted"], seconds=60)
        assert told(run.audit(), f"{group}-1") == ["updated"]
        assert not told(run.audit(), f"{group}-0")
        assert not told(run.audit(), f"{group}-2")
    finally:
        for index in ("one", "two"):
            cloud.call("DELETE", f"/{group}-{index}?ignore_unavailable=true")
