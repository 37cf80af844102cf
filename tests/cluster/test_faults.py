"""What goes wrong on the wire, on every real engine behind a spoiling proxy: tried again, or an error; never data."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.errors import ClusterError, NameGone
from esfeed.model.event import Key
from esfeed.model.reads import Resolved, Shard
from esfeed.trackers.accounting import restarted
from tests.support import proxy as wire
from tests.support.clients import Raw
from tests.support.engines import Engine
from tests.support.proxy import Proxy

MANY = 99


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, tuple[Raw, str]]]:
    """By engine, the index that all tests here read and none writes to."""
    found: dict[str, tuple[Raw, str]] = {}
    yield found
    for raw, index in found.values():
        raw.drop(index)


@pytest.fixture
def of(raw: Raw, cluster: EngineCluster, made: dict[str, tuple[Raw, str]]) -> Resolved:
    """An index of two shards and 30 dated documents."""
    if raw.engine.name not in made:
        index = f"qa-{secrets.token_hex(5)}"
        made[raw.engine.name] = raw, index
        raw.create(index, {"updated_at": {"type": "date"}, "n": {"type": "integer"}}, {"number_of_shards": 2})
        raw.fill(index, 30, updated_at="2026-10-01T10:00:00Z")
    return cluster.resolve(made[raw.engine.name][1], "w")


Read = Callable[[EngineCluster, Resolved], Any]


def counters(cluster: EngineCluster, of: Resolved) -> int:
    return sum(shard.ops for shard in cluster.counters(of.name).shards.values())


def newest(cluster: EngineCluster, of: Resolved) -> int | None:
    return cluster.newest(of.name, "updated_at")


def window(cluster: EngineCluster, of: Resolved) -> list[str]:
    return sorted(doc.key.id for page in cluster.window(of, "updated_at", 0, 100) for doc in page.docs)


def first_page(cluster: EngineCluster, of: Resolved) -> list[str]:
    return sorted(doc.key.id for page in cluster.everything(of, source=True, size=100) for doc in page.docs)


def three(cluster: EngineCluster) -> list[Key]:
    """The keys of two documents that are there, and of one that is not."""
    kind = "doc" if cluster.engine.distribution == "elasticsearch" and cluster.engine.version < (7,) else "_doc"
    return [Key(kind, id) for id in ("1", "2", "nowhere")]


def lookup(cluster: EngineCluster, of: Resolved) -> list[bool]:
    wanted = [(of.indices[0].uuid, key) for key in three(cluster)]
    return [doc is not None for doc in cluster.lookup(of, wanted)]


def shown(cluster: EngineCluster, of: Resolved) -> list[str]:
    return sorted(doc.key.id for doc in cluster.shown(of, three(cluster), source=True))


def resolve(cluster: EngineCluster, of: Resolved) -> Resolved:
    return cluster.resolve(of.name, "w")


def shards(cluster: EngineCluster, of: Resolved) -> list[Shard]:
    nodes = {name: shard.node for name, shard in cluster.counters(of.name).shards.items()}
    return [Shard(of.indices[0].name, number, nodes[f"{of.indices[0].name}/{number}"]) for number in (0, 1)]


def tails(cluster: EngineCluster, of: Resolved) -> list[str]:
    found = cluster.tails(of, dict.fromkeys(shards(cluster, of), -1), 100, source=True)
    return sorted(doc.key.id for tail in found.values() for doc in tail.docs)


def histogram(cluster: EngineCluster, of: Resolved) -> int:
    shard = shards(cluster, of)[0]
    return sum(cluster.histograms(of, {shard: [(0, 1 << 20)]}, 20)[shard].values())


def histograms(cluster: EngineCluster, of: Resolved) -> int:
    counted = cluster.histograms(of, {shard: [(0, 1 << 20)] for shard in shards(cluster, of)}, 20)
    return sum(count for one in counted.values() for count in one.values())


def shown_by_shard(cluster: EngineCluster, of: Resolved) -> list[str]:
    found = cluster.shown_by_shard(of, dict.fromkeys(shards(cluster, of), three(cluster)))
    return sorted(doc.key.id for doc in found)


BY_NUMBER: dict[str, tuple[Read, str]] = {
    "tails": (tails, r"/_msearch"),
    "histogram": (histogram, r"/_search\?"),
    "histograms": (histograms, r"/_msearch"),
    "shown by shard": (shown_by_shard, r"/_msearch"),
}
"""What engines with sequence numbers are asked besides."""
READS: dict[str, tuple[Read, str]] = {
    "counters": (counters, r"/_stats"),
    "newest": (newest, r"/_search\?"),
    "window": (window, r"/_search\?"),
    "scroll": (first_page, r"/_search\?"),
    "lookup": (lookup, r"/_mget"),
    "shown": (shown, r"/_search\?"),
    "resolve": (resolve, r"/_settings"),
}


def reads(cluster: EngineCluster, of: Resolved) -> Iterator[tuple[Read, str]]:
    """What this engine can be asked, each with the path that it is asked under."""
    yield from READS.values()
    if not cluster.without_seq_no(of):
        yield from BY_NUMBER.values()


FAULTS = {
    "429": wire.answer(429),
    "502": wire.answer(502, b"<html>Bad Gateway</html>"),
    "503": wire.answer(503),
    "504": wire.answer(504, b""),
    "cut before": wire.cut_before(),
    "cut after": wire.cut_after(),
    "cut middle": wire.cut_middle(),
}


# --- what is tried again


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_tried_again(
    cluster: EngineCluster, through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float], fault: str
) -> None:
    """Every read that may be sent twice gives, after one fault, what it gives without one; with one nap between."""
    for read, path in reads(cluster, of):
        expected = read(cluster, of)
        proxy.reset()
        proxy.on(path, FAULTS[fault])
        before = len(naps)
        assert read(through, of) == expected
        assert len(proxy.lines(path)) == 2
        assert len(naps) == before + 1


def test_the_asked_wait_is_kept(through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float]) -> None:
    """`Retry-After` in seconds is slept to the second, but for a minute at most; as a date, until then."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=30), usegmt=True)
    for told in ("7", "9" * 400, soon, soon.replace("GMT", "-0000"), past):
        proxy.on("_stats", wire.answer(429, headers={"retry-after": told}))
        assert counters(through, of) == 30
    assert naps[:2] == [7.0, 60.0]
    assert all(20 < nap <= 30 for nap in naps[2:4])
    assert naps[4] == 0.0


