"""The NATS sink at a real JetStream: order, repeats, size, restarts, hangs, logins and TLS."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import nats
import nkeys
import pytest
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.nats.settings import NatsSettings, Subject
from esfeed.sinks.nats.sink import NatsSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import REFUSING, Received, SinkContract
from tests.support.disturbance import expected, first_seen, send_through
from tests.support.fixtures_services import Services
from tests.support.services import OwnService, Service

pytestmark = pytest.mark.services("nats")


def make(server: Service, stream: str, **keys: Any) -> NatsSink:
    told = {
        "hosts": [f"127.0.0.1:{server.port}"],
        "stream": stream,
        "subject": stream,
        "user": server.username,
        "password": server.password,
        "create_stream": True,
        "timeout": 10,
        **keys,
    }
    return NatsSink(NatsSettings.model_validate({key: value for key, value in told.items() if value is not None}))


def ask(server: Service, question: Callable[[Any], Awaitable[Any]]) -> Any:
    """What JetStream says, to a client of nats-py's own."""

    async def run() -> Any:
        client = await nats.connect(server.url, user=server.username, password=server.password)
        try:
            return await question(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def create(server: Service, stream: str, **keys: Any) -> None:
    ask(server, lambda js: js.add_stream(StreamConfig(name=stream, **{"subjects": [stream], **keys})))


def messages(server: Service, stream: str) -> list[Any]:
    """What a stream holds, in order."""

    async def all_of(js: Any) -> list[Any]:
        try:
            state = (await js.stream_info(stream)).state
        except NotFoundError:
            return []
        found = []
        for number in range(state.first_seq, state.last_seq + 1) if state.messages else ():
            found.append(await js.get_msg(stream, number))
        return found

    return ask(server, all_of)  # type: ignore[no-any-return]


def positions(server: Service, stream: str) -> list[int]:
    return [json.loads(message.data)["data"]["position"] for message in messages(server, stream)]


@pytest.fixture
def stream() -> str:
    return f"qa-{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def own(module_services: Services) -> OwnService:
    """A server for the tests that stop it."""
    return module_services.own("nats")


@pytest.fixture
def shared(services: Services) -> Service:
    return services("nats")


class TestContract(SinkContract):
    """The contract, at a server that is really stopped and started."""

    patience = 15.0

    @pytest.fixture(autouse=True)
    def _server(self, own: OwnService, stream: str, request: pytest.FixtureRequest) -> Iterator[None]:
        self.own, self.stream, self.down = own, stream, False
        self.subject, self.subjects = stream, [stream]
        if request.function.__name__ in REFUSING:  # a stream refuses by subject, so each document has its own
            self.subject = f"{stream}.{{id}}"
            self.subjects = [f"{stream}.{doc}" for doc in (*(f"doc-{n}" for n in range(7)), "refused")]
            create(own.now, stream, subjects=self.subjects)
        yield
        if self.down:
            self.restore_target()

    def make_sink(self) -> NatsSink:
        return make(self.own.now, self.stream, subject=self.subject, timeout=5)

    def received(self) -> Received:
        found = [json.loads(message.data) for message in messages(self.own.now, self.stream)]
        return [(event["id"], event["data"]["position"]) for event in found]

    def break_target(self) -> None:
        self.own.stop()
        self.down = True

    def restore_target(self) -> None:
        if self.down:
            self.own.start()
            self.down = False
        else:
            self._take(self.subjects)

    def refuse(self, doc_ids: Collection[str]) -> None:
        """The stream takes their subjects no more."""
        left_out = {f"{self.stream}.{doc_id}" for doc_id in doc_ids}
        self._take([subject for subject in self.subjects if subject not in left_out])

    def _take(self, subjects: list[str]) -> None:
        ask(self.own.now, lambda js: js.update_stream(StreamConfig(name=self.stream, subjects=subjects)))


# --- what is written


def test_message(shared: Service, stream: str) -> None:
    """Its id is the event's, its headers are the event's attributes, encoded as HTTP's are."""
    event = sample_event(doc_id='a b"ä\n%')
    sink = make(shared, stream)
    sink.open()
    assert sink.send([event])[0].ok
    sink.close()
    (message,) = messages(shared, stream)
    assert message.headers == {
        "Nats-Msg-Id": event.id,
        "Nats-Expected-Stream": stream,
        "content-type": "application/cloudevents+json",
        "ce-specversion": "1.0",
        "ce-id": event.id,
        "ce-source": "esfeed://main/servers",
        "ce-type": "esfeed.updated",
        "ce-subject": "OS::Nova::Server/a%20b%22%C3%A4%250A%25",  # no attribute may hold a line feed: it was %0A before
        "ce-time": event.time,
    }
    assert json.loads(message.data)["data"]["id"] == 'a b"ä\n%'


def test_repeat_is_dropped_by_the_stream(shared: Service, stream: str) -> None:
    """The same event sent twice, by two sinks, is in the stream once, and ok both times."""
    events = [sample_event(position=n, doc_id=str(n)) for n in (1, 2)]
    for batch in (events, events):
        sink = make(shared, stream)
        sink.open()
        assert all(outcome.ok for outcome in sink.send(batch))
        sink.close()
    assert positions(shared, stream) == [1, 2]


def test_subject_of_a_template(shared: Service, stream: str) -> None:
    """What fills a place stays one level and is no wildcard; the stream is made for all subjects that can come."""
    sink = make(shared, stream, subject=f"{stream}.{{type}}.z-{{zone}}.{{op}}")
    sink.open()
    good = sample_event(position=1, type="a.b*c>d e", after={"zone": "eu"})
    bad = sample_event(position=2, doc_id="other", after={"x": 1})
    outcomes = sink.send([good, bad])
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "rejected"]
    assert "{zone} is missing" in outcomes[1].reason
    (message,) = messages(shared, stream)
    assert message.subject == f"{stream}.a_b_c_d_e.z-eu.updated"


