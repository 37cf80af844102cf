"""The Kafka sink at a real broker: order, repeats, size, restarts, hangs, logins and TLS."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    TopicDescription,
)
from pydantic import ValidationError

from esfeed import envelopes
from esfeed.errors import ConfigError, Retryable
from esfeed.sinks.kafka.settings import KafkaSettings
from esfeed.sinks.kafka.sink import KafkaSink, key_of
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import REFUSING, Received, SinkContract
from tests.support.clients import eventually
from tests.support.disturbance import expected, first_seen, send_through
from tests.support.fixtures_services import Services
from tests.support.services import OwnService, Service
from tests.support.targets import records
from tests.support.wire import Wire

pytestmark = pytest.mark.services("kafka")


def make(hosts: str, topic: str, **keys: Any) -> KafkaSink:
    return KafkaSink(KafkaSettings.model_validate({"hosts": hosts.split(","), "topic": topic, "timeout": 10, **keys}))


def positions(hosts: str, topic: str) -> list[int]:
    return [json.loads(record.value())["data"]["position"] for record in records(hosts, topic) if record.value()]


def create(hosts: str, *topics: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": hosts})
    for made in admin.create_topics([NewTopic(topic, 1, config=config) for topic in topics]).values():
        made.result(20)


@pytest.fixture
def topic() -> str:
    return f"qa-{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def wires() -> Iterator[tuple[Wire, Wire]]:
    """What leads to that broker, without and with TLS, wherever a client begins: its own address it does not tell."""
    both = Wire(), Wire()
    yield both
    for wire in both:
        wire.close()


@pytest.fixture(scope="module")
def own(module_services: Services, wires: tuple[Wire, Wire]) -> OwnService:
    """A broker for the tests that stop it; it keeps from a topic whom it is told to, and nobody else.

    It makes no topics by itself, and by TLS it lets in only who shows a certificate.
    """
    made = module_services.own(
        "kafka",
        advertised__listeners="PLAIN://127.0.0.1:{},TLS://127.0.0.1:{}".format(*(wire.port for wire in wires)),
        authorizer__class__name="org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        allow__everyone__if__no__acl__found="true",
        auto__create__topics__enable="false",
        ssl__client__auth="required",
    )
    for wire, port in zip(wires, (made.now.port, made.now.tls_port), strict=True):
        wire.target = port
    return made


@pytest.fixture
def shared(services: Services) -> Service:
    return services("kafka")


class TestContract(SinkContract):
    """The contract, at a broker that to the sink is gone and comes back; others below really stop and kill it."""

    patience = 30.0

    @pytest.fixture(autouse=True)
    def _broker(
        self, own: OwnService, wires: tuple[Wire, Wire], topic: str, request: pytest.FixtureRequest
    ) -> Iterator[None]:
        self.own, self.wire, self.topic, self.down = own, wires[0], topic, False
        self.topics = [topic]
        if request.function.__name__ in REFUSING:  # Kafka refuses by topic, so each document has its own
            self.topic = f"{topic}-{{id}}"
            self.topics = [f"{topic}-{doc}" for doc in (*(f"doc-{n}" for n in range(7)), "refused")]
        self.denied: list[AclBindingFilter] = []
        create(own.now.url, *self.topics)
        yield
        if self.down or self.denied:
            self.restore_target()

    def make_sink(self) -> KafkaSink:
        return make(f"127.0.0.1:{self.wire.port}", self.topic, timeout=4 if self.down else 8, max_bytes=2_000_000)

    def received(self) -> Received:
        found = [json.loads(record.value()) for record in records(self.own.now.url, *self.topics)]
        return [(each["id"], each["data"]["position"]) for each in found]

    def break_target(self) -> None:
        self.wire.shut()
        self.down = True

    def restore_target(self) -> None:
        if self.down:
            self.wire.open()
            self.down = False
        if self.denied:
            admin = AdminClient({"bootstrap.servers": self.own.now.url})
            for removed in admin.delete_acls(self.denied).values():
                removed.result(20)
            self.denied = []
            self._settled(self.topics, writable=True)

    def refuse(self, doc_ids: Collection[str]) -> None:
        """Their topics may not be written to."""
        topics = [topic for topic in self.topics if topic.endswith(tuple(f"-{doc_id}" for doc_id in doc_ids))]
        deny = ("User:ANONYMOUS", "*", AclOperation.WRITE, AclPermissionType.DENY)
        where = [(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL) for topic in topics]
        self.denied = [AclBindingFilter(*each, *deny) for each in where]
        admin = AdminClient({"bootstrap.servers": self.own.now.url})
        for made in admin.create_acls([AclBinding(*each, *deny) for each in where]).values():
            made.result(20)
        self._settled(topics, writable=False)

    def _settled(self, topics: Sequence[str], *, writable: bool) -> None:
        """Waits until the broker applies the rules: the controller answers before the broker knows them."""
        admin = AdminClient({"bootstrap.servers": self.own.now.url})

        def applied() -> bool:
            described = admin.describe_topics(TopicCollection([*topics]), include_authorized_operations=True)
            return all(_writable(one) is writable for one in described.values())

        eventually(applied, 60)


def _writable(described: Future[TopicDescription]) -> bool:
    try:
        return AclOperation.WRITE in (described.result(20).authorized_operations or ())
    except KafkaException:  # the topic has rules, so nothing is allowed but what they allow
        return False


# --- what is written


def test_record(shared: Service, topic: str) -> None:
    """The key is the document, and the record is a CloudEvent in structured mode to CloudEvents' own SDK."""
    event = sample_event(routing="r/1", view="user", doc_id="ä")
    sink = make(shared.url, topic)
    sink.open()
    assert sink.send([event])[0].ok
    sink.close()
    (record,) = records(shared.url, topic)
    assert json.loads(record.key()) == ["servers", "OS::Nova::Server", "ä", "r/1", "user"]
    assert record.headers() == [("content-type", b"application/cloudevents+json")]
    told = from_kafka_event(KafkaMessage(dict(record.headers()), record.key(), record.value()))
    assert (told.get_id(), told.get_type(), told.get_subject()) == (event.id, "esfeed.updated", "OS::Nova::Server/ä")
    assert told.get_data() == json.loads(record.value())["data"]