@pytest.mark.parametrize("told", ["", "-5", "1.5", "soon", "\xb2", "Tue, 99 Nov 2026 10:00:00 GMT", "\x01"])
def test_an_unreadable_wait_is_none(
    through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float], told: str
) -> None:
    """A `Retry-After` that says nothing leaves the usual pause."""
    proxy.on("_stats", wire.answer(503, headers={"retry-after": told}))
    assert counters(through, of) == 30
    assert len(naps) == 1
    assert 0 < naps[0] <= 6


@pytest.mark.parametrize("fault", FAULTS)
def test_in_the_end_it_gives_up(
    through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float], fault: str
) -> None:
    """After the set tries the error names the cluster and has a hint; pauses grew but stayed bearable."""
    for read, path in reads(through, of):
        proxy.reset()
        naps.clear()
        proxy.on(path, FAULTS[fault], times=MANY)
        with pytest.raises(ClusterError, match=r"'main'.*4 tries") as caught:
            read(through, of)
        assert caught.value.hint
        assert len(proxy.lines(path)) == 4
        assert len(naps) == 3
        assert sum(naps) < 20


@pytest.mark.parametrize("status", [400, 500, 501])
def test_a_lasting_fault_is_not_tried_again(
    through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float], status: int
) -> None:
    """What will not pass is an error at once."""
    for read, path in reads(through, of):
        proxy.reset()
        proxy.on(path, wire.answer(status), times=MANY)
        with pytest.raises(ClusterError, match=str(status)):
            read(through, of)
        assert len(proxy.lines(path)) == 1
    assert naps == []


def test_a_late_answer_is_a_timeout(engine: Engine, raw: Raw, index: str, proxy: Proxy) -> None:
    """An answer later than `timeout` counts as none; the error names the setting."""
    raw.create(index)
    cluster = EngineCluster(Connection("main", [proxy.url], timeout=0.3, tries=2), lambda seconds: None)
    proxy.on("_stats", wire.delay(0.8), times=MANY)
    with pytest.raises(ClusterError, match=r"within 0\.3 s.*clusters\.main\.timeout"):
        cluster.counters(index)
    assert len(proxy.lines("_stats")) == 2
    cluster.close()


def test_the_next_host_is_tried(engine: Engine, of: Resolved) -> None:
    """One dead node among the hosts costs a try, not the poll."""
    cluster = EngineCluster(Connection("main", ["http://127.0.0.1:1", engine.url]), lambda seconds: None)
    for _ in range(6):
        assert counters(cluster, of) == 30
    cluster.close()