def test_wildcard_takes_in_every_subject() -> None:
    """Levels with a place become ``*``, others stay."""
    subject = Subject("es.{watch}.x{{y}}.{a.b}-{op}")
    assert subject.wildcard == "es.*.x{{y}}.*"
    with pytest.raises(TemplateFailed, match=r"\{a.b\} is missing"):
        subject.render(sample_event())
    assert subject.render(sample_event(after={"a": {"b": "1.2"}})) == "es.servers.x{y}.1_2-updated"


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.", "a b", "a.*", "a.>", "{", "{}", "a.{x y}\n"])
def test_text_that_can_be_no_subject(text: str) -> None:
    """Loading finds it."""
    with pytest.raises(ValidationError):
        NatsSettings.model_validate({"hosts": ["x"], "stream": "s", "subject": text})


def test_stream_that_is_not_there(shared: Service, stream: str) -> None:
    """Without ``create_stream`` the error has a hint; once it is there, the same sink opens."""
    sink = make(shared, stream, create_stream=False)
    with pytest.raises(Retryable, match=rf"there is no stream '{stream}': create it, or set create_stream = true"):
        sink.open()
    create(shared, stream)
    sink.open()
    assert sink.send([sample_event()])[0].ok
    sink.close()


def test_stream_that_takes_other_subjects(shared: Service, stream: str) -> None:
    """A subject that no stream takes, or that another one takes, is an error that names it; nothing is lost to it."""
    create(shared, stream, subjects=[f"{stream}.a"])
    other = f"{stream}-other"
    create(shared, other, subjects=[f"{stream}.b"])
    sink = make(shared, stream, subject=f"{stream}.{{zone}}")
    sink.open()
    zones = {"a": 1, "b": 2, "c": 3}
    outcomes = sink.send([sample_event(position=n, doc_id=z, after={"zone": z}) for z, n in zones.items()])
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "retry", "retry"]
    assert "expected stream does not match" in outcomes[1].reason
    assert (
        f"no stream takes the subject '{stream}.c': add it to the subjects of stream '{stream}'" in outcomes[2].reason
    )
    assert positions(shared, stream) == [1]
    assert positions(shared, other) == []


