"""Secrets, broken TOML, absurd numbers: nothing in a settings file leaks, or ends in a traceback."""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esfeed.config.load import build, parse
from esfeed.errors import ConfigError

from . import plugin_fakes
from .plugin_fakes import CLUSTER, FILE, SINK, WATCH, WHOLE, said, with_


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_fakes.install(monkeypatch)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "lines",
    [
        f'basic_auth = "{SECRET}"',
        f'basic_auth = ["{SECRET}"]',
        f'basic_auth = {{password = "{SECRET}"}}',
        f'basic_auth = "u:{SECRET}\\n"',
        f'api_key = "{SECRET} {SECRET}"',
        f'api_key = ["{SECRET}"]',
        f'basic_aut = "u:{SECRET}"',
        f'password = "{SECRET}"',
        f'hosts = ["http://u:{SECRET}@x", "http://u:{SECRET}/x@y"]',
        f'hosts = "http://u:{SECRET}@x"',
        f'hosts = ["u:{SECRET}@x"]',
        f'hosts = ["http://x/?token={SECRET}"]',
    ],
)
def test_secrets_are_never_shown(lines: str) -> None:
    """No message, not even that of a broken file, holds the value of a secret."""
    for text in (with_(CLUSTER, lines), with_(CLUSTER, lines.replace("]", "")), with_(CLUSTER, lines + "]"), lines):
        with pytest.raises(ConfigError) as caught:
            parse(text, FILE)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in repr(caught.value.value)


def test_secrets_of_sinks_are_never_shown() -> None:
    """A sink's secrets are hidden by their kind, or by their name inside a table."""
    text = with_(
        SINK, f'type = "webhook"\nurl = "x"\nsecret = 5{"0" * 20}\nheaders = {{Authorization = 7, X-Api-Key = [1]}}'
    )
    assert [line.partition(":")[0] for line in said(text).splitlines()] == [
        "sinks.audit.secret",
        "sinks.audit.headers.Authorization",
        "sinks.audit.headers.X-Api-Key",
    ]


def test_secret_that_is_not_closed() -> None:
    """A line with a secret that TOML trips over is not shown."""
    text = f'[clusters.main]\nbasic_auth "u:{SECRET}"\n'
    assert said(text).splitlines()[1:] == ["     …"]
    text = f'[clusters.main]\nbasic_auth = ["u",\n  "{SECRET}" x]\n'
    assert SECRET not in said(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = \n", "esfeed.toml, line 1, column 5: invalid value\n    a ="),
        ("[watches\n", "esfeed.toml, line 1, column 9: expected ']' at the end of a table declaration\n    [watches"),
        ("state = 'x'\nindex == 'x'\n", "esfeed.toml, line 2, column 8: invalid value\n    index == 'x'"),
        ("state = 1\nstate = 2\n", "line 2, column 10: a key or section appears twice\n    state = 2"),
        ("[sinks.a]\n[sinks.a]\n", "line 2, column 9: a key or section appears twice\n    [sinks.a]"),
        ('state = "x\n', 'column 11: a quote is not closed on its line\n    state = "x'),
        ("a = {}\n[a.b]\n", "a key or section appears twice"),
        ("state = '", "line 1, column 10: "),
        ("a = " + "9" * 5000, "not TOML: exceeds the limit"),
        ("a = " + "[" * 5000, "not TOML: nested too deep"),
        (".".join("a" * 5000) + " = 1", 'a: unknown key; known: "clusters"'),
    ],
)
def test_broken_toml(text: str, expected: str) -> None:
    """What is no TOML is told with its line and column, and the line."""
    assert expected in said(text)


@pytest.mark.parametrize("number", ["9" * 30, "-" + "9" * 400, "nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("key", ["interval", "overlap", "max_page_bytes", "mass_delete_limit", "index", "unheard"])
def test_hostile_numbers(key: str, number: str) -> None:
    """A number beyond TOML's own range, or none at all, is a fault of its key and of nothing else."""
    text = said(with_(WATCH, f"{key} = {number}"))
    assert text.startswith(f"watches.servers.{key}")
    assert len(text.splitlines()) == 1
    assert len(text) < 150


def test_hostile_number_in_a_sink() -> None:
    """A sink's own validator is not let loose on the user where a number makes it fail."""
    text = said(with_(SINK, f'type = "webhook"\nurl = "x"\nwait = {"9" * 400}'))
    assert text == "sinks.audit.wait: the number is too large"


WORDS = st.sampled_from(
    [
        *(
            "state",
            "clusters",
            "watches",
            "sinks",
            "routes",
            "main",
            "servers",
            "audit",
            "hosts",
            "basic_auth",
            "api_key",
        ),
        *("ca_certs", "timeout", "retries", "cluster", "index", "profile", "tracker", "overlap", "interval", "cron"),
        *("initial", "mass_delete_limit", "max_page_bytes", "verify", "type", "url", "secret", "headers", "where"),
        *("admin", "mixed", "wait"),
    ]
)
SCALARS = (
    st.text(max_size=8)
    | st.sampled_from(
        ["http://x", "1s", "plain", "file", "webhook", "main", "servers", "audit", "* * * * *", "30%", "a:b"]
    )
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.booleans()
    | st.datetimes()
    | st.dates()
    | st.times()
)
TABLES = st.recursive(
    SCALARS,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), part, max_size=6),
    max_leaves=25,
)
FILES = st.dictionaries(
    st.sampled_from(["state", "clusters", "watches", "sinks", "routes"]) | st.text(max_size=5),
    TABLES | st.dictionaries(WORDS, st.dictionaries(WORDS, TABLES, max_size=8), max_size=3),
    max_size=6,
)


@given(FILES)
@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_anything_else_is_a_config_error(data: dict[str, Any]) -> None:
    """Whatever tables and values there are, they are settings or a ConfigError with a text."""
    with suppress(ConfigError):
        build(data).router()


@given(st.text() | st.lists(st.sampled_from([*WHOLE.splitlines(), "[[", "]", "x", '"', "'''", "="])).map("\n".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_config_error(text: str) -> None:
    """Whatever text stands in the file, it is settings or a ConfigError with a text."""
    with suppress(ConfigError):
        parse(text, FILE)