def test_a_cluster_that_is_down(engine: Engine) -> None:
    """Nobody listens: the error names the address and the setting."""
    naps: list[float] = []
    cluster = EngineCluster(Connection("main", ["http://127.0.0.1:1"]), naps.append)
    for ask in (lambda: cluster.counters("x"), lambda: cluster.resolve("x", "w"), lambda: cluster.engine):
        with pytest.raises(ClusterError, match=r"http://127\.0\.0\.1:1.*clusters\.main\.hosts") as caught:
            ask()
        assert not isinstance(caught.value, NameGone)
    assert len(naps) == 9
    cluster.close()


# --- scrolls


@pytest.mark.parametrize("fault", [*FAULTS, "truncated", "wait"])
@pytest.mark.parametrize("page", [1, 2])
def test_a_scroll_is_never_continued_twice(
    through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float], fault: str, page: int
) -> None:
    """A fault in a continuation raises: a second try would skip a page. The scroll is given back to the engine."""
    faults = {**FAULTS, "truncated": wire.truncate(), "wait": wire.answer(429, headers={"retry-after": "1"})}
    proxy.on(r"^POST /_search/scroll", faults[fault], nth=page)
    with pytest.raises(ClusterError):
        list(through.everything(of, source=True, size=8))
    assert len(proxy.lines("^POST /_search/scroll")) == page
    assert len(proxy.lines("^DELETE /_search/scroll")) == 1
    assert naps == []


def test_a_scroll_that_ends_early_is_no_end(through: EngineCluster, of: Resolved, proxy: Proxy) -> None:
    """An empty page before all documents came is an error, not the end."""
    proxy.on(r"^POST /_search/scroll", wire.rewrite(lambda parsed: parsed["hits"].update(hits=[])), nth=2)
    with pytest.raises(ClusterError, match=r"of 30 documents"):
        list(through.everything(of, source=True, size=8))


def test_a_scroll_left_off_is_given_back(through: EngineCluster, of: Resolved, proxy: Proxy) -> None:
    """Whoever stops reading leaves no open scroll on the engine; a fault in giving it back is nobody's trouble."""
    proxy.on(r"^DELETE /_search/scroll", wire.answer(500))
    pages = through.everything(of, source=True, size=8)
    next(pages)
    pages.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(proxy.lines("^DELETE /_search/scroll")) == 1


# --- answers that are not whole

PARTIAL = {
    "failed": wire.failed_shard,
    "silent": wire.silent_shard,
    "timed out": wire.timed_out,
}


@pytest.mark.parametrize("kind", PARTIAL)
@pytest.mark.parametrize("path", [r"/_search\?", r"POST /_search/scroll"])
def test_a_partial_answer_is_an_error(
    through: EngineCluster, of: Resolved, proxy: Proxy, naps: list[float], kind: str, path: str
) -> None:
    """Failed or silent shards, and answers cut off by time, in searches and on every page of a scroll."""
    reads: list[Read] = [newest, window] if "scroll" not in path else []
    reads.append(lambda cluster, of: list(cluster.everything(of, source=False, size=8)))
    for read in reads:
        proxy.reset()
        proxy.on(path, wire.rewrite(PARTIAL[kind]), times=MANY)
        with pytest.raises(ClusterError, match="partial answer"):
            read(through, of)
        assert len(proxy.lines(path)) == 1
    assert naps == []


@pytest.mark.parametrize("fault", [wire.answer(503), wire.cut_middle(), wire.rewrite(wire.failed_shard)])
def test_a_cluster_that_fails_is_not_one_without_sequence_numbers(
    client: Client, through: EngineCluster, of: Resolved, proxy: Proxy, fault: Any
) -> None:
    """Or a bad minute would have a watch followed by dates from then on."""
    if not client.dialect.seq_no:
        pytest.skip("there are none")
    proxy.on(r"/_search\?", fault, times=MANY)
    with pytest.raises(ClusterError):
        through.without_seq_no(of)


def test_a_shard_that_fails_once_is_not_one_without_sequence_numbers(
    client: Client, through: EngineCluster, of: Resolved, proxy: Proxy
) -> None:
    """Such as one that is out of memory for a moment; which is no answer to whether it has numbers."""
    if not client.dialect.seq_no:
        pytest.skip("there are none")
    proxy.on(r"/_search\?", wire.rewrite(wire.failed_shard), times=1)
    assert through.without_seq_no(of) == ""


def test_a_terminated_search_is_an_error(through: EngineCluster, of: Resolved, proxy: Proxy) -> None:
    """`terminated_early` in a search that is not counted against its total."""
    proxy.on(r"/_search\?", wire.rewrite(wire.terminated_early), times=MANY)
    for read in (newest, window, shown):
        with pytest.raises(ClusterError, match="terminated early"):
            read(through, of)


