"""Who may come in: by esfeed's tokens, by OpenStack's, and from this very machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from esfeed.errors import ConfigError
from esfeed.model.tokens import Token, digest
from esfeed.store.tokens import SqlTokens
from esfeed.testing.events import sample_event
from tests.support.clients import eventually
from tests.web.conftest import Open
from tests.web.keystone import Keystone, keystone
from tests.web.support import Desk

CLOSED = 'anonymous = "never"'


def test_on_this_machine_nobody_needs_a_token(desk: Desk) -> None:
    """Whoever asks by this machine's own name sees all."""
    assert desk.get("/v1/me").json() == {"name": "local", "tenant": None, "admin": True}


def test_where_the_settings_say_never_everybody_does(open_desk: Open) -> None:
    """Health is told to anybody all the same, and the page on which to sign in."""
    desk = open_desk(CLOSED)
    for path in ("/v1/me", "/v1/changes", "/v1/status", "/v1/dead", "/metrics"):
        answer = desk.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/", "/demo/instances", "/static/esfeed.css", "/healthz", "/v1/openapi.json"):
        assert desk.get(path).status_code == 200, path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "attacker.example:8460"}, 401),
        ({"host": ""}, 401),
        ({"x-forwarded-for": "203.0.113.7"}, 401),
        ({"forwarded": "for=203.0.113.7"}, 401),
        ({"via": "1.1 proxy"}, 401),
        ({"origin": "https://attacker.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:1"}, 200),
        # An origin of `cors` is no identity.
        ({"origin": "https://horizon.example.org", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://horizon.example.org"}, 403),
        ({"host": "evil@127.0.0.1"}, 401),
        ({"host": "127.0.0.1#evil"}, 401),
        ({"host": "127.0.0.1/evil"}, 401),
        ({"host": "127.0.0.1?evil"}, 401),
        ({"host": "[::1]evil"}, 401),
        ({"host": "127.0.0.1:80:80"}, 401),
        ({"x-auth-token": ""}, 401),
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer"}, 401),
    ],
)
def test_what_comes_through_a_proxy_or_a_page_is_not_this_machine(
    open_desk: Open, headers: dict[str, str], status: int
) -> None:
    """A rebound name, a reverse proxy and a foreign page all come from a loopback address, too."""
    desk = open_desk('cors = ["https://horizon.example.org"]')
    assert desk.get("/v1/changes", headers=headers).status_code == status


