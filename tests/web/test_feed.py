"""The log over HTTP: pages, long polls and streams, read by plain clients from a real server."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from esfeed.testing.events import sample_event
from esfeed.web import tail
from tests.support.clients import eventually
from tests.web.conftest import Open
from tests.web.support import Desk


def test_pages_give_every_event_once_and_in_order(desk: Desk) -> None:
    """A reader that asks on with ``last`` meets each event once; at the end it gets an empty page and stays there."""
    desk.fill(250)
    met: list[int] = []
    since = 0
    while True:
        page = desk.get("/v1/changes", since=since, limit=100).json()
        assert page["head"] == 250
        if not page["events"]:
            break
        met += [event["data"]["position"] for event in page["events"]]
        since = page["last"]
    assert met == list(range(1, 251))
    assert since == 250


def test_filters(desk: Desk) -> None:
    """Each filter alone, several names of one, all of them together, and the page says how far it looked."""
    desk.put(
        sample_event(doc_id="a", op="created", after={"status": "BUILD"}),
        sample_event(doc_id="a", before={"status": "BUILD"}, after={"status": "ACTIVE"}, changed=("status",)),
        sample_event(doc_id="b", op="created", after={"status": "BUILD"}),
        sample_event(doc_id="i", type="OS::Glance::Image", watch="images", op="created", after={"n": 1}),
        sample_event(doc_id="b", op="deleted", before={"status": "BUILD"}),
    )
    assert desk.positions(type="OS::Glance::Image") == [4]
    assert desk.positions(type=["OS::Glance::Image", "OS::Nova::Server"]) == [1, 2, 3, 4, 5]
    assert desk.positions(id="a") == [1, 2]
    assert desk.positions(id=["a", "i"]) == [1, 2, 4]
    assert desk.positions(watch="images") == [4]
    assert desk.positions(where="op == 'deleted'") == [5]
    assert desk.positions(where="has(after.status) && after.status == 'ACTIVE'") == [2]
    assert desk.positions(where="'status' in changed", id="a", since=1) == [2]
    assert desk.positions(watch="images", id="a") == []
    assert desk.get("/v1/changes", id="a", limit=1).json()["last"] == 1
    assert desk.get("/v1/changes", id="nobody").json()["last"] == 5


def test_an_expression_without_an_answer_lets_nothing_through(desk: Desk) -> None:
    """A document that lacks the field is passed over, and those after it are not."""
    desk.put(sample_event(after={"n": 1}, op="created"), sample_event(after={"m": 1}, op="created"))
    assert desk.positions(where="after.m == 1") == [2]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"since": "-1"}, "since must be a position"),
        ({"since": "x"}, "since must be a position"),
        ({"since": str(2**70)}, "since must be a position"),
        ({"limit": "0"}, "from 1 to 1000"),
        ({"limit": "1e3"}, "from 1 to 1000"),
        ({"limit": "1001"}, "from 1 to 1000"),
        ({"timeout": "301"}, "from 0 to 300"),
        ({"feed": "continuous"}, "normal, longpoll, eventsource"),
        ({"integers": "yes"}, "exact, safe"),
        ({"view": "both"}, "admin, user"),
        ({"where": "op = 'x'"}, 'write "=="'),
        ({"where": "status == 'x'"}, "after.status"),
        ({"watch": "server"}, "no watch 'server'"),
        ({"type": ""}, "empty"),
        ({"id": ["i"] * 101}, "the limit is 100"),
        ({"since": ["1", "2"]}, "2 times"),
        ({"sinse": "1"}, "unknown parameter 'sinse'"),
    ],
)
def test_a_wrong_parameter_is_said_so(desk: Desk, query: dict[str, object], said: str) -> None:
    """400, in words that name the parameter and what to write."""
    answer = desk.get("/v1/changes", **query)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_a_position_that_is_gone_gets_410_and_the_first_one_left(desk: Desk) -> None:
    """Also for a long poll and a stream; from the first one left on, all is there. Without ``since``, that is said."""
    desk.fill(10)
    desk.drop(6)
    for feed in ("normal", "longpoll", "eventsource"):
        answer = desk.get("/v1/changes", since=3, feed=feed)
        assert answer.status_code == 410, feed
        assert (answer.json()["first"], answer.json()["last"]) == (7, 10)
    assert desk.positions(since=6) == [7, 8, 9, 10]
    assert desk.positions() == [7, 8, 9, 10]
    desk.drop(10)
    assert desk.get("/v1/changes", since=9).json()["first"] == 11
    assert desk.positions(since=10) == desk.positions() == []


def test_a_position_beyond_the_end_is_of_another_log(desk: Desk) -> None:
    """A reader of a log that was begun anew is not left waiting for years."""
    desk.fill(3)
    answer = desk.get("/v1/changes", since=4)
    assert (answer.status_code, answer.json()["last"]) == (409, 3)
    assert desk.positions(since=3) == []


def test_a_long_poll_answers_when_something_comes(desk: Desk) -> None:
    """Soon after the event, not at its time-out, and only for an event that is wanted."""
    desk.fill(1)
    threading.Timer(0.4, desk.put, [sample_event(doc_id="other")]).start()
    threading.Timer(0.8, desk.put, [sample_event(doc_id="wanted")]).start()
    began = time.monotonic()
    page = desk.get("/v1/changes", since=1, feed="longpoll", timeout=20, id="wanted").json()
    assert [event["data"]["position"] for event in page["events"]] == [3]
    assert 0.7 < time.monotonic() - began < 3
    began = time.monotonic()
    page = desk.get("/v1/changes", since=3, feed="longpoll", timeout=0.5).json()
    assert (page["events"], page["last"]) == ([], 3)
    assert 0.4 < time.monotonic() - began < 3


def test_a_stream_goes_on_where_it_was_cut(desk: Desk) -> None:
    """Over a cut by the reader and a restart of the server, ``Last-Event-ID`` loses and repeats nothing."""
    desk.fill(5)
    with desk.stream(since=0) as stream:
        eventually(lambda: len(stream.events) == 5)
        desk.fill(5)
        eventually(lambda: len(stream.events) == 10)
        met = stream.positions()
        last = stream.last
    desk.fill(5)
    desk.stop()
    desk.start()
    desk.fill(5)
    # What the header says counts more than what the url says: that one is as it was at first.
    with desk.stream(since=0, last=last) as stream:
        eventually(lambda: len(stream.events) == 10)
        assert met + stream.positions() == list(range(1, 21))


def test_a_stream_from_now_tells_nothing_old(desk: Desk) -> None:
    """``since=now`` begins with what comes after it."""
    desk.fill(5)
    with desk.stream(since="now") as stream:
        desk.fill(2)
        eventually(lambda: stream.positions() == [6, 7])


def test_a_silent_stream_gives_signs_of_life_and_keeps_its_place(open_desk: Open) -> None:
    """A reader with a narrow filter is told its place without an event, so that it need not read all again."""
    desk = open_desk('heartbeat = "200ms"')
    with desk.stream(since=0, id="nobody") as stream:
        desk.fill(7)
        eventually(lambda: stream.last == "7")
        assert stream.events == []
        count = len(stream.lines)
        eventually(lambda: len(stream.lines) > count + 3)
    with desk.stream(since=0, id="d2") as stream:
        eventually(lambda: len(stream.events) == 1)
        # Also what stands after the last event that it wanted.
        eventually(lambda: stream.last == "7")


def test_a_stream_whose_place_is_dropped_is_told(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader behind the ring whose next rows are dropped from the log is told so, rather than passed over."""
    monkeypatch.setattr(tail, "_RING", 10)
    desk = open_desk()
    desk.fill(5000, after={"text": "x" * 3000}, op="created")
    address = urlsplit(desk.url)
    reader = socket.create_connection((address.hostname, address.port))
    reader.sendall(b"GET /v1/changes?since=0&feed=eventsource HTTP/1.1\r\nhost: localhost\r\n\r\n")
    reader.recv(1000)
    time.sleep(0.5)
    desk.drop(4990)
    whole = b""
    reader.settimeout(20)
    while b"event: gone" not in whole:
        part = reader.recv(1 << 20)
        assert part, whole[-300:]
        whole = whole[-5000:] + part
    assert b'data: {"first":4991}' in whole
    reader.close()


