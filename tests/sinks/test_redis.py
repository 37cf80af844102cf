"""The Redis sink, against a real redis-server."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest
import redis as client
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.sinks.redis.settings import RedisSettings
from esfeed.sinks.redis.sink import RedisSink, _marker
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import ODD_IDS, SinkContract
from tests.sinks.servers import Server, kill_amid


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server("redis", {"proto-max-bulk-len": "2mb"})
    yield server
    server.close()


@pytest.fixture
def admin(server: Server) -> Iterator[client.Redis]:
    admin = client.Redis(port=server.port, username=server.username, password=server.password, protocol=2)
    admin.flushall()
    yield admin
    admin.close()


def make(server: Server, **keys: Any) -> RedisSink:
    keys = {"url": f"redis://127.0.0.1:{server.port}/0", "stream": "esfeed"} | keys
    if "user" not in keys and "password" not in keys and "@" not in keys["url"]:
        keys |= {"user": server.username, "password": server.password}
    return RedisSink(RedisSettings.model_validate(keys))


def entries(admin: client.Redis, stream: str = "esfeed") -> list[dict[bytes, bytes]]:
    return [fields for _, fields in admin.xrange(stream)]  # type: ignore[union-attr]  # not the async one


def positions(admin: client.Redis, stream: str = "esfeed") -> list[int]:
    return [json.loads(fields[b"data"])["data"]["position"] for fields in entries(admin, stream)]


def some(*numbers: int, **keys: Any) -> list[Event]:
    return [sample_event(position=n, doc_id=f"doc-{n}", **keys) for n in numbers]


class _RedisContract(SinkContract):
    patience = 15.0

    @pytest.fixture(autouse=True)
    def _target(self, server: Server, admin: client.Redis) -> None:
        self.server, self.admin = server, admin

    def make_sink(self) -> RedisSink:
        return make(self.server, timeout="5s")

    def received(self) -> list[tuple[str, int]]:
        found = [(fields[b"id"].decode(), json.loads(fields[b"data"])) for fields in entries(self.admin)]
        assert all(event_id == event["id"] for event_id, event in found)
        return [(event_id, event["data"]["position"]) for event_id, event in found]


class TestKilled(_RedisContract):
    """The contract, with a server that is killed and comes back with what its append-only file has."""

    cannot_refuse = "a stream takes any entry or none; TestRefusing has a stream a document"

    def break_target(self) -> None:
        self.server.kill()

    def restore_target(self) -> None:
        self.server.start()


class TestFull(_RedisContract):
    """The contract, with a server that has no memory left: it answers, and refuses each entry."""

    cannot_refuse = "a server without memory refuses every entry; TestRefusing has a stream a document"

    def break_target(self) -> None:
        self.admin.config_set("maxmemory", "1")

    def restore_target(self) -> None:
        self.admin.config_set("maxmemory", "128mb")


class TestHanging(_RedisContract):
    """The contract, by the script that keeps repeats out, with a server that is stopped (SIGSTOP) for a while."""

    cannot_refuse = "a stream takes any entry or none; TestRefusing has a stream a document"

    def make_sink(self) -> RedisSink:
        return make(self.server, timeout="500ms", idempotent="1h")

    def break_target(self) -> None:
        self._frozen = self.server.frozen()
        self._frozen.__enter__()

    def restore_target(self) -> None:
        self._frozen.__exit__(None, None, None)


class TestRefusing(_RedisContract):
    """The contract, with a stream a document, some of whose keys hold something else."""

    def make_sink(self) -> RedisSink:
        return make(self.server, timeout="5s", stream="s-{type}-{id}")

    def received(self) -> list[tuple[str, int]]:
        found = []
        for key in self.admin.scan_iter(match="s-*", _type="STREAM"):
            found += [(_number(number), fields) for number, fields in self.admin.xrange(key)]  # type: ignore[union-attr]
        events = [json.loads(fields[b"data"]) for _, fields in sorted(found, key=lambda pair: pair[0])]
        return [(event["id"], event["data"]["position"]) for event in events]

    @pytest.mark.parametrize("doc_id", ODD_IDS[1:], ids=range(1, len(ODD_IDS)))
    def test_odd_id(self, doc_id: str) -> None:
        """An odd id arrives like any other; of an empty one no stream can be named."""
        super().test_odd_id(doc_id)

    def break_target(self) -> None:
        self.admin.config_set("maxmemory", "1")

    def restore_target(self) -> None:
        self.admin.config_set("maxmemory", "128mb")
        for key in self.admin.scan_iter(match="s-*", _type="STRING"):
            self.admin.delete(key)

    def refuse(self, doc_ids: Collection[str]) -> None:
        for doc_id in doc_ids:
            self.admin.set(f"s-OS::Nova::Server-{doc_id}", "no stream")


def _number(entry: bytes) -> tuple[int, int]:
    first, _, second = entry.partition(b"-")
    return int(first), int(second)


# --- what is in the stream


def test_entry(server: Server, admin: client.Redis) -> None:
    """An entry has four fields, and the event whole in one of them."""
    event = sample_event(position=7)
    sink = make(server, stream="changes-{watch}")
    sink.open()
    assert sink.send([event])[0].ok
    sink.close()
    (fields,) = entries(admin, "changes-servers")
    assert list(fields) == [b"id", b"type", b"subject", b"data"]
    assert (fields[b"id"].decode(), fields[b"type"], fields[b"subject"].decode()) == (
        event.id,
        b"esfeed.updated",
        event.subject,
    )
    assert json.loads(fields[b"data"])["data"]["after"] == {"name": "web-1", "status": "ACTIVE"}


def test_stream_by_document(server: Server, admin: client.Redis) -> None:
    """A template sends each event to its stream; one that has no text for an event rejects that event alone."""
    events = [sample_event(position=n, doc_id=str(n), after={"p": p} if p else {}) for n, p in enumerate("ab", 1)]
    events.append(sample_event(position=3, doc_id="3", after={"q": 1}))
    sink = make(server, stream="s-{p}")
    sink.open()
    outcomes = sink.send(events)
    sink.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "rejected"]
    assert "{p} is missing" in outcomes[2].reason
    assert (positions(admin, "s-a"), positions(admin, "s-b")) == ([1], [2])


def test_maxlen(server: Server, admin: client.Redis) -> None:
    """With ``maxlen`` the oldest entries go, by whole nodes of the stream."""
    sink = make(server, maxlen=100)
    sink.open()
    for start in range(0, 1000, 100):
        assert all(outcome.ok for outcome in sink.send(some(*range(start, start + 100))))
    sink.close()
    assert 100 <= admin.xlen("esfeed") < 300  # type: ignore[operator]  # not the async one
    assert positions(admin)[-1] == 999


def test_other_database(server: Server, admin: client.Redis) -> None:
    """The number in the url is the database."""
    sink = make(server, url=f"redis://127.0.0.1:{server.port}/3")
    sink.open()
    assert sink.send(some(1))[0].ok
    sink.close()
    assert admin.exists("esfeed") == 0


def test_repeats_are_kept_out(server: Server, admin: client.Redis) -> None:
    """With ``idempotent`` a repeat is ok and adds nothing, until it is forgotten; the marker lapses by itself."""
    sink = make(server, idempotent="200ms")
    sink.open()
    for _ in range(3):
        assert all(outcome.ok for outcome in sink.send(some(1, 2)))
    assert positions(admin) == [1, 2]
    time.sleep(0.3)
    assert admin.keys() == [b"esfeed"]
    assert sink.send(some(1))[0].ok
    assert positions(admin) == [1, 2, 1]
    sink.close()


def test_failed_entry_leaves_no_marker(server: Server, admin: client.Redis) -> None:
    """An entry that Redis refused is not remembered as taken: it comes once the cause is repaired."""
    admin.set("s-x", "no stream")
    sink = make(server, stream="s-{watch}", idempotent="1h")
    sink.open()
    event = sample_event(watch="x")
    outcome = sink.send([event])[0]
    assert outcome.kind == "retry"
    assert "delete this key" in outcome.reason
    admin.delete("s-x")
    assert sink.send([event])[0].ok
    assert positions(admin, "s-x") == [1]
    sink.close()


@pytest.mark.parametrize(
    ("stream", "marker"),
    [("a", "esfeed:{a}:a:1"), ("x{t}y", "esfeed:{t}:x{t}y:1"), ("x{}y", "esfeed:{x{}y}:x{}y:1")],
)
def test_marker_is_in_the_slot_of_its_stream(stream: str, marker: str) -> None:
    """In a cluster a script may touch one slot only, so the marker borrows the stream's hash tag."""
    assert _marker(stream, "1") == marker


