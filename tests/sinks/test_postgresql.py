"""The PostgreSQL sink, against a real server."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import ValidationError

from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import Outcome
from esfeed.sinks.postgresql.settings import PostgresqlSettings
from esfeed.sinks.postgresql.sink import PostgresqlSink
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import SinkContract
from tests.sinks.servers import Server, kill_amid


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server("postgresql")
    yield server
    server.close()


class Admin:
    """A connection of the test's own, made anew where a restart ended it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    def __call__(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._server.url, autocommit=True, row_factory=dict_row)
        cursor = self._connection.execute(statement, values)  # type: ignore[call-overload]  # statements of this file
        return list(cursor.fetchall()) if cursor.description else []

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@pytest.fixture
def admin(server: Server) -> Iterator[Admin]:
    admin = Admin(server)
    admin("DROP SCHEMA public CASCADE")
    admin("CREATE SCHEMA public")
    admin("GRANT USAGE ON SCHEMA public TO public")
    yield admin
    admin.close()


def make(server: Server, **keys: Any) -> PostgresqlSink:
    keys = {"url": f"postgresql://127.0.0.1:{server.port}/esfeed", "table": "docs"} | keys
    if "user" not in keys and "@" not in keys["url"]:
        keys |= {"user": server.username, "password": server.password}
    return PostgresqlSink(PostgresqlSettings.model_validate(keys))


def some(*numbers: int, **keys: Any) -> list[Event]:
    return [sample_event(position=n, doc_id=f"doc-{n}", **keys) for n in numbers]


def kinds(outcomes: Any) -> list[tuple[str, bool]]:
    return [(outcome.kind, outcome.tried) for outcome in outcomes]


def documents(admin: Admin) -> dict[str, Any]:
    return {row["id"]: row["document"] for row in admin("SELECT id, document FROM docs ORDER BY id")}


class TestMirror(SinkContract):
    """The contract for a mirror, with a server that is killed; a trigger of the table notes each state in its order."""

    patience = 20.0

    @pytest.fixture(autouse=True)
    def _target(self, server: Server, admin: Admin) -> None:
        self.server, self.admin = server, admin
        sink = self.make_sink()
        sink.open()
        sink.close()
        admin("CREATE TABLE seen (number bigserial, event_id text, position bigint)")
        admin(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO seen (event_id, position) VALUES (NEW.event_id, NEW.position); RETURN NULL; END'"
        )
        admin("CREATE TRIGGER note AFTER INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION note()")

    def make_sink(self) -> PostgresqlSink:
        return make(self.server, timeout="5s")

    def received(self) -> list[tuple[str, int]]:
        return [(row["event_id"], row["position"]) for row in self.admin("SELECT * FROM seen ORDER BY number")]

    def break_target(self) -> None:
        self.admin.close()
        self.server.kill()

    def restore_target(self) -> None:
        self.server.start()
        self.admin("DROP TRIGGER IF EXISTS refuse ON docs")

    def refuse(self, doc_ids: Collection[str]) -> None:
        self.admin(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION ''not this one''; END'"
        )
        (doc_id,) = doc_ids
        self.admin(
            f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON docs FOR EACH ROW WHEN (NEW.id = '{doc_id}') "
            "EXECUTE FUNCTION refuse()"
        )


class TestLog(SinkContract):
    """The contract for a log of events, with a server that hangs."""

    cannot_refuse = "the table has no rule here; TestMirror has one that refuses rows"

    @pytest.fixture(autouse=True)
    def _target(self, server: Server, admin: Admin) -> None:
        self.server, self.admin = server, admin

    def make_sink(self) -> PostgresqlSink:
        return make(self.server, mode="log", timeout="1s")

    def received(self) -> list[tuple[str, int]]:
        rows = self.admin("SELECT * FROM docs ORDER BY written_at, xmin::text::bigint, ctid")
        texts = [row["event"] or json.loads(row["event_text"]) for row in rows]
        assert [text["id"] for text in texts] == [row["event_id"] for row in rows]
        return [(row["event_id"], row["position"]) for row in rows]

    def break_target(self) -> None:
        self._frozen = self.server.frozen()
        self._frozen.__enter__()

    def restore_target(self) -> None:
        self._frozen.__exit__(None, None, None)


# --- the mirror


STEPS = [
    sample_event(position=1, op="created", after={"n": 1}),
    sample_event(position=2, op="updated", after={"n": 2}),
    sample_event(position=3, op="deleted", before={"n": 2}),
    sample_event(position=4, op="created", after={"n": 4}),
]


