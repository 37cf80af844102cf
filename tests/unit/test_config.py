"""The settings file: what it means, and which file it is."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]  # it has no py.typed

from esfeed.config.load import Config, load, parse
from esfeed.errors import ConfigError

from . import plugin_fakes
from .plugin_fakes import CLUSTER, FILE, WATCH, WHOLE, said, with_


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_fakes.install(monkeypatch)


def made(section: str, lines: str) -> Config:
    """The settings with those lines added."""
    return parse(with_(section, lines), FILE)


def test_the_whole_example() -> None:
    """The example of the design is read, with a default for all that it leaves out."""
    config = parse(WHOLE, FILE)
    watch, cluster = config.watches["servers"], config.clusters["main"]
    assert (watch.cluster, watch.tracker, watch.timestamp_field, watch.initial) == (
        "main",
        "auto",
        "updated_at",
        "snapshot",
    )
    assert (watch.overlap, watch.interval, watch.cron, watch.verify) == (300, 1, None, None)
    assert (watch.mass_delete_limit, watch.max_page_bytes, watch.keep_documents, watch.refresh) == (
        0.3,
        32 << 20,
        True,
        False,
    )
    assert (cluster.hosts, cluster.timeout, cluster.retries, cluster.verify_certs) == (
        ("http://127.0.0.1:9200",),
        30,
        4,
        True,
    )
    assert isinstance(config.sinks["audit"], plugin_fakes.PlainSettings)
    assert config.warnings == ()
    assert config.router().watches("audit") == {"servers"}


def test_every_field_is_described() -> None:
    """The reference of settings is made from the models, so every field has a description."""
    from esfeed.config import load as config

    for model in (config.Config, config.ClusterSettings, config.WatchSettings, config.RouteSettings):
        assert model.__doc__
        assert all(field.description for field in model.model_fields.values()), model


def test_no_routes() -> None:
    """Without routes every watch goes to every sink, and nothing is warned of."""
    config = parse(WHOLE.partition("[[routes]]")[0], FILE)
    assert config.router().watches("audit") == {"servers"}
    assert config.warnings == ()


def test_unused_is_a_warning() -> None:
    """A watch or sink that no route uses is no fault, but is told."""
    text = WHOLE + '[sinks.spare]\ntype = "stdout"\n[watches.other]\nindex = "x"\n'
    assert parse(text, FILE).warnings == (
        "watches.other: no route uses it; name it in a [[routes]] section, or remove it",
        "sinks.spare: no route uses it; name it in a [[routes]] section, or remove it",
    )


def test_where_on_what_is_not_kept_is_a_warning() -> None:
    """A condition on what a watch does not keep can never hold, and that is told."""
    text = with_(WATCH, "keep_documents = false").replace("op != 'read'", "before.a == 1")
    assert parse(text, FILE).warnings == (
        "routes[0].where: before is null in every event of watches.servers, which has keep_documents = false",
    )


def test_values_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and secrets may come from the environment; a missing variable is named."""
    monkeypatch.setenv("ES_HOST", "https://es:9200/")
    monkeypatch.setenv("ES_AUTH", "elastic:s3cret:x")
    config = made(CLUSTER, 'hosts = ["env:ES_HOST"]\nbasic_auth = "env:ES_AUTH"')
    assert config.clusters["main"].hosts == ("https://es:9200",)
    auth = config.clusters["main"].basic_auth
    assert auth
    assert auth.get_secret_value() == "elastic:s3cret:x"
    assert "s3cret" not in repr(config)
    monkeypatch.delenv("ES_AUTH")
    assert "clusters.main.basic_auth: the environment variable ES_AUTH is not set" in said(
        with_(CLUSTER, 'basic_auth = "env:ES_AUTH"')
    )


