"""The section ``[http]``: what is taken, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esfeed.config.load import build
from esfeed.errors import ConfigError

REST = {
    "clusters": {"main": {"hosts": ["http://127.0.0.1:9200"]}},
    "watches": {"w": {"index": "i"}},
    "sinks": {"s": {"type": "stdout"}},
}


def test_without_it_nothing_is_served() -> None:
    """An empty one serves at the usual place, on this machine alone."""
    assert build(REST).http is None
    section = build({**REST, "http": {}}).http
    assert section is not None
    assert section.address == ("127.0.0.1", 8460)
    assert not section.in_clear


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:8460", ("::1", 8460)),
        (":80", ("0.0.0.0", 80)),
        ("feed.example.org:8460", ("feed.example.org", 8460)),
    ],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    """IPv4, IPv6, every one of this machine's, and names."""
    section = build({**REST, "http": {"listen": listen}}).http
    assert section is not None
    assert section.address == address


@pytest.mark.parametrize(
    ("section", "key", "hint"),
    [
        ({"listen": "8460"}, "http.listen", "127.0.0.1:8460"),
        ({"listen": "127.0.0.1:70000"}, "http.listen", "127.0.0.1:8460"),
        ({"cors": ["*"]}, "http.cors[0]", "https://horizon.example.org"),
        ({"cors": ["https://a.example/path"]}, "http.cors[0]", "without a path"),
        ({"anonymous": "everybody"}, "http.anonymous", "loopback"),
        ({"requests_per_second": 0.0}, "http.requests_per_second", "more than 0"),
        ({"readers": 0}, "http.readers", "1 or more"),
        ({"heartbeat": "0s"}, "http.heartbeat", "longer than zero"),
        ({"certificate": "/nowhere.pem"}, "http.certificate", "cannot be read"),
        ({"tokens": ["x"]}, "http.tokens", "unknown key"),
        ({"keystone": {"auth_url": "http://k:5000/v3", "username": "u"}}, "http.keystone.password", "is missing"),
        ({"keystone": {"auth_url": "k", "username": "u", "password": "p"}}, "http.keystone.auth_url", "http://"),
    ],
)
def test_faults(section: dict[str, Any], key: str, hint: str) -> None:
    """Each names its key and what to write."""
    with pytest.raises(ConfigError) as caught:
        build({**REST, "http": section})
    assert caught.value.key == key
    assert hint in caught.value.hint


def test_a_key_alone_proves_nothing(tmp_path: Path) -> None:
    """The certificate is named as what is missing."""
    (tmp_path / "key.pem").write_text("")
    with pytest.raises(ConfigError, match=r"http\.key.*set certificate as well"):
        build({**REST, "http": {"key": str(tmp_path / "key.pem")}})


def test_a_password_is_never_shown() -> None:
    """Neither in what is printed of the settings nor in a fault."""
    keystone = {"auth_url": "http://k:5000/v3", "username": "u", "password": "s3cret"}
    assert "s3cret" not in repr(build({**REST, "http": {"keystone": keystone}}))
    with pytest.raises(ConfigError) as caught:
        build({**REST, "http": {"keystone": {**keystone, "password": ["s3cret"]}}})
    assert "s3cret" not in str(caught.value)


def test_unencrypted_beyond_this_machine_is_warned_of(tmp_path: Path) -> None:
    """Not where there is a certificate, nor on loopback."""
    (tmp_path / "server.pem").write_text("")
    open_to_all: dict[str, Any] = {"listen": "0.0.0.0:8460"}
    (warning,) = build({**REST, "http": open_to_all}).warnings
    assert "unencrypted" in warning
    assert not build({**REST, "http": {**open_to_all, "certificate": str(tmp_path / "server.pem")}}).warnings
    assert not build({**REST, "http": {"listen": "[::1]:8460"}}).warnings