def test_other_forms_are_told_in_binary_mode(shared: Service, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is no CloudEvent is the data of one, whose attributes are in the headers."""
    monkeypatch.setitem(envelopes._ENVELOPES, "raw", envelopes.Envelope("application/json", lambda _: b'{"name":"x"}'))
    event = sample_event()
    settings = KafkaSettings.model_validate({"hosts": [shared.url], "topic": topic})
    sink = KafkaSink(settings.model_copy(update={"format": "raw"}))
    sink.open()
    assert sink.send([event])[0].ok
    sink.close()
    (record,) = records(shared.url, topic)
    told = from_kafka_event(KafkaMessage(dict(record.headers()), None, record.value()))
    assert (told.get_id(), told.get_type(), told.get_data()) == (event.id, "esfeed.updated", {"name": "x"})
    assert (told.get_source(), told.get_datacontenttype()) == ("esfeed://main/servers", "application/json")


def test_keys_tell_documents_apart() -> None:
    """No two documents share a key, however odd their names; two events of one do."""
    odd = [
        {"type": "a", "doc_id": "b/c"},
        {"type": "a/b", "doc_id": "c"},
        {"type": "a", "doc_id": "b", "routing": "c"},
        {"type": "a", "doc_id": "b", "view": "user"},
        {"type": "a", "doc_id": 'b",null'},
        {"type": "a", "doc_id": "b", "watch": "w"},
        {"type": "a", "doc_id": "b", "routing": "user"},
    ]
    assert len({key_of(sample_event(**each)) for each in odd}) == len(odd)  # type: ignore[arg-type]
    assert key_of(sample_event(position=1)) == key_of(sample_event(position=2, op="deleted"))


@pytest.mark.parametrize("tombstones", [False, True])
def test_tombstone_follows_a_delete(shared: Service, topic: str, tombstones: bool) -> None:
    """With ``tombstones`` a delete leaves a record without a value behind it; nothing else does."""
    sink = make(shared.url, topic, tombstones=tombstones)
    sink.open()
    events = [sample_event(position=1), sample_event(position=2, op="deleted"), sample_event(position=3, op="created")]
    assert all(outcome.ok for outcome in sink.send(events))
    sink.close()
    found = [record.value() and json.loads(record.value())["data"]["op"] for record in records(shared.url, topic)]
    assert found == ["updated", "deleted", *[None] * tombstones, "created"]


def test_topic_of_a_template(shared: Service, topic: str) -> None:
    """What a topic's name may not hold becomes ``_``; an event without a name for it is rejected."""
    sink = make(shared.url, f"{topic}-{{type}}-{{zone}}")
    sink.open()
    good = sample_event(position=1, type="OS::Nova", after={"zone": "eu/1"})
    bad = sample_event(position=2, doc_id="other", after={"x": 1})
    long = sample_event(position=3, doc_id="third", after={"zone": "z" * 300})
    outcomes = sink.send([good, bad, long])
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "rejected", "rejected"]
    assert "{zone} is missing" in outcomes[1].reason
    assert "up to 249 characters" in outcomes[2].reason
    assert positions(shared.url, f"{topic}-OS__Nova-eu_1") == [1]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compression(shared: Service, topic: str, compression: str) -> None:
    """Every compression arrives."""
    sink = make(shared.url, topic, compression=compression)
    sink.open()
    assert all(outcome.ok for outcome in sink.send([sample_event(position=n, doc_id=str(n)) for n in range(1, 50)]))
    sink.close()
    assert sorted(positions(shared.url, topic)) == list(range(1, 50))


