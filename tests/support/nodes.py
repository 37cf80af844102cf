"""Clusters of two nodes for tests: one that stays (the master), one that holds primaries and may be killed.

The second node reaches the first through a ``Wire``, which can lose what it is told to: so a write can be held between
a primary and its replica, while everything else goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.clients import Raw, eventually
from tests.support.engines import Engine, start, stop
from tests.support.wire import Wire


@dataclass
class Pair:
    """Two nodes of one cluster. ``stays`` is the master; ``falls`` never is. ``wire`` leads from the latter to it."""

    stays: Engine
    falls: Engine
    instance: str
    wire: Wire

    @property
    def raw(self) -> Raw:
        """The node that stays, in its own words."""
        return Raw(self.stays)

    def kill(self) -> None:
        """kill -9 of the node that falls; returns when the other knows that it is gone."""
        os.kill(self.falls.pid, signal.SIGKILL)
        self.alone()

    def alone(self) -> None:
        """Waits until the node that stays knows that the other is gone."""
        eventually(lambda: self.raw.call("GET", "/_cluster/health")["number_of_nodes"] == 1, seconds=60)

    def revive(self) -> None:
        """Starts the killed node again, with its data, port and name; waits until all copies are whole."""
        self.falls = _second(self.stays, self.instance, self.wire, keep=True)
        self.green()

    def green(self, index: str = "") -> None:
        """Waits until every copy (of ``index``) is there, and nothing moves."""
        where = f"/_cluster/health/{index}" if index else "/_cluster/health"

        def whole() -> bool:
            health = self.raw.call("GET", where)
            moving = health["relocating_shards"] + health["initializing_shards"] + health["unassigned_shards"]
            return health["number_of_nodes"] == 2 and health["status"] == "green" and not moving

        eventually(whole, seconds=90)

    def place(self, index: str, replicas: int = 1) -> None:
        """Brings the primaries of ``index`` to the node that falls, and replicas to the one that stays."""
        self.move(index, self.falls_name)
        self.raw.call("PUT", f"/{index}/_settings", {"index.routing.allocation.include._name": ""})
        if replicas:
            delay = {"index.unassigned.node_left.delayed_timeout": "0s"}
            self.raw.call("PUT", f"/{index}/_settings", {"index.number_of_replicas": replicas, **delay})
            self.green(index)
        assert self.primaries(index) == {self.falls_name}

    def move(self, index: str, node: str) -> None:
        """Moves the copies of an index without replicas to that node."""
        self.raw.call("PUT", f"/{index}/_settings", {"index.routing.allocation.include._name": node})
        eventually(lambda: self.primaries(index) == {node}, seconds=60)
        self.green(index)

    def promote(self, index: str) -> None:
        """Takes the primaries of ``index`` from the node that stays; the replicas on the other are promoted."""
        for copy in self.raw.call("GET", f"/_cat/shards/{index}", h="shard,prirep,node", format="json"):
            if copy["prirep"] == "p" and copy["node"] == self.stays_name:
                about = {"index": index, "shard": int(copy["shard"]), "node": self.stays_name, "allow_primary": True}
                self.raw.call("POST", "/_cluster/reroute", {"commands": [{"cancel": about}]})
        self.green(index)
        assert self.primaries(index) == {self.falls_name}

    def unassign(self, index: str) -> None:
        """Takes the replicas of ``index`` away from the node that stays, which keeps their files: they get stale."""
        self.raw.call("PUT", f"/{index}/_settings", {"index.routing.allocation.enable": "primaries"})
        about = {"index": index, "shard": 0, "node": self.stays_name}
        self.raw.call("POST", "/_cluster/reroute", {"commands": [{"cancel": about}]})

        def gone() -> bool:
            copies = self.raw.call("GET", f"/_cat/shards/{index}", h="prirep,state", format="json")
            return {(copy["prirep"], copy["state"]) for copy in copies} == {("p", "STARTED"), ("r", "UNASSIGNED")}

        eventually(gone, seconds=60)

    def force(self, index: str, what: str) -> None:
        """Makes a copy on the node that stays the primary of shard 0: ``stale``, or ``empty``."""
        self.raw.call("PUT", f"/{index}/_settings", {"index.routing.allocation.enable": "all"})
        about = {"index": index, "shard": 0, "node": self.stays_name, "accept_data_loss": True}
        self.raw.call("POST", "/_cluster/reroute", {"commands": [{f"allocate_{what}_primary": about}]})
        self.raw.call("GET", f"/_cluster/health/{index}", wait_for_status="yellow", timeout="60s")

    @property
    def falls_name(self) -> str:
        return f"{self.instance}-falls"

    @property
    def stays_name(self) -> str:
        return f"{self.instance}-stays"

    def primaries(self, index: str) -> set[str]:
        """The names of the nodes that hold primaries of ``index``."""
        copies = self.raw.call("GET", f"/_cat/shards/{index}", h="prirep,node", format="json")
        return {copy["node"] for copy in copies if copy["prirep"] == "p"}


@contextmanager
def pair(name: str, instance: str) -> Iterator[Pair]:
    """A cluster of two nodes of engine ``name``; both are ended and forgotten afterwards."""
    wire = Wire()
    first, second = f"{instance}-stays", f"{instance}-falls"
    try:
        stays = start([name], instance=first, settings=_first_settings(name, first, instance, wire))[0]
        local = Raw(stays).call("GET", "/_nodes/_local/transport")["nodes"]
        (node,) = local.values()
        bound = [one for one in node["transport"]["bound_address"] if "127.0.0.1" in one]
        wire.target = int(bound[0].rpartition(":")[2].rstrip("]}"))
        yield Pair(stays, _second(stays, instance, wire), instance, wire)
    finally:
        stop([name], second)
        stop([name], first)
        wire.close()


def _second(stays: Engine, instance: str, wire: Wire, keep: bool = False) -> Engine:
    settings = _second_settings(stays.name, f"{instance}-falls", instance, wire)
    return start([stays.name], instance=f"{instance}-falls", settings=settings, keep=keep)[0]


def _common(name: str, node: str, instance: str) -> dict[str, str]:
    # Copies stay where a test puts them.
    found = {"cluster.name": f"esfeed-{instance}", "node.name": node, "cluster.routing.rebalance.enable": "none"}
    if name != "es2":
        found["discovery.type"] = "multi-node" if name in ("es8", "es9") else "zen"
    return found


def _first_settings(name: str, node: str, instance: str, wire: Wire) -> dict[str, str]:
    found = {**_common(name, node, instance), "transport.publish_port": str(wire.port)}
    if name in ("es2", "es5", "es6"):
        found["discovery.zen.ping.unicast.hosts"] = f"127.0.0.1:{wire.port}"
    else:
        found["cluster.initial_master_nodes"] = node
    return found


def _second_settings(name: str, node: str, instance: str, wire: Wire) -> dict[str, str]:
    old = name in ("es2", "es5", "es6")
    hosts = "discovery.zen.ping.unicast.hosts" if old else "discovery.seed_hosts"
    role = {"node.master": "false"} if old else {"node.roles": "data"}
    # 2.x compresses bulk requests between nodes, so that nothing could be recognised in them.
    plain = {"action.bulk.compress": "false"} if old else {}
    return {**_common(name, node, instance), hosts: f"127.0.0.1:{wire.port}", **role, **plain}
