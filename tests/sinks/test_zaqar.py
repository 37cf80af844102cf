"""The Zaqar sink, against a real Zaqar on Redis; a fake answers only what the real one cannot be made to say."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

import esfeed
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import Sink
from esfeed.sinks.zaqar.settings import ZaqarSettings, legal
from esfeed.sinks.zaqar.sink import ZaqarSink, body
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import Received, SinkContract
from tests.support.proxy import Proxy, answer, cut_after, cut_before, hold
from tests.support.stack import Stack
from tests.support.zaqar import Consumer

KEYS = {"auth": "noauth", "project": "p1", "queue": "changes"}
LOGIN = {"username": "esfeed", "password": "esfeed-password"}


@pytest.fixture(scope="session")
def zaqar() -> Iterator[Stack]:
    """A Zaqar and its Redis, for this worker alone: tests end and start it."""
    stack = Stack(f"zq-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}").up("zaqar", "zaqar-keystone")
    yield stack
    stack.down()


@pytest.fixture
def project() -> str:
    """A project that nobody has used yet."""
    return secrets.token_hex(16)


def make(stack: Stack, **keys: Any) -> ZaqarSink:
    """A sink at the Zaqar without keystone."""
    return ZaqarSink(ZaqarSettings(**{**KEYS, "url": stack.record["zaqar"], **keys}))


def with_keystone(stack: Stack, **keys: Any) -> ZaqarSink:
    """A sink at the Zaqar that asks keystone; its address is in the catalog."""
    return ZaqarSink(ZaqarSettings(**{"queue": "changes", "auth_url": stack.record["keystone"], **LOGIN, **keys}))


def events(count: int, size: int = 10, **keys: Any) -> list[Event]:
    """That many, each of a document of its own with that many bytes."""
    return [
        sample_event(position=n, doc_id=f"d{n}", after={"blob": "x" * size, **keys}, before={})
        for n in range(1, count + 1)
    ]


def ids(messages: list[Any]) -> list[str]:
    return [message["id"] for message in messages]


class TestContract(SinkContract):
    """The contract, on the real Zaqar without keystone; broken is: killed."""

    patience = 30.0
    part = "zaqar"

    @pytest.fixture(autouse=True)
    def _target(self, zaqar: Stack, project: str) -> Iterator[None]:
        self.stack = zaqar
        self.project = project
        with Proxy(zaqar.record[self.part]) as self.proxy:
            yield

    def make_sink(self) -> Sink:
        return make(self.stack, project=self.project, url=self.proxy.url)

    def refuse(self, doc_ids: Collection[str]) -> None:
        """Zaqar refuses a whole post for one message, so the sink has to find which."""
        words = [json.dumps(doc_id).encode() for doc_id in doc_ids]

        def act(request: Any, forward: Any) -> Any:
            found = any(b'"id":' + word in request.body for word in words)
            return (
                answer(400, {"title": "no", "description": "as asked"})(request, forward) if found else forward(request)
            )

        self.proxy.on(r"POST ", act, times=1_000_000)

    def received(self) -> Received:
        found = Consumer(self.stack.record["zaqar"], self.project).messages("changes")
        return [(event["id"], event["data"]["position"]) for event in found]

    def break_target(self) -> None:
        self.stack.kill("zaqar")

    def restore_target(self) -> None:
        self.proxy.reset()
        self.stack.up("zaqar")


class TestContractWithKeystone(TestContract):
    """The contract with keystone's tokens."""

    part = "zaqar_keystone"

    def make_sink(self) -> Sink:
        return with_keystone(self.stack, project=self.project, url=self.proxy.url)

    def received(self) -> Received:
        found = consumer(self.stack, self.project).messages("changes")
        return [(event["id"], event["data"]["position"]) for event in found]

    def break_target(self) -> None:
        self.stack.kill("zaqar-keystone")

    def restore_target(self) -> None:
        self.proxy.reset()
        self.stack.up("zaqar-keystone")