@pytest.mark.parametrize("soft_delete", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_order_ends_in_the_last_state(server: Server, admin: Admin, count: int, soft_delete: bool) -> None:
    """Whatever comes late or twice, in one batch or in many, the table ends in the last state."""
    sink = make(server, soft_delete=soft_delete)
    sink.open()
    for order in itertools.permutations(range(count)):
        for one_batch in (False, True):
            admin("TRUNCATE docs, docs_gone")
            steps = [STEPS[place] for place in (*order, *order)]
            for batch in [steps] if one_batch else [[step] for step in steps]:
                assert all(outcome.ok for outcome in sink.send(batch))
            rows = admin("SELECT op, position, document FROM docs")
            if count == 3 and not soft_delete:
                assert rows == []
                assert admin("SELECT position FROM docs_gone") == [{"position": 3}]
            else:
                last = {"op": STEPS[count - 1].op, "position": count, "document": {"n": 2 if count == 3 else count}}
                assert rows == [last]
    sink.close()


def test_row(server: Server, admin: Admin) -> None:
    """A row has what a reader needs to find, order and read a document; numbers keep all their digits."""
    sink = make(server)
    sink.open()
    raw = b'{\n "a": 18446744073709551616.5, "b": "\\u00e4"}'
    assert sink.send([sample_event(position=7, doc_id="d", routing="r", after=raw)])[0].ok
    (row,) = admin("SELECT *, document->>'a' AS a FROM docs")
    assert (row["watch"], row["type"], row["id"], row["routing"]) == ("servers", "OS::Nova::Server", "d", "r")
    assert (row["op"], row["position"], row["version"]) == ("updated", 7, 1795514400000000007)
    assert (row["updated_at"], row["seq_no"], row["document_text"]) == ("2026-11-24T10:00:00Z", None, None)
    assert (row["a"], row["document"]["b"]) == ("18446744073709551616.5", "ä")
    sink.close()


@pytest.mark.parametrize("text", ['{"a": "x\\u0000y"}', '{"a": "\\ud83d"}', '{"a\\u0000": 1}', '{"a": 1e400000}'])
def test_document_that_jsonb_refuses(server: Server, admin: Admin, text: str) -> None:
    """What jsonb cannot hold is kept as text, to the byte, and the rest of the batch as ever."""
    sink = make(server)
    sink.open()
    events = [*some(1), sample_event(position=2, doc_id="odd", after=text.encode()), *some(3)]
    assert kinds(sink.send(events)) == [("ok", True)] * 3
    assert list(documents(admin)) == ["doc-1", "doc-3", "odd"]
    assert admin("SELECT document, document_text FROM docs WHERE id = 'odd'") == [
        {"document": None, "document_text": text}
    ]
    assert kinds(sink.send([sample_event(position=4, doc_id="odd", after={"a": 1})])) == [("ok", True)]
    assert admin("SELECT document, document_text FROM docs WHERE id = 'odd'") == [
        {"document": {"a": 1}, "document_text": None}
    ]
    sink.close()


def test_row_that_the_table_refuses(server: Server, admin: Admin) -> None:
    """A row that a constraint of the user's refuses is rejected by name of the fault, and sinks nobody else."""
    sink = make(server)
    sink.open()
    admin("ALTER TABLE docs ADD CONSTRAINT small CHECK ((document->>'n')::int < 10)")
    events = [sample_event(position=n, doc_id=str(n), after={"n": n * 4}) for n in (1, 2, 3)]
    outcomes = sink.send([*events, sample_event(position=4, doc_id="3", after={"n": 5})])
    assert kinds(outcomes) == [("ok", True), ("ok", True), ("rejected", True), ("ok", True)]
    assert "small" in outcomes[2].reason
    assert documents(admin) == {"1": {"n": 4}, "2": {"n": 8}, "3": {"n": 5}}
    sink.close()


def test_too_large(server: Server, admin: Admin) -> None:
    """An event beyond ``max_bytes`` is rejected by size."""
    sink = make(server, max_bytes="2KB")
    sink.open()
    outcomes = sink.send([sample_event(position=1, doc_id="big", after={"x": "y" * 3000}), *some(2)])
    assert [outcome.kind for outcome in outcomes] == ["rejected", "ok"]
    assert "the limit is 2048" in outcomes[0].reason
    assert list(documents(admin)) == ["doc-2"]
    sink.close()


def test_late_repeat_after_a_delete_in_a_new_run(server: Server, admin: Admin) -> None:
    """A delete is remembered over a restart, for ``keep_deletes``; what is older than that is forgotten."""
    for keep, left in (("1h", []), ("1ms", [{"n": 2}])):
        admin("DROP TABLE IF EXISTS docs, docs_gone")
        for batch in (STEPS[:3], STEPS[1:2]):
            sink = make(server, keep_deletes=keep)
            sink.open()
            sink._prune(time.monotonic() + 5)
            assert all(outcome.ok for outcome in sink.send(batch))
            sink.close()
            time.sleep(0.01)
        assert list(documents(admin).values()) == left


def test_epoch(server: Server, admin: Admin) -> None:
    """A log that counts anew loses against the old one, until ``epoch`` is raised; deletes obey it, too."""
    for epoch, position, expected in ((0, 500, 500), (0, 1, 500), (1, 1, 1), (0, 501, 1)):
        sink = make(server, epoch=epoch)
        sink.open()
        assert sink.send([sample_event(position=position, doc_id="a", after={"n": position})])[0].ok
        assert documents(admin) == {"a": {"n": expected}}
        sink.close()


def test_nul_in_an_id(server: Server, admin: Admin) -> None:
    """A NUL, which no text of PostgreSQL holds, stands as its picture."""
    sink = make(server)
    sink.open()
    assert sink.send([sample_event(doc_id="a\0b")])[0].ok
    assert list(documents(admin)) == ["a␀b"]
    sink.close()


def test_log_once(server: Server, admin: Admin) -> None:
    """In a log a repeat adds nothing."""
    sink = make(server, mode="log")
    sink.open()
    for _ in range(2):
        assert all(outcome.ok for outcome in sink.send(STEPS))
    rows = admin("SELECT op, event->>'subject' AS subject FROM docs ORDER BY position")
    assert [row["op"] for row in rows] == ["created", "updated", "deleted", "created"]
    assert rows[0]["subject"] == "OS::Nova::Server/6c41f0aa"
    sink.close()


# --- the table


def test_names_are_quoted(server: Server, admin: Admin) -> None:
    """A table may bear any name that the settings allow, a keyword, too, and lie in a schema."""
    admin('CREATE SCHEMA "Own"')
    sink = make(server, table="Own.Select")
    sink.open()
    assert sink.send(some(1))[0].ok
    assert admin('SELECT count(*) AS n FROM "Own"."Select"') == [{"n": 1}]
    sink.close()
    admin('DROP SCHEMA "Own" CASCADE')


def test_no_table(server: Server, admin: Admin) -> None:
    """Without ``create_table`` a missing table is an error of ``table``; one that is there is used."""
    with pytest.raises(ConfigError, match="no such table") as caught:
        make(server, create_table=False).open()
    assert caught.value.key == "table"
    sink = make(server)
    sink.open()
    sink.close()
    sink = make(server, create_table=False)
    sink.open()
    sink.close()


def test_other_table(server: Server, admin: Admin) -> None:
    """A table of somebody else's is not written to."""
    admin("CREATE TABLE docs (id text)")
    admin("CREATE TABLE docs_gone (id text)")
    with pytest.raises(ConfigError, match="it has other columns") as caught:
        make(server).open()
    assert caught.value.key == "table"


def test_user_without_rights(server: Server, admin: Admin) -> None:
    """A user that may not create is an error of ``table``; given a table that it may write, it needs no more."""
    admin("DROP ROLE IF EXISTS clerk")
    admin("CREATE ROLE clerk LOGIN PASSWORD 'pw'")
    with pytest.raises(ConfigError, match="permission denied") as caught:
        make(server, user="clerk", password="pw").open()
    assert caught.value.key == "table"
    sink = make(server)
    sink.open()
    sink.close()
    admin("GRANT SELECT, INSERT, UPDATE, DELETE ON docs, docs_gone TO clerk")
    sink = make(server, user="clerk", password="pw")
    sink.open()
    assert sink.send(some(1))[0].ok
    admin("REVOKE ALL ON docs FROM clerk")
    outcomes = sink.send(some(2, 3))
    assert kinds(outcomes) == [("retry", True), ("retry", False)]
    assert "permission denied" in outcomes[0].reason
    sink.close()
    admin("DROP OWNED BY clerk")
    admin("DROP ROLE clerk")


def test_table_dropped_meanwhile(server: Server, admin: Admin) -> None:
    """A table that is dropped while the feed runs makes events wait; once it is back, they come."""
    sink = make(server)
    sink.open()
    admin("ALTER TABLE docs RENAME TO away")
    assert "does not exist" in sink.send(some(1))[0].reason
    admin("ALTER TABLE away RENAME TO docs")
    assert sink.send(some(1))[0].ok
    sink.close()


# --- faults


def test_killed_in_the_middle_of_batches(server: Server, admin: Admin) -> None:
    """kill -9 of the server under a stream of batches: what was ok is there, and at the end all of it is, once."""
    sink = make(server, timeout="5s", mode="log")
    sink.open()
    admin.close()
    ok: set[int | None] = set()

    def look(events: Sequence[Event], outcomes: Sequence[Outcome]) -> None:
        done = [event.position for event, outcome in zip(events, outcomes, strict=True) if outcome.ok]
        ok.update(range(1, events[0].position or 0), done)

    def again() -> None:
        server.start()
        assert ok <= {row["position"] for row in admin("SELECT position FROM docs")}
        admin.close()

    made = kill_amid(sink, lambda n: some(n)[0], server.kill, again, look)
    sink.close()
    assert [row["position"] for row in admin("SELECT position FROM docs ORDER BY 1")] == list(range(1, made + 1))


def test_hang(server: Server, admin: Admin) -> None:
    """A server that hangs is left after ``timeout``; so is a lock that somebody holds."""
    sink = make(server, timeout="500ms")
    sink.open()
    with server.frozen():
        for _ in range(2):
            begin = time.monotonic()
            assert "no complete answer within 0.5 s" in sink.send(some(1, 2))[0].reason
            assert time.monotonic() - begin < 1.5
        with pytest.raises(Retryable, match=r"no complete answer within 0\.5 s"):
            sink.open()
    sink.open()
    with psycopg.connect(server.url) as other:
        other.execute("LOCK TABLE docs")
        begin = time.monotonic()
        assert "no complete answer within 0.5 s: check its load and locks" in sink.send(some(3))[0].reason
        assert time.monotonic() - begin < 1.5
    assert sink.send(some(3))[0].ok
    sink.close()


def test_nobody_there() -> None:
    """Where nobody listens, that is told with the address and without the password."""
    settings = {"url": "postgresql://u:s3cret@127.0.0.1:1/db", "table": "t"}
    with pytest.raises(Retryable, match=r"postgresql://127.0.0.1:1: .*refused") as caught:
        PostgresqlSink(PostgresqlSettings.model_validate(settings)).open()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"user": "esfeed", "password": "wr0ng"}, "password"),
        ({"user": "nobody", "password": "wr0ng"}, "password"),
        ({"user": "esfeed"}, "url"),
        ({"url": "postgresql://esfeed:wr0ng@127.0.0.1:{port}/esfeed"}, "url"),
    ],
)
def test_wrong_credentials(server: Server, keys: dict[str, str], key: str) -> None:
    """Refused credentials are an error of the key that holds them, and are not shown."""
    keys = {name: value.replace("{port}", str(server.port)) for name, value in keys.items()}
    with pytest.raises(ConfigError, match="does not accept it") as caught:
        make(server, **keys).open()
    assert caught.value.key == key
    assert "wr0ng" not in str(caught.value)