def test_file_as_the_name_of_a_file(tmp_path: Path) -> None:
    """``file:/PATH`` is the file itself where a file is meant: a private key is no path, and appears in no error."""
    key = tmp_path / "key.pem"
    key.write_text("s3cret")
    config = made(CLUSTER, f'client_cert = "file:{key}"\nclient_key = "{key}"')
    assert config.clusters["main"].client_cert == config.clusters["main"].client_key == key
    config = made(CLUSTER, f'basic_auth = ["esfeed", "file:{key}"]')
    basic_auth = config.clusters["main"].basic_auth
    assert basic_auth is not None
    assert basic_auth.get_secret_value() == "esfeed:s3cret"


@pytest.mark.parametrize("value", ['"user:pass:word"', '["user", "pass:word"]', '["env:ES_USER", "pass:word"]'])
def test_basic_auth(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user and password are one text or two; the password may hold colons."""
    monkeypatch.setenv("ES_USER", "user")
    auth = made(CLUSTER, f"basic_auth = {value}").clusters["main"].basic_auth
    assert auth
    assert auth.get_secret_value() == "user:pass:word"


@pytest.mark.parametrize("value", ["id:key", base64.b64encode(b"id:key").decode()])
def test_api_key(value: str) -> None:
    """An API key is kept encoded, whichever way it was written."""
    key = made(CLUSTER, f'api_key = "{value}"').clusters["main"].api_key
    assert key
    assert base64.b64decode(key.get_secret_value()) == b"id:key"


@pytest.mark.parametrize(
    ("value", "expected"), [('"30%"', 0.3), ("0.5", 0.5), ('"2.5 %"', 0.025), ("0", 0), ("1.0", 1)]
)
def test_mass_delete_limit(value: str, expected: float) -> None:
    """The share is a percentage or a fraction."""
    limit = made(WATCH, f"mass_delete_limit = {value}").watches["servers"].mass_delete_limit
    assert limit == pytest.approx(expected)


@pytest.mark.parametrize(
    ("written", "days"),
    [
        ("*", "*"),
        ("0", "sun"),
        ("7", "sun"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("0-2", "sun,mon,tue"),
        ("5-7", "fri,sat,sun"),
        ("sun-tue", "sun,mon,tue"),
        ("Mon,3", "mon,wed"),
        ("*/2", "sun,tue,thu,sat"),
        ("1/2", "mon,wed,fri"),
        ("fri-mon", "fri,sat,sun,mon"),
    ],
)
def test_cron_counts_from_sunday(written: str, days: str) -> None:
    """Days of the week mean what they mean to cron, and are kept in a form that APScheduler takes alike."""
    cron = made(WATCH, f'cron = "5 3 * * {written}"').watches["servers"].cron
    assert cron == f"5 3 * * {days}"
    CronTrigger.from_crontab(cron)


def test_load(tmp_path: Path) -> None:
    """A file is read as UTF-8, with or without a byte order mark."""
    file = tmp_path / "esfeed.toml"
    file.write_bytes(b"\xef\xbb\xbf" + WHOLE.encode())
    assert load(file) == parse(WHOLE, file)


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is told with the ways to name one, and how to create it."""
    with pytest.raises(ConfigError, match="no such file; set --config or ESFEED_CONFIG, or create it") as caught:
        load(tmp_path / "no.toml")
    assert (caught.value.key, caught.value.value) == ("--config", str(tmp_path / "no.toml"))


def test_unreadable_files(tmp_path: Path) -> None:
    """A directory, a file that is not UTF-8 and a name that cannot be are told for what they are."""
    (tmp_path / "latin.toml").write_bytes(b'state = "\xe4"')
    for name, hint in [
        ("", "directory"),
        ("latin.toml", "not UTF-8 at byte 9"),
        ("a\0b", "cannot be read"),
        ("x" * 300, "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=hint):
            load(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(tmp_path: Path) -> None:
    """A file without permission is told as such."""
    file = tmp_path / "esfeed.toml"
    file.touch(mode=0o000)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(file)


def test_forbidden_file_by_any_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the test runs as root, who may read everything."""

    def refuse(*args: Any, **kwargs: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match="it cannot be read: Permission denied"):
        load(FILE)