# --- order and partial failure


def test_one_bad_stream_harms_no_other(server: Server, admin: client.Redis) -> None:
    """A key of another kind holds up its own documents only, in their order; it is told how to correct it."""
    admin.set("s-bad", "no stream")
    sink = make(server, stream="s-{p}")
    sink.open()
    events = [
        sample_event(position=1, doc_id="a", after={"p": "bad"}),
        sample_event(position=2, doc_id="a", after={"p": "good"}),
        sample_event(position=3, doc_id="b", after={"p": "good"}),
    ]
    outcomes = sink.send(events)
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [("retry", True), ("retry", False), ("ok", True)]
    assert "WRONGTYPE" in outcomes[0].reason
    assert positions(admin, "s-good") == [3]
    sink.close()


def test_killed_in_the_middle_of_batches(server: Server, admin: client.Redis) -> None:
    """kill -9 of the server under a stream of batches: all that was ok is there, in order, and the rest comes later."""
    sink = make(server, timeout="5s")
    sink.open()

    def event(n: int) -> Event:
        return sample_event(position=n, doc_id=f"doc-{n % 7}", after={"x": "y" * 2000})

    made = kill_amid(sink, event, server.kill, server.start)
    sink.close()
    seen = list(dict.fromkeys(positions(admin)))
    for doc in range(7):
        assert [n for n in seen if n % 7 == doc] == [n for n in range(1, made + 1) if n % 7 == doc]