def test_no_database(server: Server) -> None:
    """A database that is not there is an error of ``url``."""
    with pytest.raises(ConfigError, match='database "other" does not exist') as caught:
        make(server, url=f"postgresql://127.0.0.1:{server.port}/other").open()
    assert caught.value.key == "url"


def test_tls(server: Server, admin: Admin) -> None:
    """With ``tls`` the server must be one that ``ca_certs`` vouches for; without, it is encrypted if offered."""
    for more in ({"tls": True, "ca_certs": server.ca_certs}, {"tls": True, "verify_certs": False}, {}):
        sink = make(server, **more)
        sink.open()
        assert sink.send(some(1))[0].ok
        assert sink._connection is not None
        assert admin("SELECT ssl FROM pg_stat_ssl WHERE pid = %s", sink._connection.info.backend_pid) == [{"ssl": True}]
        sink.close()
    with pytest.raises(Retryable, match="certificate"):
        make(server, tls=True).open()
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        make(server, tls=True, ca_certs="/nowhere.pem").open()
    assert caught.value.key == "ca_certs"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": "http://u:s3cret@h/d"}, "begins with postgresql://"),
        ({"url": "postgresql://u:s3cret@h"}, "name of the database"),
        ({"table": 'a"; DROP TABLE x; --'}, "write a name"),
        ({"table": "a.b.c"}, "write a name"),
        ({"table": "x" * 60}, "write a name"),
        ({"ca_certs": "x"}, "set tls = true"),
    ],
)
def test_wrong_settings(keys: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the settings are read, without showing what may be secret."""
    with pytest.raises(ValidationError, match=message) as caught:
        PostgresqlSettings.model_validate({"url": "postgresql://h/d", "table": "t"} | keys)
    assert "s3cret" not in str(caught.value)