# --- size


def test_larger_than_max_bytes(shared: Service, topic: str) -> None:
    """An event beyond ``max_bytes`` is rejected by name and never cut; others of the batch go on."""
    sink = make(shared.url, topic, max_bytes=20_000)
    sink.open()
    big = sample_event(position=2, doc_id="big", after={"x": "y" * 30_000})
    outcomes = sink.send([sample_event(position=1), big, sample_event(position=3, doc_id="c")])
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "rejected", "ok"]
    assert "larger than Kafka accepts" in outcomes[1].reason
    assert sorted(positions(shared.url, topic)) == [1, 3]


def test_larger_than_the_topic_takes(shared: Service, topic: str) -> None:
    """The broker refuses a whole batch for one record: only that one is rejected, the others arrive."""
    create(shared.url, topic, **{"max.message.bytes": "20000"})
    sink = make(shared.url, topic)
    sink.open()
    big = sample_event(position=5, doc_id="big", after={"x": "y" * 30_000})
    events = [sample_event(position=n, doc_id=str(n)) for n in range(1, 10) if n != 5]
    outcomes = sink.send([*events[:4], big, *events[4:]])
    assert [outcome.kind for outcome in outcomes] == [*["ok"] * 4, "rejected", *["ok"] * 4]
    assert sink.send([sample_event(position=10)])[0].ok
    sink.close()
    assert sorted(positions(shared.url, topic)) == [1, 2, 3, 4, 6, 7, 8, 9, 10]


# --- faults


def sequence(hosts: str, topic: str) -> Mapping[str, Sequence[int]]:
    """Of each document the positions in the order in which they first came."""
    return first_seen(json.loads(record.value()) for record in records(hosts, topic))


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_restart_in_the_middle(own: OwnService, topic: str, how: str) -> None:
    """A broker that goes while batches are under way: nothing is lost, and each document keeps its order."""

    def disturb() -> None:
        own.stop() if how == "restart" else own.kill()
        own.start()

    create(own.now.url, topic)
    sent = send_through(make(own.now.url, topic, timeout=3), disturb)
    assert sequence(own.now.url, topic) == expected(sent)


def test_hang(own: OwnService, topic: str) -> None:
    """A broker that takes connections and answers nothing does not hold a sink for ever; nobody overtakes."""
    create(own.now.url, topic)
    sink = make(own.now.url, topic, timeout=2)
    sink.open()
    assert sink.send([sample_event(position=1)])[0].ok
    own.pause()
    try:
        outcomes = sink.send(
            [sample_event(position=2), sample_event(position=3), sample_event(position=4, doc_id="other")]
        )
        with pytest.raises(Retryable):
            make(own.now.url, topic, timeout=2).open()
    finally:
        own.resume()
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [
        ("retry", True),
        ("retry", False),
        ("retry", False),
    ]
    assert "no answer in time" in outcomes[0].reason
    end = time.monotonic() + 20
    while not all(outcome.ok for outcome in sink.send([sample_event(position=2), sample_event(position=3)])):
        assert time.monotonic() < end
    sink.close()
    assert sequence(own.now.url, topic)["6c41f0aa"] == [1, 2, 3]


def test_topic_that_is_not_there(own: OwnService, topic: str) -> None:
    """Where brokers make no topics, the error has a hint; once the topic is there, the same sink goes on."""
    sink = make(own.now.url, topic, timeout=6)
    sink.open()
    (outcome,) = sink.send([sample_event()])
    assert outcome.kind == "retry"
    assert "create the topic" in outcome.reason
    create(own.now.url, topic)
    end = time.monotonic() + 20
    while not sink.send([sample_event()])[0].ok:
        assert time.monotonic() < end
    sink.close()