def test_statistics_without_a_shard_are_an_error(through: EngineCluster, of: Resolved, proxy: Proxy) -> None:
    """Counters of all shards or none: failed ones, a primary that is not there; one left out compares with nothing."""

    def no_primary(parsed: Any) -> None:
        for copy in parsed["indices"][of.name]["shards"]["0"]:
            copy["routing"]["primary"] = False

    def initializing(parsed: Any) -> None:
        parsed["indices"][of.name]["shards"]["0"][0]["routing"]["state"] = "INITIALIZING"

    def left_out(parsed: Any) -> None:
        del parsed["indices"][of.name]["shards"]["0"]
        parsed["_shards"]["successful"] -= 1

    for change in (wire.failed_shard, no_primary, initializing):
        proxy.reset()
        proxy.on("_stats", wire.rewrite(change))
        with pytest.raises(ClusterError):
            counters(through, of)
    proxy.on("_stats", wire.rewrite(left_out))
    few, all_of_them = through.counters(of.name), through.counters(of.name)
    assert restarted(few, all_of_them)
    assert restarted(all_of_them, few)


def test_a_failed_lookup_is_an_error(through: EngineCluster, of: Resolved, proxy: Proxy) -> None:
    """An error of one document, an answer for fewer or for others: never `not there`, never skipped."""

    def refused(parsed: Any) -> None:
        doc = parsed["docs"][1]
        doc.pop("found", None)
        doc["error"] = {"type": "es_rejected_execution_exception", "reason": "queue is full"}

    def fewer(parsed: Any) -> None:
        del parsed["docs"][1]

    def swapped(parsed: Any) -> None:
        parsed["docs"].reverse()

    for change in (refused, fewer, swapped):
        proxy.reset()
        proxy.on("_mget", wire.rewrite(change))
        with pytest.raises(ClusterError):
            lookup(through, of)


def test_a_truncated_body_is_an_error(through: EngineCluster, of: Resolved, proxy: Proxy) -> None:
    """Half of the JSON in a whole HTTP message."""
    for read, path in reads(through, of):
        proxy.reset()
        proxy.on(path, wire.truncate(), times=MANY)
        with pytest.raises(ClusterError):
            read(through, of)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'"ok"', b"<html>Log in</html>", b'{"error": "no"}', b'{"_shards": 1, "hits": 2}'],
)
def test_an_answer_of_something_else_is_an_error(
    through: EngineCluster, of: Resolved, proxy: Proxy, body: bytes
) -> None:
    """A 200 that is not the answer: empty, another shape, a login page."""
    for read, path in reads(through, of):
        proxy.reset()
        proxy.on(path, wire.answer(200, body), times=MANY)
        with pytest.raises(ClusterError):
            read(through, of)


# --- what is no Elasticsearch at all


class Stranger(HTTPServer):
    """A web server that answers everything alike."""

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture(
    params=[
        (200, "text/html", b"<html>Welcome</html>"),
        (200, "application/json", b'{"hello": "world"}'),
        (200, "application/json", b"[1, 2]"),
        (200, "application/json", b""),
        (200, "application/octet-stream", b"\x00\xff\x00"),
        (200, "application/json", b'{"version": {"number": "seven"}}'),
        (301, "text/html", b"moved"),
        (404, "text/html", b"<html>Not found</html>"),
        (404, "application/json", b"[]"),
        (418, "application/json", b'{"error": []}'),
    ],
    ids=lambda param: f"{param[0]}-{param[2][:12].decode(errors='replace')}",
)
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """The url of a server that is not Elasticsearch."""
    server = Stranger(*request.param)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_not_an_elasticsearch(stranger: str) -> None:
    """Whatever answers at that address, every question ends in an error that has a hint; never in an empty answer."""
    cluster = EngineCluster(Connection("main", [stranger]), lambda seconds: None)
    for ask in (lambda: cluster.engine, lambda: cluster.counters("x"), lambda: cluster.resolve("x", "w")):
        with pytest.raises(ClusterError) as caught:
            ask()
        assert caught.value.hint
    cluster.close()


def test_a_fault_while_finding_the_version_is_told_as_such(engine: Engine, proxy: Proxy) -> None:
    """A cluster that cannot be reached for the moment is not called `neither Elasticsearch nor OpenSearch`."""
    proxy.on("^GET /$", wire.answer(503), times=MANY)
    client = Client(Connection("main", [proxy.url]), lambda seconds: None)
    with pytest.raises(ClusterError, match="503"):
        assert client.engine
    proxy.reset()
    assert client.engine.distribution == engine.distribution
    client.close()
