"""The scenes in the cloud, with captions. The next one begins once the events of the current one are on the screen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from esfeed.demo.cloud import FLAVOR, GROUP, IMAGE, NETWORK, SERVER, ZONE, Cloud

_YESTERDAY = timedelta(days=1)
_SSH, _HTTPS = {"port_range_min": 22}, {"port_range_min": 443}
_HOST = "OS-EXT-SRV-ATTR:host"


class Scene(NamedTuple):
    """``caption`` describes ``act``; if empty, the previous scene continues."""

    caption: str
    act: Callable[[Cloud], None]


def furnish(cloud: Cloud) -> None:
    """Creates what exists before the feed begins."""
    cloud.create(FLAVOR, "m1.small", _YESTERDAY, vcpus=1, ram=2048, disk=20)
    cloud.create(IMAGE, "debian-12", _YESTERDAY, status="active", size=348_651_520, visibility="public")
    cloud.create(NETWORK, "private", _YESTERDAY, status="ACTIVE", **{"provider:network_type": "vxlan"})
    cloud.create(GROUP, "default", _YESTERDAY, security_group_rules=[_SSH])


def _large(cloud: Cloud) -> None:
    cloud.create(FLAVOR, "m1.large", vcpus=4, ram=8192, disk=80)


def _queued(cloud: Cloud) -> None:
    cloud.create(IMAGE, "debian-13", status="queued", size=None, visibility="private")


def _uploaded(cloud: Cloud) -> None:
    cloud.change("debian-13", status="active", size=352_321_536)


def _boot(cloud: Cloud) -> None:
    cloud.create(SERVER, "web-1", status="BUILD", flavor="m1.small", **{_HOST: "node-1"})


def _booted(cloud: Cloud) -> None:
    cloud.change("web-1", status="ACTIVE")


def _moved(cloud: Cloud) -> None:
    cloud.change("web-1", renew=False, **{_HOST: "node-2"})


def _resized(cloud: Cloud) -> None:
    cloud.change("web-1", name="www", flavor="m1.large")


def _rule(cloud: Cloud) -> None:
    cloud.change("default", renew=False, security_group_rules=[_SSH, _HTTPS])


def _late(cloud: Cloud) -> None:
    cloud.create(ZONE, "example.org.", timedelta(hours=2), status="ACTIVE", ttl=3600)


def _gone(cloud: Cloud) -> None:
    cloud.delete("www")
    cloud.delete("debian-12")


SCENES = (
    Scene("glance: an image is uploaded", _queued),
    Scene("", _uploaded),
    Scene("nova: a flavor, and a server that boots (two documents: the admin's view and the user's)", _large),
    Scene("", _boot),
    Scene("", _booted),
    Scene("nova: it moves to another host, a field of the admin's view only: no event for users", _moved),
    Scene("nova: it is renamed and resized", _resized),
    Scene("neutron: a rule is added, but updated_at stays the same: the engine's counters show it", _rule),
    Scene("designate: a zone arrives late, dated two hours ago", _late),
    Scene("nova, glance: the server and the old image are deleted", _gone),
)
