"""The commands of the server: tokens, where it listens, and what it says when it cannot."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.clients import esfeed, eventually
from tests.web.conftest import StageMaker


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "esfeed.toml"
    path.write_text(
        f'state = "sqlite:///{tmp_path}/state.db"\n[clusters.main]\nhosts = ["http://127.0.0.1:9"]\n'
        f'[watches.w]\nindex = "i"\n[sinks.audit]\ntype = "file"\npath = "{tmp_path}/audit.jsonl"\n'
    )
    return path


def test_tokens_from_end_to_end(stage: StageMaker) -> None:
    """Made while the feed runs, shown once, good at once, listed without what is secret, and taken back."""
    live = stage('[http]\nanonymous = "never"\n').live
    made = live.run("token", "add", "--tenant", "p1", "--name", "anna", "--expires", "90d")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert "anna: tenant p1, until" in made.stderr
    boss = live.run("token", "add", "--admin").stdout.strip()

    def ask(bearer: str, path: str = "/v1/me") -> httpx.Response:
        return httpx.get(live.url + path, headers={"authorization": f"Bearer {bearer}"})

    assert ask(token).json() == {"name": "token anna", "tenant": "p1", "admin": False}
    assert ask(boss, "/v1/status").status_code == 200
    listed = live.run("token", "list")
    assert "anna" in listed.stdout
    assert "everything" in listed.stdout
    told = json.loads(live.run("token", "list", "--json").stdout)
    assert [(one["tenant"], one["admin"]) for one in told] == [(None, True), ("p1", False)]
    for text in (listed.stdout, json.dumps(told), live.log.read_text()):
        assert token not in text
    assert live.run("token", "remove", "anna").returncode == 0
    eventually(lambda: ask(token).status_code == 401, 10)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("add",), "use either --tenant or --admin"),
        (("add", "--tenant", "p1", "--admin"), "use either --tenant or --admin"),
        (("add", "--tenant", "p1", "--expires", "2020-01-01"), "in the past"),
        (("add", "--tenant", "p1", "--expires", "soon"), '"90d"'),
        (("add", "--tenant", "p1", "--name", "a b"), "letters"),
        (("remove", "nobody"), "esfeed token list"),
    ],
)
def test_wrong_usage_of_tokens(config: Path, args: tuple[str, ...], said: str) -> None:
    """Exit code 2, and what to write instead."""
    done = esfeed("token", *args, config=config)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert done.stdout == ""


def test_two_tokens_of_one_name(config: Path) -> None:
    """The second is refused, and the first stays good."""
    assert esfeed("token", "add", "--tenant", "p1", "--name", "a", config=config).returncode == 0
    done = esfeed("token", "add", "--tenant", "p2", "--name", "a", config=config)
    assert done.returncode == 2
    assert "p1" in esfeed("token", "list", config=config).stdout


def test_an_address_in_use(config: Path) -> None:
    """Wrong usage: it says which, and the feed does not start without what was asked for."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = esfeed("run", "--http", address, config=config)
    assert done.returncode == 2
    assert f"http.listen = '{address}': another process listens there" in done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", "http://127.0.0.1:1", "a b:1", ""])
def test_an_address_that_is_none(config: Path, address: str) -> None:
    """Says what one looks like."""
    done = esfeed("run", "--http", address, config=config)
    assert done.returncode == 2
    assert "127.0.0.1:8460" in done.stderr


def test_without_the_extra_it_says_what_to_install(config: Path) -> None:
    """Rather than showing where Python stumbled."""
    script = (
        "import sys\nsys.modules['starlette'] = sys.modules['starlette.applications'] = None\n"
        "from esfeed.cli.main import main\n"
        f"sys.argv = ['esfeed', '--config', {str(config)!r}, 'run', '--http', '127.0.0.1:0']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'esfeed[web]'" in done.stderr


def test_https(stage: StageMaker, tmp_path: Path) -> None:
    """With a certificate of the settings; browsers are told to stay with it."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    import ssl

    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    folder = tmp_path / "live"
    folder.mkdir()
    with httpx.Client(verify=context) as client:
        live = stage(f'[http]\ncertificate = "{tmp_path}/server.pem"\n', ready=False).live
        answer = eventually(lambda: _get(client, f"{live.url}/readyz"), 30)
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert live.url.startswith("https://")


def _get(client: httpx.Client, url: str) -> httpx.Response | None:
    try:
        answer = client.get(url)
    except httpx.HTTPError:
        return None
    return answer if answer.status_code == 200 else None


def test_a_certificate_that_is_none(config: Path, tmp_path: Path) -> None:
    """Is wrong settings, not a crash."""
    (tmp_path / "bad.pem").write_text("no certificate")
    config.write_text(config.read_text() + f'[http]\nlisten = "127.0.0.1:0"\ncertificate = "{tmp_path}/bad.pem"\n')
    done = esfeed("run", config=config)
    assert done.returncode == 2
    assert "http.certificate" in done.stderr
    assert "Traceback" not in done.stderr