def test_beyond_loopback_nobody_is_anonymous(open_desk: Open) -> None:
    """Who comes from an address of a network needs a token, whatever name it asks for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
    assert not address.startswith("127.")
    desk = open_desk()
    settings = desk._config.http
    assert settings is not None
    desk.stop()
    desk.url = f"http://{address}:{urlsplit(desk.url).port}"
    desk.start()
    assert desk.get("/v1/me", headers={"host": "localhost"}).status_code == 401
    assert desk.get("/v1/me", desk.token("p1")).json()["tenant"] == "p1"


def test_tokens(open_desk: Open) -> None:
    """A tenant's, an administrator's, one that has expired, and none at all."""
    desk = open_desk(CLOSED)
    assert desk.get("/v1/me", desk.token("p1", name="one")).json() == {
        "name": "token one",
        "tenant": "p1",
        "admin": False,
    }
    assert desk.get("/v1/me", desk.token(admin=True)).json()["admin"] is True
    soon = desk.token("p1", expires=int(time.time()) + 2)
    assert desk.get("/v1/me", soon).status_code == 200
    eventually(lambda: desk.get("/v1/me", soon).status_code == 401)
    for wrong in ("esfeed_wrong", "x" * 9000, "söme", "a b"):
        answer = desk.get("/v1/me", headers={"authorization": f"Bearer {wrong}".encode()})  # type: ignore[dict-item]
        assert answer.status_code == 401, wrong
    assert desk.get("/v1/me", headers={"authorization": "Basic YTpi"}).status_code == 401
    assert desk.get("/v1/me", headers={"authorization": "bearer " + desk.token("p2")}).json()["tenant"] == "p2"


def test_the_state_has_no_token_in_it(desk: Desk) -> None:
    """Who reads the database can pass for nobody."""
    made = desk.token("p1")
    assert desk.get("/v1/me", made).status_code == 200
    desk.stop()
    folder = Path(desk.app.lock.path).parent
    whole = b"".join(file.read_bytes() for file in folder.iterdir())
    assert digest(made).encode() in whole
    assert made.encode() not in whole
    assert made.removeprefix("esfeed_").encode() not in whole


def test_a_wrong_token_on_this_machine_is_not_anonymous(desk: Desk) -> None:
    """Who shows a token is who it says; a mistaken one must not open more than the right one would."""
    assert desk.get("/v1/me", "esfeed_wrong").status_code == 401


def test_a_token_that_is_removed_or_expires_ends_its_streams(open_desk: Open) -> None:
    """Within a heartbeat, whether anything happens on them or not."""
    desk = open_desk(f'{CLOSED}\nheartbeat = "200ms"')
    removed, expiring = desk.token("p1", name="gone"), desk.token("p1", expires=int(time.time()) + 2)
    with desk.stream(removed) as one, desk.stream(expiring) as two, desk.stream(desk.token("p1")) as three:
        time.sleep(0.5)
        assert not one.ended.is_set()
        desk.app.store.tokens.remove("gone")
        assert one.ended.wait(5)
        assert two.ended.wait(5)
        assert not three.ended.is_set()
    assert desk.get("/v1/me", removed).status_code == 401


def test_a_token_of_the_same_name_is_another(open_desk: Open) -> None:
    """What a stream or a long poll holds on to is its own token: never another tenant's, added under that name."""
    desk = open_desk(f'{CLOSED}\nheartbeat = "400ms"')
    old = desk.token("p1", name="shared")
    with ThreadPoolExecutor(1) as pool, desk.stream(old, since=0) as stream:
        waiting = pool.submit(desk.get, "/v1/changes", old, feed="longpoll", timeout=60, since=0)
        eventually(lambda: desk.server.metrics.reading() == {"longpoll": 1, "eventsource": 1})
        assert desk.app.store.tokens.remove("shared")
        new = desk.token("p2", name="shared")
        assert desk.get("/v1/me", new).json() == {"name": "token shared", "tenant": "p2", "admin": False}
        assert stream.ended.wait(60)
        assert waiting.result(60).status_code == 401
        desk.put(sample_event(op="created", doc_id="a", after={"project_id": "p2"}))
    assert stream.events == []
    assert [event["data"]["id"] for event in desk.get("/v1/changes", new).json()["events"]] == ["a"]