# --- login, TLS


def test_tls(shared: Service, topic: str) -> None:
    """With the right authority all is well; with the system's the error says TLS, and it may be corrected later."""
    good = make(shared.tls_url, topic, tls=True, ca_certs=shared.ca_certs)
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    lax = make(shared.tls_url, topic, tls=True, verify_certs=False)
    lax.open()
    lax.close()
    with pytest.raises(Retryable, match=r"(?i)certificate|ssl"):
        make(shared.tls_url, topic, tls=True, timeout=3).open()


def test_certificates_that_are_of_no_use(shared: Service, topic: str) -> None:
    """The key and the file are named."""
    with pytest.raises(ConfigError, match=r"ca_certs = '/none'"):
        make(shared.tls_url, topic, tls=True, ca_certs="/none").open()
    with pytest.raises(ConfigError, match="client_cert"):
        make(shared.tls_url, topic, tls=True, ca_certs=shared.ca_certs, client_cert=shared.ca_certs).open()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_login(shared: Service, topic: str, mechanism: str) -> None:
    """A right password gets in; a wrong one is an error of the key ``password``, and is not shown."""
    keys = {"tls": True, "ca_certs": shared.ca_certs, "user": shared.username, "mechanism": mechanism}
    good = make(shared.record["sasl_url"], topic, password=shared.password, **keys)
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    with pytest.raises(ConfigError, match="password: the brokers refuse user and password") as caught:
        make(shared.record["sasl_url"], topic, password="hunter2", timeout=5, **keys).open()
    assert "hunter2" not in str(caught.value)


# --- settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"acks": 1}, "acks would break the order or the safety"),
        ({"enable.idempotence": False}, "enable.idempotence would break"),
        ({"max.in.flight": 10}, "max.in.flight would break"),
        ({"retries": 0}, "retries would break"),
        ({"message.timeout.ms": 1}, "is set by the key timeout"),
        ({"sasl.password": "hunter2"}, "is set by the key password"),
    ],
)
def test_options_that_break_exactness(options: dict[str, Any], words: str) -> None:
    """What order and exactness rest on cannot be set, and values are not shown."""
    with pytest.raises(ValidationError, match=words) as caught:
        KafkaSettings.model_validate({"hosts": ["127.0.0.1:1"], "topic": "x", "options": options})
    assert "hunter2" not in str(caught.value)


def test_options_reach_librdkafka(shared: Service, topic: str) -> None:
    """An option is taken; one that librdkafka does not know is an error that names it."""
    sink = make(shared.url, topic, options={"linger.ms": 20, "client.id": "qa"})
    sink.open()
    sink.close()
    with pytest.raises(ConfigError, match=r'options: librdkafka refuses them: .*"no\.such"'):
        make(shared.url, topic, options={"no.such": "x"}).open()


def test_user_without_a_password() -> None:
    """Both or none."""
    with pytest.raises(ValidationError, match="set both user and password"):
        KafkaSettings.model_validate({"hosts": ["127.0.0.1:1"], "topic": "x", "user": "u"})


def test_nobody_there(topic: str) -> None:
    """A broker that is not there may come: ``Retryable``, which names it and why."""
    with pytest.raises(Retryable, match=r"127.0.0.1:1: .*"):
        make("127.0.0.1:1", topic, timeout=1).open()


def test_hosts_must_be_some() -> None:
    """An empty list is a mistake that loading finds."""
    with pytest.raises(ValidationError):
        KafkaSettings.model_validate({"hosts": [], "topic": "x"})


def test_one_host_of_many_is_enough(shared: Service, topic: str) -> None:
    """A broker of the list that is away keeps nobody from the others."""
    sink = make(f"127.0.0.1:1,{shared.url}", topic)
    sink.open()
    assert sink.send([sample_event()])[0].ok
    sink.close()


def test_client_certificate(own: OwnService, topic: str) -> None:
    """A broker that asks for a client's certificate lets in who shows one, and nobody else."""
    create(own.now.url, topic)
    broker = own.now
    keys = {"tls": True, "ca_certs": broker.ca_certs, "timeout": 6}
    good = make(broker.tls_url, topic, client_cert=broker.client_cert, client_key=broker.client_key, **keys)
    good.open()
    assert good.send([sample_event()])[0].ok
    good.close()
    with pytest.raises(Retryable, match=r"(?i)certificate|ssl|disconnect"):
        make(broker.tls_url, topic, **keys).open()
