"""TLS, passwords, client certificates and API keys on an engine that insists on them; no secret in any error."""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.connection import Connection
from esfeed.errors import ClusterError
from tests.support.clients import Raw
from tests.support.engines import Engine

WRONG = "wr0ng-s3cret"


@pytest.fixture(scope="module")
def engine(secured: Engine) -> Engine:
    """All of this is about the one engine with TLS and passwords."""
    return secured


@pytest.fixture
def filled(raw: Raw, index: str) -> str:
    """An index with three documents."""
    raw.create(index, {"n": {"type": "integer"}})
    raw.fill(index, 3)
    return index


def ask(engine: Engine, index: str, hosts: list[str] | None = None, **how: Any) -> int:
    """How many operations the counters tell of, asked over that connection."""
    options = {"ca_certs": engine.ca_certs, "tries": 2, "timeout": 10.0, **how}
    cluster = EngineCluster(Connection("main", hosts or [engine.url], **options), lambda seconds: None)
    try:
        assert "s3cret" not in repr(vars(cluster))
        return sum(shard.ops for shard in cluster.counters(index).shards.values())
    finally:
        cluster.close()


def refused(engine: Engine, index: str, secrets: list[str], **how: Any) -> ClusterError:
    """The error of a connection that must not work, once it is clear that no secret stands in it."""
    with pytest.raises(ClusterError) as caught:
        ask(engine, index, **how)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in secrets:
        assert secret not in told
    assert caught.value.hint
    return caught.value


def good(engine: Engine) -> tuple[str, str]:
    assert engine.username
    assert engine.password
    return engine.username, engine.password


def key_of(raw: Raw, **role: Any) -> Any:
    """A new API key, as the engine tells it."""
    roles = {"reader": role} if role else {}
    return raw.call("POST", "/_security/api_key", {"name": "qa", "role_descriptors": roles})


def test_password(engine: Engine, filled: str) -> None:
    """The right user and password over a trusted connection read; the version is found too."""
    assert ask(engine, filled, basic_auth=good(engine)) == 3
    cluster = EngineCluster(Connection("main", [engine.url], basic_auth=good(engine), ca_certs=engine.ca_certs))
    assert ".".join(map(str, cluster.engine.version)) == engine.version
    cluster.close()


def test_wrong_password(engine: Engine, filled: str) -> None:
    """The error names the settings to correct, and shows no password; nor is it tried again."""
    user, password = good(engine)
    error = refused(engine, filled, [WRONG], basic_auth=(user, WRONG))
    assert "401" in str(error)
    assert "clusters.main.basic_auth" in str(error)
    assert "credentials" in str(refused(engine, filled, [password]))


def test_api_key(engine: Engine, raw: Raw, filled: str) -> None:
    """An encoded key that may read that index is enough; it may not read others, and the error says what it lacks."""
    key = key_of(
        raw,
        cluster=["monitor"],
        indices=[{"names": [filled], "privileges": ["read", "view_index_metadata", "monitor"]}],
    )
    assert ask(engine, filled, api_key=key["encoded"]) == 3
    raw.create(f"{filled}-other")
    error = refused(engine, f"{filled}-other", [key["encoded"], key["api_key"]], api_key=key["encoded"])
    assert "403" in str(error)
    assert "view_index_metadata" in error.hint


def test_the_named_privileges_are_enough(engine: Engine, raw: Raw, filled: str) -> None:
    """What the error tells to grant is all that a whole poll takes."""
    privileges = [{"names": [filled], "privileges": ["read", "view_index_metadata", "monitor"]}]
    key = key_of(raw, cluster=["monitor"], indices=privileges)
    cluster = EngineCluster(Connection("main", [engine.url], api_key=key["encoded"], ca_certs=engine.ca_certs))
    of = cluster.resolve(filled, "w")
    assert cluster.counters(filled).docs == 3
    assert cluster.field_types(filled) == {"n": "integer"}
    assert cluster.newest(filled, "updated_at") is None
    docs = [doc for page in cluster.everything(of, source=True, size=2) for doc in page.docs]
    assert [doc for page in cluster.window(of, "updated_at", 0, 2) for doc in page.docs] == []
    assert cluster.shown(of, [doc.key for doc in docs], source=True) == docs
    assert None not in cluster.lookup(of, [(doc.uuid, doc.key) for doc in docs])
    assert cluster.engine.distribution == "elasticsearch"
    cluster.close()


