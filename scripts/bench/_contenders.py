"""Who reads: esfeed, the programs people use today, and the native reader as the bound; how each is called, and how
what it wrote is read back.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from _connect import VERSION, prepare
from _install import Missing, jar, native, node, python, tell
from _machine import ROOT

from esfeed.store.state import SqlState
from tests.support.engines import Engine

_PEERS = ROOT / "scripts" / "bench" / "peers"
_CLIENTS = {"es7": "elasticsearch==7.17.12", "es8": "elasticsearch==8.15.1", "es9": "elasticsearch==9.2.0"}
_ELASTICDUMP = "6.125.1"
_SPARK = ("org.elasticsearch", "elasticsearch-spark-30_2.12", "7.17.7")
_CHUNK = 1000

Documents = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Target:
    """What is to be read."""

    engine: Engine
    index: str
    shards: int
    documents: int


@dataclass(frozen=True)
class Contender:
    """``prepare`` installs it and returns its version; raises ``Missing``. ``command`` is what to run in a folder.

    ``reads`` give back what it wrote in that folder, each all of it. Without any it only counts: ``count`` tells of the
    folder, or what it printed does (``{"documents": …}``).
    """

    key: str
    name: str
    kind: Literal["esfeed", "peer", "bound", "absent"]
    prepare: Callable[[Target], str]
    command: Callable[[Target, Path], Sequence[str]] = lambda target, folder: ()
    reads: tuple[Callable[[Path], Documents], ...] = ()
    count: Callable[[Path], int] | None = None
    heavy: bool = False


class _Hit(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    source: msgspec.Raw = msgspec.field(name="_source")


class _Data(msgspec.Struct):
    id: str
    after: msgspec.Raw


class _Event(msgspec.Struct):
    data: _Data


def hits(name: str) -> Callable[[Path], Documents]:
    """Reads lines that are hits as the engine gives them, in all files of that name."""

    def read(folder: Path) -> Documents:
        decoder = msgspec.json.Decoder(_Hit)
        for path in sorted(folder.glob(name)):
            with path.open("rb") as file:
                for line in file:
                    hit = decoder.decode(line)
                    yield hit.id, bytes(hit.source)

    return read


def messages(folder: Path) -> Documents:
    """Reads lines that are messages of Kafka Connect's source, which adds two fields of its own to each document."""
    with (folder / "out.jsonl").open("rb") as file:
        for line in file:
            document = msgspec.json.decode(line)
            del document["es-index"]
            yield document.pop("es-id"), msgspec.json.encode(document)


def events(folder: Path) -> Documents:
    """Reads lines that are esfeed's events."""
    decoder = msgspec.json.Decoder(_Event)
    with (folder / "events.jsonl").open("rb") as file:
        for line in file:
            data = decoder.decode(line).data
            yield data.id, bytes(data.after)


def state(folder: Path) -> Documents:
    """Reads the documents that esfeed keeps in its state."""
    store = SqlState(f"sqlite:///{folder}/state.db")
    try:
        with store.commits.known("w").sweep() as sweep:
            for known in sweep.unseen(_CHUNK):
                for key, body in store.commits.documents("w", list(known)).items():
                    yield key.id, body
    finally:
        store.close()


def revisions(folder: Path) -> int:
    """How many documents esfeed's state knows."""
    store = SqlState(f"sqlite:///{folder}/state.db")
    try:
        return store.commits.known("w").count()
    finally:
        store.close()


def _esfeed(*command: str, **watch: object) -> Callable[[Target, Path], Sequence[str]]:
    def made(target: Target, folder: Path) -> Sequence[str]:
        keys = {"index": target.index, **watch}
        (folder / "esfeed.toml").write_text(
            f'state = "sqlite:///{folder}/state.db"\n[clusters.main]\nhosts = ["{target.engine.url}"]\n[watches.w]\n'
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            + f'[sinks.audit]\ntype = "file"\npath = "{folder}/events.jsonl"\n'
        )
        return [str(Path(sys.executable).with_name("esfeed")), "--config", str(folder / "esfeed.toml"), *command]

    return made


def _own_version(target: Target) -> str:
    return importlib.metadata.version("esfeed")


def _client(target: Target) -> Path:
    name = target.engine.name
    package = "opensearch-py==2.8.0" if name.startswith("os") else _CLIENTS.get(name, "elasticsearch==7.13.4")
    return python(f"scan-{package.partition('==')[0]}-{package.rpartition('=')[2]}", package, "orjson==3.10.18")


def _client_version(target: Target) -> str:
    code = (
        "import importlib.metadata as m\n"
        "print(*[f'{d.name} {d.version}' for d in m.distributions() if d.name in "
        "('elasticsearch', 'opensearch-py', 'orjson')], sep=', ')"
    )
    return tell(str(_client(target)), "-c", code)


def _scan(size: int) -> Callable[[Target, Path], Sequence[str]]:
    return lambda target, folder: [
        str(_client(target)), str(_PEERS / "scan.py"), target.engine.url, target.index, str(size),
        str(folder / "out.jsonl"),
    ]  # fmt: skip


