"""Searchlight's own faults, made to happen: esfeed tells what the index says, no more and no less."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.openstack.cloud import Cloud, Image, Network, Port, Subnet, new_project
from tests.openstack.feed import OpenStackFeed, told
from tests.support.clients import eventually

pytestmark = pytest.mark.stack

MakeFeed = Callable[..., OpenStackFeed]


def barrier(cloud: Cloud, run: OpenStackFeed, project: str) -> None:
    """Waits until something that came later has been told: what was to be told before that was."""
    for _ in range(2):  # the poll that finds the second one began after that which found the first was over
        image = Image(cloud, project)
        image.create()
        eventually(lambda image=image: told(run.of_tenant(project), image.id), seconds=40)


def test_views_of_one_resource_part(cloud: Cloud, feed: MakeFeed) -> None:
    """A deleted port stays in the index, and so does the user's half of some deleted subnets: each view is told apart.

    Searchlight looks for a port under a wrong id, and for a subnet under a wrong routing.
    """
    run = feed().start()
    project = new_project()
    # Whether the two halves of a subnet lie in one shard depends on its network's id: of six, hardly all do.
    networks = [Network(cloud, project) for _ in range(6)]
    for network in networks:
        network.create()
    eventually(lambda: all(told(run.of_tenant(project), network.id) for network in networks), seconds=40)
    port = Port(cloud, project, networks[0].id)
    subnets = [Subnet(cloud, project, network.id) for network in networks]
    everything = [port, *subnets]
    for each in everything:
        each.create()
    eventually(lambda: all(told(run.of_tenant(project), each.id) for each in everything), seconds=40)
    for each in everything:
        each.delete()
    barrier(cloud, run, project)
    left = {each.id: cloud.documents(each.kind, each.id) for each in everything}
    assert set(left[port.id]) == {f"{port.id}_ADMIN", f"{port.id}_USER"}, "a deleted port is there as before"
    tenant, operators = run.of_tenant(project), run.of_operators()
    for each in everything:
        for view, events in (("_USER", tenant), ("_ADMIN", operators)):
            expected = ["created"] if f"{each.id}{view}" in left[each.id] else ["created", "deleted"]
            assert told(events, each.id) == expected, (each.kind, view)
    assert any(len(left[each.id]) == 1 for each in subnets), "one of a pair outlives the other"


def test_an_update_that_the_version_hides(cloud: Cloud, feed: MakeFeed) -> None:
    """The version's last nine digits wrap every 11.57 days: a later update with the same date is lost, and not told."""
    run = feed().start()
    image = Image(cloud, new_project())
    image.create()
    eventually(lambda: told(run.of_tenant(image.project), image.id), seconds=40)
    _, payload = image.news("update")
    (before,) = cloud.documents(image.kind, image.id).values()
    wrapped = before["_version"] // 10**9 * 10**9 + 999_999_999
    path = f"/{cloud.index}/{image.kind}/{image.id}?version={wrapped}&version_type=external"
    cloud.call("PUT", path, {**before["_source"], "name": "before the wrap"})
    cloud.notify("image.update", payload | {"name": "lost", "updated_at": before["_source"]["updated_at"]})
    barrier(cloud, run, image.project)
    (after,) = cloud.documents(image.kind, image.id).values()
    assert after["_source"]["name"] == "before the wrap", "Searchlight got a 409"
    events = [event["data"] for event in run.of_tenant(image.project) if event["data"]["id"] == image.id]
    assert [data["op"] for data in events] == ["created", "updated"]
    assert events[-1]["after"]["name"] == "before the wrap"


def test_a_burst_ends_in_the_right_state(cloud: Cloud, feed: MakeFeed) -> None:
    """However the listener orders what comes close together, the last word is what the index has in the end."""
    run = feed().start()
    image = Image(cloud, new_project())
    image.create()
    for number in range(40):
        image.rename(f"name-{number}")
    barrier(cloud, run, image.project)
    events = [event["data"] for event in run.of_tenant(image.project) if event["data"]["id"] == image.id]
    (there,) = cloud.documents(image.kind, image.id).values()
    assert events[-1]["after"]["name"] == there["_source"]["name"]
    assert events[0]["op"] == "created"
    assert {data["op"] for data in events[1:]} <= {"updated"}
    for earlier, later in itertools.pairwise(events):
        assert later["before"] == earlier["after"], "each begins where the last one ended"


def test_what_changes_without_a_newer_date(cloud: Cloud, feed: MakeFeed) -> None:
    """A new member of an image leaves ``updated_at`` as it is; who polls by that alone never hears of it."""
    run = feed().start()
    image, member = Image(cloud, new_project()), new_project()
    image.create()
    eventually(lambda: told(run.of_tenant(image.project), image.id), seconds=40)
    payload = cloud.event("images", "image.member.create")
    cloud.notify("image.member.create", payload | {"image_id": image.id, "member_id": member, "status": "accepted"})
    eventually(lambda: told(run.of_tenant(image.project), image.id) == ["created", "updated"], seconds=40)
    update = [event["data"] for event in run.of_tenant(image.project) if event["data"]["id"] == image.id][-1]
    assert update["changed"] == ["members"]
    assert update["after"]["members"] == [member]
    assert update["before"]["updated_at"] == update["after"]["updated_at"]