def test_without_the_privilege_to_tell_the_version(engine: Engine, raw: Raw, filled: str) -> None:
    """The error says what to grant, though the root page of this build says no more than that it is not there."""
    key = key_of(raw, indices=[{"names": [filled], "privileges": ["read"]}])
    cluster = EngineCluster(Connection("main", [engine.url], api_key=key["encoded"], ca_certs=engine.ca_certs))
    with pytest.raises(ClusterError, match=r"403.*`monitor` on the cluster"):
        assert cluster.engine
    cluster.close()


def test_wrong_api_key(engine: Engine, filled: str) -> None:
    """A key that is none, and one that was taken back."""
    for key in ("d3Jvbmc6d3IwbmctczNjcmV0", "not base64 s3cret"):
        error = refused(engine, filled, [key, WRONG], api_key=key)
        assert "clusters.main.basic_auth` or `api_key`" in str(error)


def test_client_certificate(engine: Engine, raw: Raw, filled: str) -> None:
    """A certificate of the client's is shown where one is set, beside the password; a broken one is an error."""
    shown = {"client_cert": engine.client_cert, "client_key": engine.client_key}
    assert ask(engine, filled, basic_auth=good(engine), **shown) == 3
    error = refused(
        engine, filled, [], client_cert=engine.client_cert, client_key=engine.ca_certs, basic_auth=good(engine)
    )
    assert "client_cert" in str(error)


@pytest.fixture
def stranger(tmp_path: Path) -> trustme.CA:
    """A CA that signed nothing here."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return authority


def test_wrong_ca(engine: Engine, filled: str, stranger: trustme.CA, tmp_path: Path) -> None:
    """A certificate of another CA, or only the system's: the error names the setting."""
    for authority in (str(tmp_path / "ca.pem"), None):
        error = refused(engine, filled, [good(engine)[1]], ca_certs=authority, basic_auth=good(engine))
        assert "clusters.main.ca_certs" in str(error)
    (tmp_path / "ca.pem").write_text("no certificate at all")
    error = refused(engine, filled, [good(engine)[1]], ca_certs=str(tmp_path / "ca.pem"), basic_auth=good(engine))
    assert "ca_certs" in str(error)


def test_unverified(engine: Engine, filled: str) -> None:
    """With `verify_certs` off anything is trusted, without a warning; the password still counts."""
    assert ask(engine, filled, ca_certs=None, verify_certs=False, basic_auth=good(engine)) == 3
    refused(engine, filled, [WRONG], ca_certs=None, verify_certs=False, basic_auth=("elastic", WRONG))


def test_hostname_mismatch(engine: Engine, filled: str) -> None:
    """A name that is not on the certificate: the error says so and names `hosts`."""
    with elsewhere(engine) as url:
        assert ask(engine, filled, [url], verify_certs=False, ca_certs=None, basic_auth=good(engine)) == 3
        error = refused(engine, filled, [good(engine)[1]], hosts=[url], basic_auth=good(engine))
    assert "127.0.0.2" in str(error)
    assert "`hosts`" in error.hint


def test_http_to_an_https_port(engine: Engine, filled: str) -> None:
    """Plain HTTP where TLS is spoken is an error with a hint, not a hang."""
    plain = engine.url.replace("https", "http")
    refused(engine, filled, [good(engine)[1]], hosts=[plain], basic_auth=good(engine))


@contextlib.contextmanager
def elsewhere(engine: Engine) -> Iterator[str]:
    """The engine under an address that is not on its certificate: bytes go through as they are."""
    target = (urlsplit(engine.url).hostname, urlsplit(engine.url).port)
    listener = socket.create_server(("127.0.0.2", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(target)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.2:{listener.getsockname()[1]}"
    listener.close()