# --- limits and faults


def test_too_large(server: Server, admin: client.Redis) -> None:
    """An event beyond the server's own limit is rejected by size, and the others of its batch come through."""
    sink = make(server)
    sink.open()
    big = sample_event(position=1, after={"x": "y" * (2 << 20)})
    outcomes = sink.send([big, *some(2)])
    assert [outcome.kind for outcome in outcomes] == ["rejected", "ok"]
    assert "at most 2097152 are taken (max_bytes)" in outcomes[0].reason
    assert positions(admin) == [2]
    sink.close()


def test_hang(server: Server) -> None:
    """A server that hangs is left after ``timeout``, whether it hangs before the connection or within it."""
    sink = make(server, timeout="500ms")
    sink.open()
    with server.frozen():
        for act in (lambda: sink.send(some(1, 2))[0].reason, lambda: sink.send(some(1, 2))[0].reason):
            begin = time.monotonic()
            assert "no complete answer within 0.5 s" in act()
            assert time.monotonic() - begin < 1.5
        begin = time.monotonic()
        with pytest.raises(Retryable, match=r"no complete answer within 0.5 s"):
            sink.open()
        assert time.monotonic() - begin < 1.5
    sink.open()
    assert all(outcome.ok for outcome in sink.send(some(3)))
    sink.close()


def test_nobody_there() -> None:
    """Where nobody listens, that is told with the address and without the password."""
    sink = RedisSink(RedisSettings.model_validate({"url": "redis://u:s3cret@127.0.0.1:1/0", "stream": "s"}))
    with pytest.raises(Retryable, match=r"redis://127.0.0.1:1: .*refused") as caught:
        sink.open()
    assert "s3cret" not in str(caught.value)
    sink.close()


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"user": "esfeed", "password": "wr0ng"}, "password"),
        ({"user": "nobody", "password": "wr0ng"}, "password"),
        ({"url": "redis://esfeed:wr0ng@127.0.0.1:{port}/0"}, "url"),
    ],
)
def test_wrong_credentials(server: Server, keys: dict[str, str], key: str) -> None:
    """Refused credentials are an error of the key that holds them, and are not shown."""
    keys = {name: value.replace("{port}", str(server.port)) for name, value in keys.items()}
    with pytest.raises(ConfigError, match="does not accept it") as caught:
        make(server, **keys).open()
    assert caught.value.key == key
    assert "wr0ng" not in str(caught.value)


def test_no_credentials(server: Server) -> None:
    """A server that wants a login says so as an error of ``url``."""
    with pytest.raises(ConfigError, match="Authentication required") as caught:
        RedisSink(RedisSettings.model_validate({"url": f"redis://127.0.0.1:{server.port}", "stream": "s"})).open()
    assert caught.value.key == "url"


