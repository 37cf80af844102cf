"""nginx in front, as Debian has it: with nothing but ``proxy_pass``, and with the headers that its manual shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from esfeed.model.event import Event
from esfeed.testing.events import sample_event
from tests.support.clients import eventually
from tests.support.pages import free_port
from tests.web.conftest import Open

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
BARE = ""
AS_SHOWN = """
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""
CONFIG = """\
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            {more}
        }}
    }}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx here (Debian: apt-get install nginx-light)")


@contextmanager
def nginx(folder: Path, upstream: str, more: str) -> Iterator[str]:
    """The URL of an nginx that leads to ``upstream``."""
    assert NGINX is not None
    port = free_port()
    user = "user root root;\n" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, upstream=upstream, more=more, user=user))
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthz"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("more", [BARE, AS_SHOWN], ids=["bare", "as_shown"])
def test_nobody_becomes_an_administrator_by_a_proxy(open_desk: Open, tmp_path: Path, more: str) -> None:
    """What a proxy brings seems to be from this machine; that lets nobody in, whatever name they ask for."""
    desk = open_desk('anonymous = "never"\n')
    with nginx(tmp_path, desk.url, more) as url:
        for headers in ({}, {"host": "localhost"}, {"host": "127.0.0.1"}, {"cookie": "esfeed-80=x"}):
            for path in ("/v1/me", "/v1/changes?since=0", "/v1/status", "/metrics"):
                assert httpx.get(url + path, headers=headers).status_code == 401, (path, headers)
            answer = httpx.post(url + "/v1/redrive", json={"sink": "audit"}, headers=headers)
            assert answer.status_code == 401


def test_forwarded_requests_are_not_this_machine(open_desk: Open, tmp_path: Path) -> None:
    """Even where this machine is trusted, who comes with a proxy's headers is not on it."""
    desk = open_desk('anonymous = "loopback"\n')
    assert httpx.get(f"{desk.url}/v1/me").json()["admin"]
    with nginx(tmp_path, desk.url, AS_SHOWN) as url:
        assert httpx.get(f"{url}/v1/me", headers={"host": "localhost"}).status_code == 401


@pytest.mark.parametrize("more", [BARE, AS_SHOWN], ids=["bare", "as_shown"])
def test_a_reader_behind_a_proxy(open_desk: Open, tmp_path: Path, more: str) -> None:
    """A token is good there, a tenant sees its own, and a stream is not held back."""
    desk = open_desk('anonymous = "never"\n')
    token = desk.token("p1")
    desk.put(*(_server(f"s{number}", tenant) for number, tenant in enumerate(("p1", "p2", "p1"))))
    with nginx(tmp_path, desk.url, more) as desk.url:
        me = {"name": f"token {token[-8:]}", "tenant": "p1", "admin": False}
        assert desk.get("/v1/me", token).json() == me
        page = desk.get("/v1/changes", token, since=0).json()
        assert [event["data"]["id"] for event in page["events"]] == ["s0", "s2"]
        with desk.stream(token, since=3) as stream:
            desk.put(_server("s3", "p1"))
            eventually(lambda: stream.positions() == [4])


def _server(doc_id: str, tenant: str) -> Event:
    return sample_event(doc_id=doc_id, after={"project_id": tenant})
