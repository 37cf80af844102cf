"""Keys in few bytes: any key comes back exactly, and an old state's keys are brought to that form, all or none."""

from __future__ import annotations

import base64
import signal
import sqlite3
import subprocess
import sys
import uuid
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.errors import StateError
from esfeed.model.event import Key, Revision
from esfeed.ports import Commit, Entry, Parked, Settlement
from esfeed.store.keys import SHORT_NAMES, pack_key, unpack_key
from esfeed.store.lock import StateLock
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.store.long_keys import long_key
from tests.store.test_lock import hold
from tests.store.test_sql import ROOT

ID = "6c41f0aa-0b1c-4d2e-8f3a-9b5c7d1e2f40"

uuids = st.uuids().map(str)
ids = st.one_of(
    uuids,
    uuids.map(str.upper),
    uuids.map(lambda id: id.replace("-", "")),
    st.tuples(uuids, st.sampled_from(["_ADMIN", "_USER", "_admin", "_USERS", "-USER", " "])).map("".join),
    st.tuples(uuids, st.integers(0, 35), st.sampled_from("-0 Af_é\0")).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + 1 :]
    ),
    st.tuples(uuids, st.permutations(range(36))).map(lambda t: "".join(t[0][at] for at in t[1])),
    st.binary(min_size=15, max_size=15).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.binary(min_size=13, max_size=15).map(lambda raw: base64.b64encode(raw).decode()),
    st.text("0123456789", max_size=42),
    st.integers(-(10**20), 10**20).map(str),
    st.text("0123456789abcdefABCDEF", min_size=24, max_size=24),
    st.binary(max_size=40).map(bytes.hex),
    st.text("٣²\uff100", max_size=4),
    st.text(st.characters(codec="utf-8"), max_size=600),
    st.integers(250, 260).map(lambda size: "é" * (size // 2) + "x" * (size % 2)),
)
types = st.sampled_from(["_doc", "", "doc", *SHORT_NAMES]) | ids
keys = st.builds(Key, types, ids, st.none() | ids, st.none() | ids)


@given(keys)
def test_any_key_comes_back(one: Key) -> None:
    """To the character, whatever an id looks like; and packing knows no chance."""
    packed = pack_key(one)
    back = unpack_key(packed)
    assert back == one
    assert type(back) is Key
    assert pack_key(back) == packed


@given(st.lists(ids, min_size=1, max_size=4))
def test_no_two_keys_have_the_same_bytes(texts: list[str]) -> None:
    """The same texts as type, id, routing and index, in every order and with every part left out."""
    some = [None, "", *texts]
    made = {
        Key(type, id, routing, within)
        for type in ("_doc", *texts)
        for id in ("", *texts)
        for routing in some
        for within in some
    }
    assert len({pack_key(one) for one in made}) == len(made)


@pytest.mark.parametrize(
    ("one", "raw"),
    [
        (Key("_doc", ID), "01 6c41f0aa0b1c4d2e8f3a9b5c7d1e2f40"),
        (Key("_doc", ID.upper()), "00 24" + ID.upper().encode().hex()),
        (Key("_doc", "AVx3-_aBcDeFgHiJkLmN"), "02 " + base64.urlsafe_b64decode("AVx3-_aBcDeFgHiJkLmN").hex()),
        (Key("_doc", "0"), "03 00"),
        (Key("_doc", "65536"), "03 03 010000"),
        (Key("_doc", "007"), "00 03 303037"),
        (Key("_doc", ID.replace("-", "")), "04 10 6c41f0aa0b1c4d2e8f3a9b5c7d1e2f40"),
        (Key("OS::Nova::Server", ID + "_ADMIN"), "0d 6c41f0aa0b1c4d2e8f3a9b5c7d1e2f40 07 11"),
        (Key("OS::Nova::Server", ID + "_USER", "p"), "1e 6c41f0aa0b1c4d2e8f3a9b5c7d1e2f40 07 11 00 01 70"),
        (Key("_doc", "", "", "i-1"), "30 00 00 00 00 03 692d31"),
        (Key("mail", "a"), "08 01 61 00 04 6d61696c"),
        (Key("_doc", "x" * 255), "00 ff 000000ff" + "78" * 255),
    ],
)
def test_the_form_stays_as_it_is(one: Key, raw: str) -> None:
    """States are full of these bytes: whoever must change one of them has a step of migrations to write."""
    assert pack_key(one).hex() == raw.replace(" ", "")


def test_names_keep_their_places() -> None:
    """An old state's types are places in this list."""
    assert len(SHORT_NAMES) == 19
    assert all(one < other for one, other in pairwise(SHORT_NAMES))


def test_what_is_no_text_is_refused() -> None:
    """A lone surrogate has no UTF-8; no engine can send one."""
    for one in (Key("_doc", "\ud800"), Key("_doc", "\ud800" * 20), Key("\ud800", "a"), Key("_doc", "a", "\ud800" * 36)):
        with pytest.raises(UnicodeEncodeError):
            pack_key(one)


# --- an old state

KEYS = [
    *(Key("_doc", str(uuid.UUID(int=number << 100 | number, version=4))) for number in range(3000)),
    *(Key("_doc", str(number)) for number in range(100)),
    Key("_doc", "AVx3-_aBcDeFgHiJkLmN"),
    Key("_doc", "007"),
    Key("_doc", ""),
    Key("OS::Nova::Server", ID + "_ADMIN"),
    Key("OS::Nova::Server", ID + "_USER", "p", "i-2026"),
    Key("été", "\0", "", ""),
]
SPAN = [(0, 1 << 20)]


def old_state(path: Path) -> None:
    """A state with something in each table that has keys, as the schema 0004 had it."""
    store = SqlState(f"sqlite:///{path}")
    store.commits.commit(
        "w",
        Commit(
            {one: Revision("u", "i", 1, n, b"d" * 16, 0) for n, one in enumerate(KEYS)},
            dict.fromkeys(KEYS, b"{}"),
            entries=[Entry(one, sample_event(doc_id=one.id)) for one in KEYS[-200:]],
        ),
    )
    store.commits.commit(
        "by date", Commit({one: Revision("u", "i", 1, None, b"", stamp=n) for n, one in enumerate(KEYS[:50])})
    )
    rows = store.log.read(0, 9)
    store.outbox.settle(
        "s", Settlement(3, parked=[Parked("s", row.position, 1, "no", row.document, "dead") for row in rows])
    )
    store.close()
    database = sqlite3.connect(path, isolation_level=None)
    database.create_function("long_key", 1, lambda raw: long_key(unpack_key(raw)))
    for table in ("revision", "document", "log", "parked"):
        database.execute(f"UPDATE {table} SET key = long_key(key)")
    for table in ("tombstone", "dictionary", "superseded"):
        database.execute(f"DROP TABLE {table}")
    database.execute("ALTER TABLE document DROP COLUMN position")
    database.execute("UPDATE alembic_version SET version_num = '0004'")
    database.execute("VACUUM")
    database.close()


def is_whole(path: Path) -> None:
    """Opens it, and finds everything by its key."""
    store = SqlState(f"sqlite:///{path}")
    known = store.commits.known("w")
    assert known.revisions(KEYS) == {one: Revision("u", "i", 1, n, b"d" * 16, 0) for n, one in enumerate(KEYS)}
    assert known.at("u", 0, [len(KEYS) - 1]).keys() == {KEYS[-1]}
    assert known.count() == known.in_shard("u", 0) == known.histogram("u", 0, SPAN, 20)[0] == len(KEYS)
    with known.sweep() as sweep:
        sweep.see(KEYS[1:])
        assert [set(some) for some in sweep.unseen(100)] == [{KEYS[0]}]
    (found,) = store.commits.known("by date").within([(0, 100)], without=False)
    assert found.keys() == set(KEYS[:50])
    assert store.commits.documents("w", KEYS) == dict.fromkeys(KEYS, b"{}")
    assert [row.document[1] for row in store.log.read(0, 999)] == [pack_key(one) for one in KEYS[-200:]]
    assert [one.document for one in store.outbox.parked("s")] == [row.document for row in store.log.read(0, 9)]
    (one,) = store.dead_letters.page(["s"], limit=1)
    assert one.event is not None
    assert one.event.doc_id == KEYS[-200].id
    store.commits.commit("w", Commit(gone=KEYS))
    assert known.count() == known.in_shard("u", 0) == 0
    assert store.commits.documents("w", KEYS) == {}
    store.close()


def test_an_old_state_gets_short_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is found as before, and the file is smaller; the write-ahead log leaves nothing behind."""
    monkeypatch.setattr("esfeed.store.database._SPARE_PAGES", 10)
    path = tmp_path / "state.db"
    old_state(path)
    before = path.stat().st_size
    store = SqlState(f"sqlite:///{path}")
    assert store.size_bytes() == path.stat().st_size < 0.85 * before
    assert Path(f"{path}-wal").stat().st_size == 0
    store.close()
    database = sqlite3.connect(path)
    for table in ("revision", "document", "log", "parked"):
        assert database.execute(f"SELECT count(*) FROM {table} WHERE key >= x'40'").fetchone() == (0,), table
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    is_whole(path)


def test_an_old_state_that_cannot_give_pages_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps them, to be used again."""
    monkeypatch.setattr("esfeed.store.database._SPARE_PAGES", 10)
    path = tmp_path / "state.db"
    old_state(path)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA auto_vacuum = 0")
    database.execute("VACUUM")
    database.close()
    before = path.stat().st_size
    SqlState(f"sqlite:///{path}").close()
    assert path.stat().st_size >= before
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA freelist_count").fetchone()[0] > 10
    database.close()
    is_whole(path)


DIE = """import itertools, os, signal, sys
from esfeed.store import keys
from esfeed.store.state import SqlState
packed, pack_key = itertools.count(), keys.pack_key
def dying(key):
    if next(packed) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return pack_key(key)
keys.pack_key = dying
SqlState(f"sqlite:///{sys.argv[1]}")
"""


@pytest.mark.parametrize("number", [0, 2000, len(KEYS) + 50 + 10, 2 * len(KEYS) + 50 + 200 + 5])
def test_kill_9_in_the_middle_of_it(tmp_path: Path, number: int) -> None:
    """In revisions, contents, or what is parked: the next start does it all."""
    path = tmp_path / "state.db"
    old_state(path)
    died = subprocess.run([sys.executable, "-c", DIE, str(path), str(number)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    database = sqlite3.connect(path)
    assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)
    assert database.execute("SELECT count(*) FROM revision WHERE key < x'40'").fetchone() == (0,)
    database.close()
    is_whole(path)


def test_an_old_feed_that_still_runs(tmp_path: Path) -> None:
    """Its state is not changed under it; a process that holds the state itself goes on."""
    path = tmp_path / "state.db"
    old_state(path)
    before = path.read_bytes()
    with hold(Path(f"{path}.lock")) as feed:
        with pytest.raises(StateError, match=rf"in use by `esfeed run`, process {feed.pid}") as caught:
            SqlState(f"sqlite:///{path}")
        feed.communicate("")
    assert "end that process" in caught.value.hint
    assert path.read_bytes() == before
    with StateLock(Path(f"{path}.lock"), "run"):
        is_whole(path)