def test_a_reader_that_does_not_read_is_cut_off_and_can_resume(open_desk: Open) -> None:
    """Others have their events meanwhile, little is kept in memory for it, and it loses nothing."""
    desk = open_desk('cut_off = "1s"')
    address = urlsplit(desk.url)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect((address.hostname, address.port))
    slow.sendall(b"GET /v1/changes?since=0&feed=eventsource HTTP/1.1\r\nhost: localhost\r\n\r\n")
    eventually(lambda: 'esfeed_http_readers{feed="eventsource"} 1.0' in desk.get("/metrics").text)
    with desk.stream(since=0) as quick:
        for _ in range(20):
            desk.fill(100, op="created", after={"text": "x" * 5000})
        eventually(lambda: len(quick.events) == 2000)
        eventually(lambda: "esfeed_http_readers_cut_off_total 1.0" in desk.get("/metrics").text)
        assert not quick.ended.is_set()
    eventually(lambda: 'esfeed_http_readers{feed="eventsource"} 0.0' in desk.get("/metrics").text)
    got = b""
    slow.settimeout(10)
    try:
        while part := slow.recv(1 << 20):
            got += part
    except ConnectionError:
        pass
    slow.close()
    last = max(int(line[4:]) for line in got.split(b"\n") if line.startswith(b"id: "))
    assert last < 1000
    with desk.stream(last=last) as stream:
        eventually(lambda: stream.positions() == list(range(last + 1, 2001)))