def test_a_tenant_does_not_learn_which_watches_there_are(open_desk: Open) -> None:
    """One of another's and one of nobody's are answered alike; an administrator is told of a mistake."""
    desk = open_desk(CLOSED)
    tenant, admin = desk.token("p1"), desk.token(admin=True)
    answers = [desk.get("/v1/changes", tenant, watch=name) for name in ("images", "nothing")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text
    assert desk.get("/v1/changes", admin, watch="nothing").status_code == 400


def test_two_tenants_see_each_their_own(open_desk: Open) -> None:
    """In pages and in streams, in the user's view; what is nobody's is the administrator's."""
    desk = open_desk(CLOSED)
    one, two, admin = desk.token("p1"), desk.token("p2"), desk.token(admin=True)
    with desk.stream(one, since=0) as first, desk.stream(two, since=0) as second:
        for number in range(3):
            for project in ("p1", "p2"):
                for view in ("admin", "user"):
                    host = {"host": "node-1"} if view == "admin" else {}
                    after = {"project_id": project, "number": number, **host}
                    desk.put(sample_event(op="created", doc_id=f"{project}{number}", view=view, after=after))  # type: ignore[arg-type]
        desk.put(sample_event(op="created", doc_id="common", after={"name": "m1.small"}))
        eventually(lambda: len(first.events) == len(second.events) == 3)
        time.sleep(0.3)
        for stream, project in ((first, "p1"), (second, "p2")):
            assert {event["data"]["after"]["project_id"] for event in stream.events} == {project}
            assert not any("host" in event["data"]["after"] for event in stream.events)
    pages = {token: desk.get("/v1/changes", token).json()["events"] for token in (one, two, admin)}
    assert [len(pages[token]) for token in (one, two, admin)] == [3, 3, 7]
    assert {event["data"]["after"].get("project_id") for event in pages[one]} == {"p1"}
    assert all("host" in event["data"]["after"] for event in pages[admin] if event["data"]["id"] != "common")
    # No filter and no view gets a tenant past its own.
    assert desk.get("/v1/changes", one, view="admin").status_code == 403
    assert desk.get("/v1/changes", one, where="after.project_id == 'p2'").json()["events"] == []
    assert desk.get("/v1/changes", one, id="p20").json()["events"] == []
    for path in ("/v1/status", "/v1/dead", "/metrics"):
        assert desk.get(path, one).status_code == 403, path
    assert (
        desk.client.post(
            f"{desk.url}/v1/redrive", json={"sink": "audit"}, headers={"authorization": f"Bearer {one}"}
        ).status_code
        == 403
    )


def test_what_tenants_may_not_see(open_desk: Open) -> None:
    """Fields that the settings keep from them are nowhere in their events, nor to be found out by a condition."""
    desk = open_desk(f'{CLOSED}\nfields = ["-secret"]\n[[http.redact]]\nfields = ["ip"]\naction = "mask"\n')
    one, admin = desk.token("p1"), desk.token(admin=True)
    first = {"project_id": "p1", "name": "a", "secret": "s3cret", "ip": "192.0.2.7"}
    second = {**first, "secret": "n3w"}
    third = {**second, "name": "b"}
    desk.put(
        sample_event(op="created", after=first),
        sample_event(before=first, after=second, changed=("secret",)),
        sample_event(before=second, after=third, changed=("name",)),
    )
    answer = desk.get("/v1/changes", one)
    assert [event["data"]["position"] for event in answer.json()["events"]] == [1, 3]
    for word in ("s3cret", "n3w", "192.0.2.7", '"secret"'):
        assert word not in answer.text
    for condition in ("after.secret == 's3cret'", "has(after.secret)", "after.ip == '192.0.2.7'"):
        assert desk.get("/v1/changes", one, where=condition).json()["events"] == []
    assert len(desk.get("/v1/changes", admin, where="has(after.secret)").json()["events"]) == 3


def test_too_many_requests(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One caller's flood is its own: it is told how long to wait, and others come through."""
    desk = open_desk(f"{CLOSED}\nrequests_per_second = 1.0")
    flood, calm = desk.token("p1"), desk.token("p2")
    began = time.monotonic()
    answers = [desk.get("/v1/me", flood) for _ in range(20)]
    passed = sum(answer.status_code == 200 for answer in answers)
    assert 2 <= passed <= 3 + (time.monotonic() - began)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert desk.get("/v1/me", calm).status_code == 200
    # Who guesses at tokens is held up all the same.
    looked_up: list[str] = []

    def find(tokens: SqlTokens, mark: str) -> Token | None:
        looked_up.append(mark)
        return found(tokens, mark)

    found = SqlTokens.find
    monkeypatch.setattr(SqlTokens, "find", find)
    refused_to = [desk.get("/v1/me", f"esfeed_{guess}").status_code for guess in range(20)]
    assert {*refused_to} == {401, 429}
    # And costs no look into the state for more guesses than are answered.
    assert len(looked_up) == refused_to.count(401)
    # Who was let in before comes through, from the same address (of a proxy).
    assert desk.get("/v1/me", calm).status_code == 200
    time.sleep(1.2)
    assert desk.get("/v1/me", flood).status_code == 200


def test_readers_that_come_back_at_once_are_let_in(open_desk: Open) -> None:
    """As after a restart: many more streams in one moment than requests, of one caller; a flood of them is not."""
    desk = open_desk("requests_per_second = 1.0\nreaders = 12")
    with ExitStack() as stack:
        streams = [stack.enter_context(desk.stream(since=0)) for _ in range(12)]
        assert {stream.status for stream in streams} == {200}
    answers = [desk.get("/v1/changes", feed="eventsource", since=99).status_code for _ in range(6)]
    assert 429 in answers


def test_cors_is_by_list(open_desk: Open) -> None:
    """A listed origin may read and say who it is; another gets no leave, and none is given to everybody."""
    desk = open_desk('cors = ["https://horizon.example.org"]')
    ask = {"access-control-request-method": "GET", "access-control-request-headers": "x-auth-token, last-event-id"}
    good = desk.client.options(f"{desk.url}/v1/changes", headers={"origin": "https://horizon.example.org", **ask})
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == "https://horizon.example.org"
    bad = desk.client.options(f"{desk.url}/v1/changes", headers={"origin": "https://attacker.example", **ask})
    assert "access-control-allow-origin" not in bad.headers
    token = {"authorization": f"Bearer {desk.token('p1')}"}
    answer = desk.get("/v1/changes", headers={"origin": "https://horizon.example.org", **token})
    assert answer.headers["access-control-allow-origin"] == "https://horizon.example.org"
    foreign = desk.get("/v1/changes", headers={"origin": "https://attacker.example", **token})
    assert "access-control-allow-origin" not in foreign.headers


def test_every_answer_has_the_safety_headers(desk: Desk) -> None:
    """Pages, JSON, refusals and what is not there."""
    for path in ("/", "/static/api.js", "/v1/me", "/nothing", "/v1/changes?since=x", "/metrics"):
        headers = desk.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_a_form_of_another_page_can_change_nothing(desk: Desk) -> None:
    """What a browser sends unasked is refused: another type of content, another origin."""
    url, body = f"{desk.url}/v1/redrive", '{"sink": "audit"}'
    assert desk.client.post(url, content=body, headers={"content-type": "text/plain"}).status_code == 415
    headers = {"content-type": "application/json", "origin": "https://attacker.example"}
    assert desk.client.post(url, content=body, headers=headers).status_code == 403


def test_no_file_but_the_pages_own_is_served(desk: Desk) -> None:
    """No path leads out of the folder."""
    for name in ("../site.py", "..%2fsite.py", "%2e%2e/site.py", "", "nothing.js", "/etc/passwd"):
        raw = desk.client.get(f"{desk.url}/static/{name}")
        assert raw.status_code == 404, name


@pytest.fixture
def openstack() -> Iterator[Keystone]:
    with keystone("s3cret") as found:
        yield found


def _openstack(found: Keystone, password: str = "s3cret") -> str:
    return (
        f'{CLOSED}\n[http.keystone]\nauth_url = "{found.url}"\nusername = "esfeed"\npassword = "{password}"\n'
        'admin_roles = ["cloud_admin"]\ncache = "3s"\n'
    )


def test_openstacks_tokens(open_desk: Open, openstack: Keystone) -> None:
    """A project's token sees that project; a role of the list sees all; what Keystone does not know is refused."""
    desk = open_desk(_openstack(openstack))
    openstack.give("gAAAA-one", "p1", "member")
    openstack.give("gAAAA-boss", "ops", "cloud_admin")
    openstack.give("gAAAA-unscoped", None)
    openstack.give("gAAAA-old", "p1", "member", seconds=-5)
    desk.put(
        sample_event(op="created", doc_id="a", after={"project_id": "p1"}),
        sample_event(op="created", doc_id="b", after={"project_id": "p2"}),
    )

    def ask(token: str) -> httpx.Response:
        return desk.get("/v1/changes", headers={"x-auth-token": token})

    assert [event["data"]["id"] for event in ask("gAAAA-one").json()["events"]] == ["a"]
    assert [event["data"]["id"] for event in ask("gAAAA-boss").json()["events"]] == ["a", "b"]
    for token in ("gAAAA-unscoped", "gAAAA-old", "gAAAA-unknown"):
        assert ask(token).status_code == 401, token
    assert desk.get("/v1/me", headers={"x-auth-token": "gAAAA-one"}).json()["tenant"] == "p1"


def test_keystone_is_asked_once_in_a_while(open_desk: Open, openstack: Keystone) -> None:
    """Its answer holds as long as the settings say; a token that was revoked is refused after that."""
    desk = open_desk(_openstack(openstack))
    openstack.give("gAAAA", "p1", "member")
    for _ in range(5):
        assert desk.get("/v1/me", headers={"x-auth-token": "gAAAA"}).status_code == 200
    assert openstack.asked.count("gAAAA") == 1
    del openstack.tokens["gAAAA"]
    eventually(lambda: desk.get("/v1/me", headers={"x-auth-token": "gAAAA"}).status_code == 401, seconds=8)


def test_keystone_is_asked_directly(open_desk: Open, openstack: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment gets neither the password nor tokens: over it, no request would have a deadline."""
    desk = open_desk(_openstack(openstack))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    openstack.give("gAAAA-one", "p1", "member")
    assert desk.get("/v1/me", headers={"x-auth-token": "gAAAA-one"}).json()["tenant"] == "p1"


def test_a_token_that_keystone_revokes_ends_its_readers(open_desk: Open, openstack: Keystone) -> None:
    """Streams and long polls, within a heartbeat, however long an answer is trusted for what is asked anew."""
    desk = open_desk('heartbeat = "400ms"\n' + _openstack(openstack).replace('"3s"', '"1h"'))
    openstack.give("gAAAA", "p1", "member")
    own = {"x-auth-token": "gAAAA"}
    with ThreadPoolExecutor(2) as pool:
        waits = [
            pool.submit(desk.get, "/v1/changes", headers=own, feed=feed, timeout=60, since=0)
            for feed in ("longpoll", "eventsource")
        ]
        eventually(lambda: desk.server.metrics.reading() == {"longpoll": 1, "eventsource": 1})
        asked = len(openstack.asked)
        eventually(lambda: len(openstack.asked) > asked + 2)
        assert not any(wait.done() for wait in waits)
        del openstack.tokens["gAAAA"]
        assert waits[0].result(60).status_code == 401
        assert waits[1].result(60).text.startswith("retry:")


def test_a_keystone_that_does_not_answer_is_not_a_wrong_token(open_desk: Open, openstack: Keystone) -> None:
    """503, to be tried again; neither that nor a wrong password of esfeed's own lets anybody in."""
    desk = open_desk(_openstack(openstack))
    openstack.give("gAAAA", "p1", "member")
    openstack.down = True
    answer = desk.get("/v1/me", headers={"x-auth-token": "gAAAA"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    openstack.down = False
    assert desk.get("/v1/me", headers={"x-auth-token": "gAAAA"}).status_code == 200
    wrong = open_desk(_openstack(openstack, password="wrong"))
    refused = wrong.get("/v1/me", headers={"x-auth-token": "gAAAA"})
    assert refused.status_code == 503
    assert "wrong" not in refused.text


@pytest.mark.parametrize(
    "odd", [[], "x", 7, {"roles": "x"}, {"roles": [7]}, {"project": "p1"}, {"expires_at": "soon"}, {"expires_at": 5}]
)
def test_a_keystone_that_answers_something_else_lets_nobody_in(open_desk: Open, openstack: Keystone, odd: Any) -> None:
    """And is told apart from a wrong token."""
    desk = open_desk(_openstack(openstack))
    openstack.tokens["gAAAA"] = odd if not isinstance(odd, dict) else {"project": {"id": "p1"}, **odd}
    assert desk.get("/v1/me", headers={"x-auth-token": "gAAAA"}).status_code == 503


def test_without_the_section_openstacks_tokens_are_refused(desk: Desk) -> None:
    """Also on this machine: who shows a token is who it says."""
    assert desk.get("/v1/me", headers={"x-auth-token": "gAAAA"}).status_code == 401


# --- without a token


ASKED = ("/v1/me", "/v1/changes", "/v1/status", "/metrics")


def test_nobody_is_anonymous_unless_the_settings_say_so(open_desk: Open) -> None:
    """By default, whatever seems to be on this machine; a proxy there may bring the whole world."""
    desk = open_desk('listen = "127.0.0.1:0" # anonymous is left out')
    for path in ASKED:
        assert desk.get(path).status_code == 401, path


def test_a_link_lets_one_browser_in_once(open_desk: Open) -> None:
    """It keeps a cookie that no script reads and no other site sends; who finds the link later gets nothing."""
    desk = open_desk(CLOSED)
    link = desk.server.link()
    with httpx.Client(follow_redirects=False) as browser:
        entered = browser.get(link)
        assert entered.status_code == 303
        assert entered.headers["location"] == "/"
        kept = entered.headers["set-cookie"].lower()
        assert "httponly" in kept
        assert "samesite=strict" in kept
        assert browser.get(f"{desk.url}/v1/me").json() == {"name": "local", "tenant": None, "admin": True}
        for headers in ({"origin": "https://attacker.example"}, {"sec-fetch-site": "cross-site"}):
            assert browser.get(f"{desk.url}/v1/me", headers=headers).status_code == 403
            assert browser.post(f"{desk.url}/v1/redrive", headers=headers, json={}).status_code == 403
    again = httpx.get(link)
    assert again.status_code == 401
    assert "set-cookie" not in again.headers
    assert httpx.get(f"{desk.url}/enter?once=").status_code == 401
    assert httpx.get(f"{desk.url}/v1/me", cookies={f"esfeed-{urlsplit(desk.url).port}": "x"}).status_code == 401


def test_a_link_and_a_cookie_end(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link within minutes, a cookie within a day."""
    desk = open_desk(CLOSED)
    monkeypatch.setattr("esfeed.web.identity.LINK_WITHIN", -1.0)
    assert httpx.get(desk.server.link()).status_code == 401
    monkeypatch.setattr("esfeed.web.identity.LINK_WITHIN", 60.0)
    monkeypatch.setattr("esfeed.web.identity._VISIT", -1.0)
    with httpx.Client() as browser:
        browser.get(desk.server.link())
        assert browser.get(f"{desk.url}/v1/me").status_code == 401


def test_a_socket_goes_by_the_mode_of_its_file(open_desk: Open, tmp_path: Path) -> None:
    """Its owner and group; what a dead process left there is no hindrance, a living one is."""
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    desk = open_desk(f'listen = "unix:{path}"')
    assert path.stat().st_mode & 0o777 == 0o660
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://esfeed") as client:
        assert client.get("/v1/me").json()["name"] == "local"
        assert client.get("/v1/me", headers={"x-forwarded-for": "203.0.113.7"}).status_code == 401
        assert client.get("/v1/me", headers={"origin": "https://attacker.example"}).status_code == 403
    assert desk.server.url == f"unix:{path}"
    assert desk.server.link() == ""
    with pytest.raises(ConfigError, match="another process listens there"):
        open_desk(f'listen = "unix:{path}"')