def test_user_without_rights(server: Server, admin: client.Redis) -> None:
    """A user that may not add to one stream holds up that stream's documents, and is told why."""
    admin.acl_setuser("clerk", enabled=True, passwords=["+pw"], keys=["s-yes"], commands=["+ping", "+xadd"])
    sink = make(server, user="clerk", password="pw", stream="s-{watch}")
    sink.open()
    outcomes = sink.send([sample_event(watch="yes"), sample_event(watch="no")])
    assert [outcome.kind for outcome in outcomes] == ["ok", "retry"]
    assert "XADD" in outcomes[1].reason
    sink.close()
    admin.acl_deluser("clerk")


def test_password_changed_while_open(server: Server, admin: client.Redis) -> None:
    """Credentials that were right when the sink was opened are a matter of trying again."""
    admin.acl_setuser("clerk", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all"])
    sink = make(server, user="clerk", password="pw", timeout="1s")
    sink.open()
    with server.frozen():
        sink.send(some(1))
    admin.acl_deluser("clerk")
    outcomes = sink.send(some(2, 3))
    assert [(outcome.kind, outcome.tried) for outcome in outcomes] == [("retry", True), ("retry", False)]
    assert "password is no longer accepted" in outcomes[0].reason
    sink.close()


def test_key_that_is_no_stream(server: Server, admin: client.Redis) -> None:
    """A fixed stream whose key holds something else is an error of ``stream``."""
    admin.set("esfeed", "x")
    with pytest.raises(ConfigError, match="this key is a string") as caught:
        make(server).open()
    assert caught.value.key == "stream"


# --- TLS and cluster


def test_tls(server: Server, admin: client.Redis) -> None:
    """With TLS the server must be one that ``ca_certs`` vouches for; a client certificate is shown if given."""
    keys = {"url": f"rediss://127.0.0.1:{server.tls_port}", "user": server.username, "password": server.password}
    own = {"ca_certs": server.ca_certs, "client_cert": server.client_cert, "client_key": server.client_key}
    for more in ({"ca_certs": server.ca_certs}, own, {"verify_certs": False}):
        sink = make(server, **keys, **more)
        sink.open()
        assert sink.send(some(1))[0].ok
        sink.close()
    with pytest.raises(Retryable, match="certificate"):
        make(server, **keys).open()
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        make(server, **keys, ca_certs="/nowhere.pem").open()
    assert caught.value.key == "ca_certs"


def test_cluster() -> None:
    """In a cluster, streams of several slots take one batch; markers lie in the slots of their streams."""
    server = Server("redis", {"cluster-enabled": "yes"})
    admin = client.Redis(port=server.port, username=server.username, password=server.password, protocol=2)
    try:
        admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        end = time.monotonic() + 10
        while admin.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < end, admin.execute_command("CLUSTER INFO")
            time.sleep(0.05)
        sink = make(server, url=f"redis://127.0.0.1:{server.port}", cluster=True, stream="s-{id}", idempotent="1h")
        sink.open()
        for _ in range(2):
            assert all(outcome.ok for outcome in sink.send(some(1, 2, 3, 4)))
        assert [admin.xlen(f"s-doc-{n}") for n in (1, 2, 3, 4)] == [1] * 4
        server.kill()
        outcomes = sink.send(some(5, 6))
        assert {outcome.kind for outcome in outcomes} == {"retry"}
        sink.close()
    finally:
        admin.close()
        server.close()


# --- settings


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": "http://u:s3cret@h"}, "begins with redis://"),
        ({"url": "redis://u:s3cret@h/x"}, "number of the database"),
        ({"url": "redis://u:s3cret@h/1", "cluster": True}, "database 0 only"),
        ({"url": "redis://h:99999"}, "write a url"),
        ({"stream": "a{b"}, "is alone"),
        ({"maxlen": 0}, "greater than or equal to 1"),
        ({"client_key": "k"}, "set client_cert"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read, without showing what may be secret."""
    with pytest.raises(ValidationError, match=message) as caught:
        RedisSettings.model_validate({"url": "redis://h", "stream": "s"} | keys)
    assert "s3cret" not in str(caught.value)