def consumer(stack: Stack, project: str) -> Consumer:
    """A tenant with a token of its own."""
    options = {f"os_{key}": value for key, value in LOGIN.items()}
    options |= {"os_auth_url": stack.record["keystone"], "os_project_id": project}
    options |= {"os_user_domain_name": "Default", "os_project_domain_name": "Default"}
    return Consumer(stack.record["zaqar_keystone"], project, {"backend": "keystone", "options": options})


def test_each_tenant_has_its_queue_in_its_project(zaqar: Stack, project: str) -> None:
    """A queue of a project holds that project's events alone, and no other project sees the queue."""
    sink = make(zaqar, project="{project_id}", queue="changes-{project_id}")
    tenants = [project, secrets.token_hex(16)]
    sent = [sample_event(position=n, doc_id=str(n), after={"project_id": tenants[n % 2]}) for n in range(40)]
    assert all(outcome.ok for outcome in sink.send(sent))
    for number, tenant in enumerate(tenants):
        reader = Consumer(zaqar.record["zaqar"], tenant)
        assert reader.queues() == [f"changes-{tenant}"]
        assert ids(reader.messages(f"changes-{tenant}")) == [event.id for event in sent[number::2]]


def test_keystone_project_by_project(zaqar: Stack, project: str) -> None:
    """With keystone each project's messages go with a token of that project; the catalog says where to."""
    sink = with_keystone(zaqar, project="{project_id}", queue="mine")
    sink.open()
    tenants = [project, secrets.token_hex(16)]
    sent = [sample_event(position=n, doc_id=str(n), after={"project_id": tenants[n % 2]}) for n in range(4)]
    assert all(outcome.ok for outcome in sink.send(sent))
    for number, tenant in enumerate(tenants):
        assert ids(consumer(zaqar, tenant).messages("mine")) == [event.id for event in sent[number::2]]


def test_a_token_instead_of_a_password(zaqar: Stack, project: str) -> None:
    """A token is enough to get one for the project that a message is for."""
    from keystoneauth1 import session
    from keystoneauth1.identity import v3

    first = v3.Password(zaqar.record["keystone"], **LOGIN, user_domain_name="Default", unscoped=True)
    keys = {"username": None, "password": None, "token": session.Session(first).get_token()}
    sink = with_keystone(zaqar, project=project, **keys)
    sink.open()
    assert sink.send(events(1))[0].ok


