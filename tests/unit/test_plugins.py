"""Sinks and profiles are found by name, and what cannot be loaded is said with a hint."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from esfeed.changes.profiles.searchlight import SearchlightProfile
from esfeed.config import plugins
from esfeed.errors import ConfigError

from . import plugin_fakes
from .plugin_fakes import HERE, PlainSink


def broken(monkeypatch: pytest.MonkeyPatch, value: str, kind: str = "sink") -> ConfigError:
    """The error of loading an entry point named ``broken``."""
    group = plugins.SINKS if kind == "sink" else plugins.PROFILES
    plugin_fakes.install(monkeypatch, EntryPoint("broken", value, group))
    with pytest.raises(ConfigError) as caught:
        (plugins.sink_class if kind == "sink" else plugins.profile)("broken")
    return caught.value


def test_finds_a_sink_and_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared name gives the class of a sink, and a made profile."""
    plugin_fakes.install(monkeypatch)
    assert plugins.sink_class("stdout") is PlainSink
    assert isinstance(plugins.profile("searchlight"), SearchlightProfile)


def test_lists_names_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that are known can be listed although one of them cannot be imported."""
    plugin_fakes.install(monkeypatch)
    assert plugins.sink_names() == ["file", "kafka", "stdout", "webhook"]
    assert plugins.profile_names() == ["plain", "searchlight"]


def test_imports_only_what_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sink that nobody names is not imported."""
    (tmp_path / "lazy_plugin.py").write_text("class Sink: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin_fakes.install(monkeypatch, EntryPoint("lazy", "lazy_plugin:Sink", plugins.SINKS))
    plugins.sink_class("stdout")
    assert "lazy_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("webhok", 'no such type; did you mean "webhook"?'),
        ("zzz", 'no such type; known: "file", "kafka", "stdout", "webhook"'),
        ("", 'no such type; known: "file", "kafka", "stdout", "webhook"'),
        ("x" * 10_000, 'no such type; known: "file", "kafka", "stdout", "webhook"'),
    ],
)
def test_unknown_name(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    """An unknown name is answered by the nearest known one, or by all of them."""
    plugin_fakes.install(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        plugins.sink_class(name)
    assert (caught.value.key, caught.value.value, caught.value.hint) == ("type", name, hint)


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any entry point the text says that esfeed itself is not installed."""
    monkeypatch.setattr(plugins, "declared", lambda group: ())
    with pytest.raises(ConfigError, match=r"no package declares esfeed\.profiles; install esfeed"):
        plugins.profile("plain")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink whose client library is missing names the library, and the pip command that installs it."""
    error = broken(monkeypatch, "no_such_kafka_client.sink:KafkaSink")
    assert "run: pip install 'esfeed[broken]'" in error.hint
    plugin_fakes.install(monkeypatch, EntryPoint("k2", "tests_no_such:Sink [kafka]", plugins.SINKS))
    with pytest.raises(ConfigError, match=r"pip install 'esfeed\[kafka\]'"):
        plugins.sink_class("k2")


def test_missing_library_inside_the_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the plugin is there and its library is not, the library is named."""
    (tmp_path / "needy_plugin.py").write_text("import confluent_kafka_is_not_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = broken(monkeypatch, "needy_plugin:Sink [kafka]")
    assert error.hint == (
        "it needs the Python module confluent_kafka_is_not_here, which is not installed;"
        " run: pip install 'esfeed[kafka]'"
    )


def test_other_exception_on_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a plugin raises when imported is reported with its text, not as a traceback."""
    (tmp_path / "angry_plugin.py").write_text("raise RuntimeError('out of tune')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "cannot be loaded: RuntimeError: out of tune" in broken(monkeypatch, "angry_plugin:Sink").hint


@pytest.mark.parametrize(
    ("value", "kind", "hint"),
    [
        (f"{HERE}:NoSink", "sink", "it has no Settings"),
        (f"{HERE}:Nowhere", "sink", "cannot be loaded: AttributeError"),
        (f"{HERE}:HERE", "sink", "it has no Settings"),
        (f"{HERE}:NoProfile", "profile", "it has no method describe"),
        (f"{HERE}:BrokenProfile", "profile", "cannot be created: OSError: no disk"),
        (f"{HERE}:HERE", "profile", "cannot be created: TypeError"),
    ],
)
def test_not_what_it_should_be(monkeypatch: pytest.MonkeyPatch, value: str, kind: str, hint: str) -> None:
    """An entry point that names something else than a sink or a profile is refused with the reason."""
    assert hint in broken(monkeypatch, value, kind).hint


def test_declared_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages with one name are refused; the same declaration found twice (an editable install) is one."""
    again = EntryPoint("stdout", f"{HERE}:PlainSink", plugins.SINKS)
    plugin_fakes.install(monkeypatch, again)
    assert plugins.sink_class("stdout") is PlainSink
    plugin_fakes.install(monkeypatch, EntryPoint("stdout", f"{HERE}:StrangeSink", plugins.SINKS))
    with pytest.raises(ConfigError, match="two packages declare it"):
        plugins.sink_class("stdout")