# --- size, full streams


def test_too_large_for_the_server(shared: Service, stream: str) -> None:
    """An event beyond ``max_payload`` (headers count) is rejected and named; at the limit it arrives; others go on."""
    sink = make(shared, stream)
    sink.open()
    outcomes = sink.send(
        [
            sample_event(position=1),
            sample_event(position=2, doc_id="big", after={"x": "y" * 1_100_000}),
            sample_event(position=3, doc_id="c"),
        ]
    )
    assert [outcome.kind for outcome in outcomes] == ["ok", "rejected", "ok"]
    assert "more than the server's max_payload" in outcomes[1].reason
    kinds = set()
    for size in range(1_047_000, 1_048_576, 97):  # across the limit
        (outcome,) = sink.send([sample_event(position=size, after={"x": "y" * size})])
        assert outcome.kind in ("ok", "rejected"), outcome
        kinds.add(outcome.kind)
    assert kinds == {"ok", "rejected"}
    sink.close()


def test_too_large_for_the_stream(shared: Service, stream: str) -> None:
    """A stream's own ``max_msg_size`` counts, too."""
    create(shared, stream, max_msg_size=5000)
    sink = make(shared, stream)
    sink.open()
    big = sample_event(position=2, doc_id="big", after={"x": "y" * 6000})
    outcomes = sink.send([sample_event(position=1), big, sample_event(position=3, doc_id="c")])
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "rejected", "ok"]
    assert f"stream '{stream}' does not take it: message size exceeds maximum allowed" in outcomes[1].reason


def test_full_stream_holds_the_document(shared: Service, stream: str) -> None:
    """A stream that takes no more refuses, and later events of the document wait until there is room."""
    create(shared, stream, max_msgs=2, discard="new")
    sink = make(shared, stream)
    sink.open()
    events = [sample_event(position=n) for n in range(1, 5)]
    outcomes = sink.send(events)
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [
        ("ok", True),
        ("ok", True),
        ("retry", True),
        ("retry", False),
    ]
    assert "maximum messages exceeded" in outcomes[2].reason
    ask(shared, lambda js: js.purge_stream(stream))
    assert all(outcome.ok for outcome in sink.send(events[2:]))
    sink.close()
    assert positions(shared, stream) == [3, 4]


# --- faults


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_restart_in_the_middle(own: OwnService, stream: str, how: str) -> None:
    """A server that goes while batches are under way: nothing is lost, nothing comes twice, the order is kept."""

    def disturb() -> None:
        own.stop() if how == "restart" else own.kill()
        own.start()

    sent = send_through(make(own.now, stream, timeout=3), disturb)
    found = [json.loads(message.data) for message in messages(own.now, stream)]
    assert len(found) == sent, "a repeat within the stream's window must be dropped by it"
    assert first_seen(found) == expected(sent)


def test_hang(own: OwnService, stream: str) -> None:
    """A server that takes connections and answers nothing holds a sink no longer than ``timeout``."""
    sink = make(own.now, stream, timeout=2)
    sink.open()
    assert sink.send([sample_event(position=1)])[0].ok
    own.pause()
    try:
        started = time.monotonic()
        big = sample_event(position=4, doc_id="other", after={"x": "y" * 900_000})
        outcomes = sink.send([sample_event(position=2), sample_event(position=3), big])
        took = time.monotonic() - started
        started = time.monotonic()
        with pytest.raises(Retryable, match="no answer in time"):
            make(own.now, stream, timeout=2).open()
        opening = time.monotonic() - started
    finally:
        own.resume()
    assert took < 3.5
    assert opening < 3.5
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [
        ("retry", True),
        ("retry", False),
        ("retry", False),
    ]
    assert "no answer in time" in outcomes[0].reason
    assert all(outcome.ok for outcome in sink.send([sample_event(position=2), sample_event(position=3), big]))
    sink.close()
    assert [n for n in positions(own.now, stream) if n != 4] == [1, 2, 3]