def test_clouds_yaml(zaqar: Stack, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud of clouds.yaml says how to get in, for its own project or for any."""
    path = tmp_path / "clouds.yaml"
    login = {"auth_url": zaqar.record["keystone"], **LOGIN, "project_id": project, "user_domain_name": "Default"}
    path.write_text(json.dumps({"clouds": {"mine": {"auth": login, "region_name": "RegionOne"}}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    keys = {"cloud": "mine", "queue": "changes", "auth": "keystone"}
    other = secrets.token_hex(16)
    for more in ({}, {"project": other}):
        sink = ZaqarSink(ZaqarSettings(**keys, **more))
        sink.open()
        assert sink.send(events(1))[0].ok
    assert len(consumer(zaqar, project).messages("changes")) == 1
    assert len(consumer(zaqar, other).messages("changes")) == 1
    with pytest.raises(ConfigError, match="cloud"):
        ZaqarSink(ZaqarSettings(**{**keys, "cloud": "none"})).open()


def test_wrong_credentials_are_told_before_anything_is_sent(zaqar: Stack) -> None:
    """The password is in no word of it."""
    sink = with_keystone(zaqar, project_name="service", password="hunter2-wrong")
    with pytest.raises(ConfigError, match="auth_url") as told:
        sink.open()
    assert "hunter2" not in str(told.value)
    assert "hunter2" not in repr(sink._settings)


def test_tokens_taken_back_are_replaced(zaqar: Stack, project: str) -> None:
    """A token that keystone knows no more costs a retry, and no event."""
    sink = with_keystone(zaqar, project=project)
    sent = events(3)
    assert sink.send(sent[:1])[0].ok
    zaqar.stand_in("DELETE", "/_stand-in/tokens")
    outcomes = sink.send(sent[1:])
    assert [outcome.kind for outcome in outcomes] == ["retry", "retry"]
    assert "401" in outcomes[0].reason
    all_in_the_end(sink, sent[1:])
    assert ids(consumer(zaqar, project).messages("changes"))[-2:] == [event.id for event in sent[1:]]


def test_keystone_down_or_failing(zaqar: Stack, project: str) -> None:
    """Without a token nothing is sent, nothing is lost."""
    zaqar.stand_in("PUT", "/_stand-in/failures/v3/auth/tokens", {"status": 503, "times": 1})
    sink = with_keystone(zaqar, project=project)
    outcomes = sink.send(events(3))
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [("retry", True), *[("retry", False)] * 2]
    assert "keystone" in outcomes[0].reason
    assert all(outcome.ok for outcome in sink.send(events(3)))


def test_many_to_a_request_by_size(zaqar: Stack, project: str) -> None:
    """300 events of 3 kB are four requests at most, and arrive in order."""
    with Proxy(zaqar.record["zaqar"]) as proxy:
        sink = make(zaqar, project=project, url=proxy.url)
        sent = events(300, 3000)
        assert all(outcome.ok for outcome in sink.send(sent))
        posts = [request for request in proxy.seen if request.method == "POST"]
    assert 3 <= len(posts) <= 5
    assert max(len(request.body) for request in posts) <= 262_144
    assert ids(Consumer(zaqar.record["zaqar"], project).messages("changes")) == [event.id for event in sent]


def test_the_largest_that_goes(zaqar: Stack, project: str) -> None:
    """To the byte: what has 262,144 with all around it is taken, one more is rejected and told how big it is."""
    sink = make(zaqar, project=project)
    frame = len(sink._encode(events(1, 0)[0])) + len('{"messages":[{"ttl":86400,"body":}]}')
    (fits,), (over,) = events(1, 262_144 - frame), events(1, 262_144 - frame + 1)
    outcomes = sink.send([fits, over])
    assert outcomes[0].ok
    assert outcomes[1].kind == "rejected"
    assert "262,145 bytes" in outcomes[1].reason
    assert sink._settings.ttl == 86_400


def test_queue_limit_lowered(zaqar: Stack, project: str) -> None:
    """A queue that takes less gets less at a time; what is too big for it is named, others are not held up."""
    reader = Consumer(zaqar.record["zaqar"], project)
    sink = make(zaqar, project=project)
    assert sink.send(events(1))[0].ok
    reader.limit("changes", 4096)
    sent = [*events(30, 300), *events(31, 5000)[30:], *events(60, 300)[31:]]
    outcomes = sink.send(sent)
    assert [place for place, outcome in enumerate(outcomes) if not outcome.ok] == [30]
    assert outcomes[30].kind == "rejected"
    assert "limit of queue changes is 4,096" in outcomes[30].reason
    assert ids(reader.messages("changes"))[1:] == [event.id for event in sent if event is not sent[30]]
    reader.limit("changes", 262_144)
    assert sink.send(sent[30:31])[0].ok, "the limit was raised, which is asked for before anything is rejected"


def test_redis_flushed(zaqar: Stack, project: str) -> None:
    """Queues that are gone are made anew; what comes after is there."""
    sink = make(zaqar, project=project)
    assert all(outcome.ok for outcome in sink.send(events(5)))
    zaqar.flush_redis()
    later = events(9)[5:]
    assert all(outcome.ok for outcome in sink.send(later))
    assert ids(Consumer(zaqar.record["zaqar"], project).messages("changes")) == [event.id for event in later]


def test_redis_killed_and_back(zaqar: Stack, project: str) -> None:
    """Zaqar without its storage is slow to say so, and is not waited for; nothing that it took is gone."""
    sent = events(10)
    with Proxy(zaqar.record["zaqar"]) as proxy:
        sink = make(zaqar, project=project, url=proxy.url, timeout="2s")
        assert all(outcome.ok for outcome in make(zaqar, project=project).send(sent[:5]))
        zaqar.kill("redis")
        outcomes = sink.send(sent[5:])
        assert {outcome.kind for outcome in outcomes} == {"retry"}
        assert [outcome.tried for outcome in outcomes] == [True, *[False] * 4]
        assert outcomes[0].reason == "zaqar: no complete answer within 2 s"
        assert len(proxy.lines()) == 1
    zaqar.up("redis")
    all_in_the_end(make(zaqar, project=project), sent[5:])
    found = list(dict.fromkeys(ids(Consumer(zaqar.record["zaqar"], project).messages("changes"))))
    assert found == [event.id for event in sent], "each at least once, in order"


def all_in_the_end(sink: ZaqarSink, sent: list[Event], tries: int = 5) -> None:
    """Sends until all are taken. At its first tries, Zaqar itself may still have a token or connection that is gone."""
    outcomes = sink.send(sent)
    while not all(outcome.ok for outcome in outcomes):
        tries -= 1
        assert tries, outcomes
        outcomes = sink.send(sent)


def test_killed_and_back(zaqar: Stack, project: str) -> None:
    """While it is away the first event is tried, all others wait; back again, all arrive once in order."""
    sink = make(zaqar, project=project)
    sent = events(20)
    assert all(outcome.ok for outcome in sink.send(sent[:5]))
    zaqar.kill("zaqar")
    outcomes = sink.send(sent[5:])
    assert [outcome.kind for outcome in outcomes] == ["retry"] * 15
    assert [outcome.tried for outcome in outcomes] == [True, *[False] * 14]
    with pytest.raises(Retryable):
        sink.open()
    zaqar.up("zaqar")
    sink.open()
    assert all(outcome.ok for outcome in sink.send(sent[5:]))
    assert ids(Consumer(zaqar.record["zaqar"], project).messages("changes")) == [event.id for event in sent]


def test_the_order_of_a_document_that_moves_between_queues(zaqar: Stack, project: str) -> None:
    """What its first queue does not take now, its second one does not get before."""
    with Proxy(zaqar.record["zaqar"]) as proxy:
        sink = make(zaqar, project=project, url=proxy.url, queue="q-{name}")
        moving = [sample_event(position=n, doc_id="one", after={"name": name}) for n, name in enumerate("ab")]
        other = sample_event(position=5, doc_id="two", after={"name": "b"})
        proxy.on(r"POST /v2/queues/q-a/", answer(403))
        outcomes = sink.send([other, *moving])
        assert [outcome.kind for outcome in outcomes] == ["ok", "retry", "retry"]
        assert [outcome.tried for outcome in outcomes] == [True, True, False]
        proxy.on(r"POST /v2/queues/q-a/", cut_before(), times=9)
        outcomes = sink.send([other, *moving])
        assert [outcome.kind for outcome in outcomes] == ["retry", "retry", "retry"]
        assert [outcome.tried for outcome in outcomes] == [False, True, False]


@pytest.mark.parametrize(
    ("status", "headers", "kinds", "wait"),
    [
        (400, {}, ["rejected", "ok"], None),
        (400, {"retry-after": "7"}, ["rejected", "ok"], None),
        (422, {"retry-after": "7"}, ["rejected", "ok"], None),
        (403, {}, ["retry", "retry"], None),
        (404, {}, ["retry", "retry"], None),
        (302, {"location": "http://other/"}, ["retry", "retry"], None),
        (413, {}, ["rejected", "ok"], None),
        (429, {"retry-after": "7"}, ["retry", "retry"], 7.0),
        (503, {"retry-after": "9"}, ["retry", "retry"], 9.0),
        (500, {}, ["retry", "ok"], None),
        (502, {}, ["retry", "ok"], None),
        (401, {}, ["retry", "retry"], None),
    ],
)
def test_what_answers_mean(
    zaqar: Stack, project: str, status: int, headers: dict[str, str], kinds: list[str], wait: float | None
) -> None:
    """Where one of two may be to blame, each is tried alone; else both get the answer."""
    with Proxy(zaqar.record["zaqar"]) as proxy:
        sink = make(zaqar, project=project, url=proxy.url)
        proxy.on(r"POST ", answer(status, json.dumps({"title": "no", "description": "as asked"}), headers), times=2)
        outcomes = sink.send(events(2))
    assert [outcome.kind for outcome in outcomes] == kinds
    assert outcomes[0].wait == wait
    assert str(status) in outcomes[0].reason
    if status != 302:
        assert "as asked" in outcomes[0].reason


@pytest.mark.parametrize("fault", ["cut before", "cut after", "no answer"])
def test_faults_of_the_connection_end_in_time(zaqar: Stack, project: str, fault: str) -> None:
    """The client has no time-out; the sink has one. One try is enough to know."""
    over = threading.Event()
    actions = {"cut before": cut_before(), "cut after": cut_after(), "no answer": hold(over)}
    with Proxy(zaqar.record["zaqar"]) as proxy:
        sink = make(zaqar, project=project, url=proxy.url, timeout="1s" if fault == "no answer" else "60s")
        proxy.on(r"POST ", actions[fault], times=9)
        outcomes = sink.send(events(3))
        over.set()  # the answer comes after the sink is done
        assert len(proxy.lines("POST ")) == 1
    assert [outcome.kind for outcome in outcomes] == ["retry"] * 3
    assert [outcome.tried for outcome in outcomes] == [True, False, False]
    reason = "no complete answer within 1 s" if fault == "no answer" else "the connection was closed without an answer"
    assert outcomes[0].reason == f"zaqar: {reason}"


@pytest.mark.parametrize("drips", ["zaqar", "keystone"])
def test_a_server_that_drips_ends_in_time(zaqar: Stack, project: str, drips: str) -> None:
    """A byte now and then makes no time-out of the connection's begin anew, neither at Zaqar nor at keystone."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        threading.Thread(target=drip, args=[listening], daemon=True).start()
        keys = {"project": project, "timeout": "1s"}
        sink = make(zaqar, **keys, url=url) if drips == "zaqar" else with_keystone(zaqar, **keys, auth_url=url)
        outcomes = sink.send(events(3))
    # It drips for minutes, and whoever hears it out has another reason.
    assert [outcome.tried for outcome in outcomes] == [True, False, False]
    assert f"{drips}: no complete answer within 1 s" in outcomes[0].reason


def drip(listening: socket.socket) -> None:
    """Takes connections and answers them a byte at a time, for as long as anybody listens."""
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(listening.accept()[0])
            threading.Thread(target=_drip, args=[held[-1]], daemon=True).start()


def _drip(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for char in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000:
            link.sendall(bytes([char]))
            time.sleep(0.2)


def test_good_news_of_another_server_is_none(zaqar: Stack, project: str) -> None:
    """Only 201 says that the messages are kept."""
    with Proxy(zaqar.record["zaqar"]) as proxy:
        proxy.on(r"POST ", answer(200, b"<html>welcome</html>"))
        (outcome,) = make(zaqar, project=project, url=proxy.url).send(events(1))
    assert outcome.kind == "retry"
    assert "200 instead of 201" in outcome.reason


def test_tls(zaqar: Stack, project: str, tmp_path: Path) -> None:
    """A certificate has to be trusted, by the authority that is named, unless it is not to be looked at."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    proxy = Proxy(zaqar.record["zaqar"])
    proxy._server.socket = context.wrap_socket(proxy._server.socket, server_side=True)
    url = proxy.url.replace("http://", "https://")
    with proxy:
        (refused,) = make(zaqar, project=project, url=url).send(events(1))
        assert refused.kind == "retry"
        assert "TLS" in refused.reason
        assert "certificate" in refused.reason
        for keys in ({"ca_certs": str(tmp_path / "ca.pem")}, {"verify_certs": False}):
            sink = make(zaqar, project=project, url=url, **keys)
            sink.open()
            assert sink.send(events(1))[0].ok
        (slow,) = make(zaqar, project=project, url=url, verify_certs=False, timeout="50ms").send(events(1, 200_000))
        assert slow.ok or "no complete answer within 0.05 s" in slow.reason


def test_no_text_for_a_place_is_named(zaqar: Stack, project: str) -> None:
    """An event that belongs to nobody is rejected by name, and holds up no other."""
    sink = make(zaqar, project=project, queue="changes-{project_id}")
    sent = [sample_event(after={"a": 1}), sample_event(position=2, doc_id="o", after={"project_id": "x"})]
    outcomes = sink.send(sent)
    assert [outcome.kind for outcome in outcomes] == ["rejected", "ok"]
    assert "{project_id} is missing" in outcomes[0].reason


DEEP = ["[" * 300 + "]" * 300, '{"a":' * 150 + "1" + "}" * 150]
NUMBERS = ["9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1e999"]


@pytest.mark.parametrize("value", [*NUMBERS, '"\\ud800"', '"\\ud83d\\ude00"', *DEEP, '"9" ', "1.5e3"])
def test_whatever_a_document_holds_arrives(zaqar: Stack, project: str, value: str) -> None:
    """Zaqar cannot keep every JSON value: such an event goes as text, and is whole after it is read."""
    sink = make(zaqar, project=project)
    event = sample_event(after=b'{"value": ' + value.encode() + b"}", before={})
    assert sink.send([event])[0].ok
    (found,) = Consumer(zaqar.record["zaqar"], project).messages("changes")
    assert found["data"]["after"]["value"] == json.loads(value)


def test_sound_events_go_as_objects() -> None:
    """A consumer reads a body as it is; a version of Searchlight's (18 digits) fits."""
    plain = b'{"version": 145857451000000123, "s": "\\u00e4"}'
    assert body(plain) is plain
    assert json.loads(json.loads(body(b'{"v": 18446744073709551616}'))) == {"v": 18446744073709551616}
    largest = b'{"version":1795514400000000001,"id":"4e5-6c41e0aa","n":9223372036854775807,"m":1.5e3,"s":[1]}'
    assert body(largest) is largest


def test_legal_names() -> None:
    """A legal name stays; others keep what they can and stay apart."""
    assert legal("changes-1_A") == "changes-1_A"
    assert legal("q" * 64) == "q" * 64
    odd = ["OS::Nova::Server", "OS__Nova__Server", "a.b", "a/b", "", "q" * 65, "ä" * 70, "\ud800"]
    found = [legal(name) for name in odd]
    assert len(set(found)) == len(odd)
    assert all(0 < len(name) <= 64 and name.replace("-", "a").replace("_", "a").isalnum() for name in found)
    assert all(name.isascii() for name in found)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"url": "http://z:8888/v2"}, 'remove "/v2"'),
        ({"url": "http://u:p@z:8888"}, "remove user"),
        ({"url": "ftp://z"}, "http"),
        ({"url": None}, "needs url"),
        ({"project": None}, "project"),
        ({"username": "u"}, "takes no username"),
        ({"ttl": "30s"}, '"60s" to "14d"'),
        ({"ttl": "15d"}, '"60s" to "14d"'),
        ({"queue": "a{"}, "alone"),
        ({"auth": "keystone"}, "write cloud"),
        ({"auth": "keystone", "auth_url": "http://k/v3", "username": "u"}, "write cloud"),
        ({"auth": "keystone", "cloud": "c", "token": "t"}, "leave out token"),
        ({"auth": "keystone", "auth_url": "http://k", "token": "t", "project": None}, "project_name"),
        ({"max_post_bytes": 10}, "1024"),
    ],
)
def test_settings_that_cannot_work(keys: dict[str, Any], told: str) -> None:
    """Each says what to write instead."""
    with pytest.raises(ValidationError, match=told):
        ZaqarSettings(**{**KEYS, "url": "http://z:8888", **keys})


def test_wrong_address(zaqar: Stack) -> None:
    """What is no Zaqar is told when the sink opens."""
    with pytest.raises(ConfigError, match="404"):
        make(zaqar, url=zaqar.record["zaqar"] + "/elsewhere").open()
    with pytest.raises(ConfigError, match="ca_certs"):
        make(zaqar, ca_certs="/none.pem").open()


def test_zaqarclient_is_imported_in_one_place() -> None:
    """So that another client is another file."""
    root = Path(esfeed.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "zaqarclient" for name in names):
                found.add(str(path.relative_to(root)))
    assert found == {"sinks/zaqar/client.py"}