def test_many_readers_read_the_log_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty readers of a hundred events: each has all of them, from a few readings by one thread."""
    readings: list[str] = []
    read_log = desk.app.store.log.read

    def counted(after: int, limit: int) -> object:
        rows = read_log(after, limit)
        if rows:
            readings.append(threading.current_thread().name)
        return rows

    monkeypatch.setattr(desk.app.store.log, "read", counted)
    with ExitStack() as stack:
        streams = [stack.enter_context(desk.stream(since=0)) for _ in range(40)]
        for _ in range(10):
            desk.fill(10)
            time.sleep(0.05)
        eventually(lambda: all(stream.positions() == list(range(1, 101)) for stream in streams))
    assert set(readings) == {"web tail"}
    assert len(readings) <= 20


def test_a_reader_behind_the_ring_reads_pages(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ring no longer has comes from the log, and then the ring takes over; in order, and once each."""
    monkeypatch.setattr(tail, "_RING", 50)
    desk = open_desk()
    with desk.stream(since=0) as early:
        for _ in range(10):
            desk.fill(100)
        with desk.stream(since=0) as late:
            desk.fill(100)
            eventually(lambda: len(late.events) == len(early.events) == 1100)
            assert early.positions() == late.positions() == list(range(1, 1101))


def test_events_for_one_sink_are_no_news(desk: Desk) -> None:
    """What a backfill addresses to a sink is passed over, and the place moves on."""
    from esfeed.model.event import Key
    from esfeed.ports import Commit, Entry

    desk.app.store.commits.commit("servers", Commit(entries=[Entry(Key("t", "a"), sample_event(), "audit")]))
    desk.fill(1)
    assert desk.positions() == [2]
    desk.app.store.commits.commit("servers", Commit(entries=[Entry(Key("t", "a"), sample_event(), "audit")]))
    page = desk.get("/v1/changes", since=2).json()
    assert (page["events"], page["last"]) == ([], 3)


def test_large_integers_survive_and_come_as_strings_when_asked(desk: Desk) -> None:
    """Digit by digit as they are by default; ``integers=safe`` writes those beyond 2**53 as strings, however deep."""
    document = {"n": 2**53 + 1, "small": 2**53 - 1, "deep": [{"m": -(2**60)}], "text": "9007199254740993"}
    desk.put(sample_event(op="created", after=document))
    exact = desk.get("/v1/changes").text
    assert '"n": 9007199254740993' in exact
    data = json.loads(desk.get("/v1/changes", integers="safe").text)["events"][0]["data"]
    assert data["after"] == {
        "n": "9007199254740993",
        "small": 2**53 - 1,
        "deep": [{"m": str(-(2**60))}],
        "text": "9007199254740993",
    }
    assert data["origin"]["version"] == str(1795514400000000001)


def test_readers_are_bounded(open_desk: Open) -> None:
    """All together, and those of one token; a place that is left can be taken."""
    desk = open_desk("readers = 3\nreaders_of_one = 1")
    mine = desk.token("p1")
    with desk.stream(mine) as one:
        assert one.status == 200
        with desk.stream(mine) as two:
            assert two.status == 429
            assert "readers_of_one" in two.body["detail"]
        with desk.stream(), desk.stream(), desk.stream() as four:
            assert four.status == 503
        assert desk.get("/v1/changes").status_code == 200
    eventually(lambda: 'esfeed_http_readers{feed="eventsource"} 0.0' in desk.get("/metrics").text)
    with desk.stream(mine) as again:
        assert again.status == 200


def test_a_state_that_cannot_be_read_is_503(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words that say nothing of where it lies; afterwards it goes on."""
    from esfeed.errors import StateError

    def broken(*_: object) -> object:
        raise StateError("disk I/O error in /secret/place", "look at the disk")

    desk.fill(1)
    with monkeypatch.context() as patch:
        patch.setattr(desk.app.store.log, "read", broken)
        answer = desk.get("/v1/changes")
        assert answer.status_code == 503
        assert "secret" not in answer.text
    assert desk.positions() == [1]


def test_rows_that_are_dropped_while_a_page_is_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the reading: 410 all the same, never a page that begins too late."""
    desk.fill(10)
    read_log = desk.app.store.log.read

    def dropping(after: int, limit: int) -> object:
        desk.drop(6)
        return read_log(after, limit)

    monkeypatch.setattr(desk.app.store.log, "read", dropping)
    answer = desk.get("/v1/changes", since=2)
    assert (answer.status_code, answer.json()["first"]) == (410, 7)