def test_threads_end(shared: Service, stream: str) -> None:
    """Nothing of a sink is left running once it is closed, nor after an open that failed."""
    before = set(threading.enumerate())
    for port in (shared.port, 1):
        sink = make(shared, stream, hosts=[f"127.0.0.1:{port}"], timeout=2)
        try:
            sink.open()
        except Retryable:
            assert port == 1
        sink.close()
    left = [thread for thread in threading.enumerate() if thread.name == "esfeed-nats" and thread not in before]
    for thread in left:
        thread.join(5)  # on a busy machine it may outlive the close by a moment
    assert not [thread for thread in left if thread.is_alive()]


# --- login, TLS


def test_tls(services: Services, stream: str) -> None:
    """With the right authority all is well; with the system's the error says why."""
    own = services.own("nats", allow_non_tls="none").now
    good = make(own, stream, tls=True, ca_certs=own.ca_certs)
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    lax = make(own, stream, tls=True, verify_certs=False)
    lax.open()
    lax.close()
    with pytest.raises(Retryable, match=r"(?i)certificate"):
        make(own, stream, tls=True).open()
    with pytest.raises(ConfigError, match=r"ca_certs = '/none'"):
        make(own, stream, tls=True, ca_certs="/none").open()


def test_server_that_does_not_ask_for_tls(services: Services, stream: str) -> None:
    """Where TLS is wanted, neither password nor event goes out in the clear."""
    own = services.own("nats", trace="true", logtime="true", tls="none", allow_non_tls="none")
    with pytest.raises(ConfigError, match=r"tls = True: the server does not offer TLS"):
        make(own.now, stream, tls=True, ca_certs=own.now.ca_certs).open()
    assert b"CONNECT" not in Path(own.now.record["log"]).read_bytes()


def test_password(shared: Service, stream: str) -> None:
    """A wrong password, or none, is an error of its key, and is not shown."""
    with pytest.raises(ConfigError, match="password: the server refuses the login") as caught:
        make(shared, stream, password="hunter2").open()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="user: the server refuses the login"):
        make(shared, stream, user=None, password=None).open()


def test_token(services: Services, stream: str) -> None:
    """The same for a token."""
    own = services.own("nats", authorization='{token: "right"}').now
    good = make(own, stream, user=None, password=None, token="right")
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    with pytest.raises(ConfigError, match="token: the server refuses the login") as caught:
        make(own, stream, user=None, password=None, token="hunter2").open()
    assert "hunter2" not in str(caught.value)