def _elasticdump(*more: str) -> Callable[[Target, Path], Sequence[str]]:
    return lambda target, folder: [
        str(node("elasticdump", _ELASTICDUMP) / "elasticdump"), f"--input={target.engine.url}/{target.index}",
        f"--output={folder}/out.jsonl", "--type=data", *more,
    ]  # fmt: skip


def _elasticdump_version(target: Target) -> str:
    node("elasticdump", _ELASTICDUMP)
    return _ELASTICDUMP


def _native(slices: int, file: bool) -> Callable[[Target, Path], Sequence[str]]:
    return lambda target, folder: [
        str(native()), "-url", target.engine.url, "-index", target.index, "-shards", str(target.shards),
        "-slices", str(slices), *(["-out", str(folder / "out.jsonl")] if file else []),
    ]  # fmt: skip


def _native_version(target: Target) -> str:
    native()
    return "scroll 5000"


def _ids(target: Target, folder: Path) -> Sequence[str]:
    return [sys.executable, str(_PEERS / "ids.py"), target.engine.url, target.index, str(target.shards)]


def _spark_version(target: Target) -> str:
    if target.engine.name != "es7":
        raise Missing(f"version {_SPARK[2]} speaks with Elasticsearch 7")
    jar(*_SPARK)
    python("spark", "pyspark==3.4.4")
    return _SPARK[2]


def _spark(target: Target, folder: Path) -> Sequence[str]:
    at = urlsplit(target.engine.url)
    program = str(python("spark", "pyspark==3.4.4"))
    return [program, str(_PEERS / "spark.py"), str(jar(*_SPARK)), str(at.hostname), str(at.port), target.index,
            str(folder / "out")]  # fmt: skip


def _connect_version(target: Target) -> str:
    if target.engine.name != "es7":
        raise Missing(f"version {VERSION} speaks with Elasticsearch 7")
    prepare()
    return VERSION


def _connect(target: Target, folder: Path) -> Sequence[str]:
    program = str(_PEERS / "connect.py")
    return [sys.executable, program, target.engine.url, target.index, str(target.documents), str(folder)]


def _never(why: str) -> Callable[[Target], str]:
    def prepare(target: Target) -> str:
        raise Missing(why)

    return prepare


CONTENDERS = (
    Contender(
        "esfeed-backfill",
        "esfeed backfill, CloudEvents to a file",
        "esfeed",
        _own_version,
        _esfeed("backfill", "--since", "1970-01-01T00:00:00Z"),
        (events,),
    ),
    Contender(
        "esfeed-snapshot",
        "esfeed first poll: state, documents, log, file",
        "esfeed",
        _own_version,
        _esfeed("poll"),
        (events, state),
    ),
    Contender(
        "esfeed-learn",
        'esfeed first poll, initial = "now": state',
        "esfeed",
        _own_version,
        _esfeed("poll", initial="now"),
        count=revisions,
    ),
    Contender("scan", "helpers.scan + orjson, defaults", "peer", _client_version, _scan(1000), (hits("out.jsonl"),)),
    Contender(
        "scan-5000", "helpers.scan + orjson, size=5000", "peer", _client_version, _scan(5000), (hits("out.jsonl"),)
    ),
    Contender(
        "elasticdump", "elasticdump, defaults", "peer", _elasticdump_version, _elasticdump(), (hits("out.jsonl"),)
    ),
    Contender(
        "elasticdump-10000",
        "elasticdump, --limit=10000",
        "peer",
        _elasticdump_version,
        _elasticdump("--limit=10000"),
        (hits("out.jsonl"),),
    ),
    Contender("spark", "ES-Spark, local[2]", "peer", _spark_version, _spark, (hits("out/part-*"),), heavy=True),
    Contender(
        "connect", "Kafka Connect source, to a topic", "peer", _connect_version, _connect, (messages,), heavy=True
    ),
    Contender(
        "native-file",
        "native reader, 2 slices, to a file",
        "bound",
        _native_version,
        _native(2, True),
        (hits("out.jsonl"),),
    ),
    Contender("native-1", "native reader, 1 slice, thrown away", "bound", _native_version, _native(1, False)),
    Contender("native-2", "native reader, 2 slices, thrown away", "bound", _native_version, _native(2, False)),
    Contender("ids", "Python, ids and versions only, 2 threads", "bound", _own_version, _ids),
    Contender(
        "ingestr",
        "ingestr",
        "absent",
        _never("it takes minutes to install, and writes tables of databases, not documents as they are"),
    ),
    Contender(
        "follow",
        "elasticsearch-follow",
        "absent",
        _never("it follows an index by a query every few seconds; it does not read one whole"),
    ),
    Contender(
        "elastalert",
        "ElastAlert 2",
        "absent",
        _never("it matches rules in windows of time; it does not read an index whole"),
    ),
)