class _Key:
    """An nkey, and the JWTs that it signs: https://docs.nats.io/running-a-nats-service/configuration/securing_nats"""

    def __init__(self, prefix: int) -> None:
        self.seed = nkeys.encode_seed(secrets.token_bytes(32), prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def sign(self, subject: _Key, name: str, kind: str, **claims: Any) -> str:
        def coded(value: bytes) -> str:
            return base64.urlsafe_b64encode(value).decode().rstrip("=")

        told = {"iss": self.public, "sub": subject.public, "name": name, "iat": int(time.time()), "jti": name}
        told["nats"] = {"type": kind, "version": 2, **claims}
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(coded(json.dumps(part).encode()) for part in (head, told))
        return f"{text}.{coded(self._pair.sign(text.encode()))}"


def test_credentials(services: Services, stream: str, tmp_path: Path) -> None:
    """A .creds file of an account gets in; one of a stranger's, one that is none, and none at all, are told apart."""
    operator, system, account, user, stranger = (
        _Key(prefix)
        for prefix in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
            nkeys.PREFIX_BYTE_ACCOUNT,
        )
    )
    every = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
    every |= dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    accounts = {
        system.public: operator.sign(system, "SYS", "account"),
        account.public: operator.sign(account, "A", "account", limits=every),
    }
    own = services.own(
        "nats",
        authorization="none",
        operator=operator.sign(operator, "O", "operator", system_account=system.public),
        resolver="MEMORY",
        resolver_preload="{" + ", ".join(f"{key}: {jwt}" for key, jwt in accounts.items()) + "}",
    ).now

    def creds(signer: _Key) -> str:
        limits = dict.fromkeys(("subs", "data", "payload"), -1)
        jwt = signer.sign(user, "U", "user", pub={}, sub={}, **limits)
        path = tmp_path / f"{signer.public}.creds"
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return str(path)

    good = make(own, stream, user=None, password=None, credentials=creds(account))
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    with pytest.raises(ConfigError, match="credentials: the server refuses the login"):
        make(own, stream, user=None, password=None, credentials=creds(stranger)).open()
    with pytest.raises(ConfigError, match=r"credentials = '/none': cannot be read"):
        make(own, stream, user=None, password=None, credentials="/none").open()
    (tmp_path / "none.creds").write_text("no creds\n")
    with pytest.raises(ConfigError, match=r"none.creds': it is not a .creds file"):
        make(own, stream, user=None, password=None, credentials=str(tmp_path / "none.creds")).open()


def test_nobody_there(shared: Service, stream: str) -> None:
    """A server that is not there may come: ``Retryable``, which names it and why."""
    with pytest.raises(Retryable, match=r"127.0.0.1:1: .*refused"):
        make(shared, stream, hosts=["127.0.0.1:1"], timeout=3).open()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"user": "u"}, "set both user and password"),
        ({"user": "u", "password": "hunter2", "token": "hunter2"}, "write one of user and password, token, or cred"),
        ({"hosts": ["nats://u:hunter2@x"]}, "is not a host"),
        ({"stream": "a.b"}, "the name of a stream without spaces"),
        ({"hosts": []}, "at least 1 item"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], words: str) -> None:
    """Loading finds them."""
    with pytest.raises(ValidationError, match=words) as caught:
        NatsSettings.model_validate({"hosts": ["x"], "stream": "s", "subject": "s", **keys})
    assert "hunter2" not in str(caught.value)


def test_one_host_of_many_is_enough(shared: Service, stream: str) -> None:
    """A server of the list that is away keeps nobody from the others."""
    sink = make(shared, stream, hosts=["127.0.0.1:1", f"127.0.0.1:{shared.port}"])
    sink.open()
    assert sink.send([sample_event()])[0].ok
    sink.close()


def test_client_certificate(services: Services, stream: str) -> None:
    """A server that asks for a client's certificate lets in who shows one, and nobody else."""
    own = services.own("nats", allow_non_tls="none").now
    certs = Path(own.ca_certs).parent
    tls = f"{{cert_file: '{certs}/node.pem', key_file: '{certs}/node.key', ca_file: '{certs}/ca.pem', verify: true}}"
    own = services.own("nats", allow_non_tls="none", tls=tls).now
    keys = {"tls": True, "ca_certs": own.ca_certs, "timeout": 4}
    good = make(own, stream, client_cert=own.client_cert, client_key=own.client_key, **keys)
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    with pytest.raises(Retryable):
        make(own, stream, **keys).open()


def test_missing_permission_is_told(services: Services, stream: str) -> None:
    """The server answers nothing to what a user may not do; what it says beside is in the reason."""
    users = (
        '{users: [{user: "esfeed", password: "p", permissions: {publish: {deny: "denied.>"}}},'
        ' {user: "other", password: "p"}]}'
    )
    own = services.own("nats", authorization=users).now
    sink = make(own, stream, subject="denied.x", password="p", timeout=2)
    sink.open()
    (outcome,) = sink.send([sample_event()])
    sink.close()
    assert outcome.kind == "retry"
    assert 'permissions violation for publish to "denied.x"' in outcome.reason.lower()
