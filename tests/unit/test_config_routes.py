"""What a route can say of the shape of events, and what is said when it is wrong."""

from __future__ import annotations

import json

import pytest

from esfeed.config.load import build, parse
from esfeed.testing.events import sample_event

from . import plugin_fakes
from .plugin_fakes import FILE, ROUTE, said, with_


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_fakes.install(monkeypatch)


KEY = "a key of sixteen or more"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("types = []", "routes[0].types: write at least one"),
        ('types = "OS::*"', 'routes[0].types = "OS::*": write a list, such as ["…"]'),
        (
            'types = ["OS::*", "/[/"]',
            'routes[0].types[1] = "/[/": not a regular expression: unterminated character set',
        ),
        ("fields = []", "routes[0].fields: write at least one"),
        ('fields = ["a", 5]', "routes[0].fields[1] = 5: write a string"),
        ('fields = ["a", ""]', 'routes[0].fields[1] = "": write the name of a field, such as "status"'),
        ('fields = ["-"]', 'routes[0].fields[0] = "-": write the name of a field'),
        ('fields = ["a..b"]', 'routes[0].fields[0] = "a..b": write the name of a field'),
        ('fields = [" a"]', 'routes[0].fields[0] = " a": write the name of a field'),
        ('fields = ["/^os-"]', 'routes[0].fields[0] = "/^os-": write a regular expression between two slashes'),
        ('fields = ["-/a(/"]', "missing ), unterminated subpattern\n    a(\n     ^"),
        ('redact = "x"', "routes[0].redact"),
        ("redact = [{}]", "routes[0].redact[0].fields: is missing: the fields: globs"),
        ("redact = [{ fields = [] }]", "routes[0].redact[0].fields: write at least one"),
        ('redact = [{ fields = ["-a"] }]', 'routes[0].redact[0].fields[0] = "-a": a rule lists the fields to hide'),
        ('redact = [{ fields = ["/*/"] }]', 'routes[0].redact[0].fields[0] = "/*/": not a regular expression'),
        (
            'redact = [{ fields = ["a"], action = "drop" }]',
            'routes[0].redact[0].action = "drop": write one of "remove", "mask" or "hash"',
        ),
        (
            'redact = [{ fields = ["a"], action = "hash" }]',
            "routes[0].redact[0].action: set key as well",
        ),
        (
            'redact = [{ fields = ["a"], action = "hash", key = "short" }]',
            "routes[0].redact[0].key: write 16 characters or more",
        ),
        (f'redact = [{{ fields = ["a"], key = "{KEY}" }}]', "routes[0].redact[0].key: remove it, or set action"),
        (
            'redact = [{ fields = ["a"], action = "hash", key = "env:NO_SUCH_KEY" }]',
            "routes[0].redact[0].key: the environment variable NO_SUCH_KEY is not set",
        ),
        ('redact = [{ fields = ["a"], mask = "x" }]', "routes[0].redact[0].mask: remove it, or set action"),
        (
            'redact = [{ fields = ["a"], acton = "mask" }]',
            'routes[0].redact[0].acton: unknown key; did you mean "action"?',
        ),
        ('rename = ["a"]', "routes[0].rename: write a table"),
        ("rename = { a = 1 }", "routes[0].rename.a = 1: write a string"),
        ('rename = { a = "" }', "routes[0].rename.a: write only the new name"),
        ('rename = { "a.b" = "c.d" }', 'routes[0].rename."a.b": write only the new name'),
        ('rename = { a = "x", b = "x" }', "routes[0].rename.b: two fields of one object would be named x"),
        ('rename = { "" = "x" }', "routes[0].rename: write the name of a field on the left"),
        ('subject = ""', 'routes[0].subject = "": write a string'),
        ('subject = "{a"', 'routes[0].subject = "{a": "{" at character 1 is alone'),
        ('route = "{}"', 'routes[0].route = "{}": {} names no field'),
        ("route = 5", "routes[0].route = 5: write a string"),
        ('route = "{route}"', "routes[0].route: this key defines {route}"),
        ('route = "{p}"\nfields = ["a"]', "routes[0].route: {p} is removed by fields or redact"),
        ('route = "{p}"\nredact = [{ fields = ["p"] }]', "routes[0].route: {p} is removed by fields or redact"),
        ('subject = "{a.b}"\nfields = ["-a"]', "routes[0].subject: {a.b} is removed"),
        ('subject = "{p}"\nrename = { p = "q" }', "routes[0].subject: {p} is renamed to q"),
        ('subject = "{o.p}"\nrename = { "o.p" = "q" }', "routes[0].subject: {o.p} is renamed to q"),
    ],
)
def test_faults(lines: str, expected: str) -> None:
    """Each is told by its place, what stands there, and what to write; no key is shown."""
    text = said(with_(ROUTE, lines))
    assert expected in text
    assert "short" not in text
    assert KEY not in text


@pytest.mark.parametrize(
    "lines",
    [
        'route = "{p}"\nredact = [{ fields = ["p"], action = "mask" }]',
        'route = "{q}"\nfields = ["p"]\nrename = { p = "q" }',
        'route = "{x.y}"\nfields = ["o.p"]\nrename = { o = "x", "o.p" = "y" }',
        'subject = "{route}-{type}-{id}"\nfields = ["a"]',
        'route = "{o.p}"\nfields = ["o.*"]',
    ],
)
def test_templates_may_name_what_is_left(lines: str) -> None:
    """By the names that it has then."""
    parse(with_(ROUTE, lines), FILE)


def test_from_the_file_to_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a route can say, at once; what is secret shows nowhere."""
    monkeypatch.setenv("HASH_KEY", KEY)
    config = parse(
        with_(
            ROUTE,
            """
types = ["OS::Nova::*"]
fields = ["name", "status", "project_id", "os-*", "mail", "-os-ext:zone"]
rename = { "os-ext:host" = "host" }
route = "{project_id}"
subject = "{route}/{name}"
redact = [{ fields = ["mail"], action = "hash", key = "env:HASH_KEY" }, { fields = ["status"], action = "mask" }]
""",
        ),
        FILE,
    )
    router = config.router()
    document = {
        "name": "web",
        "status": "ACTIVE",
        "project_id": "p1",
        "os-ext:host": "n1",
        "os-ext:zone": "z",
        "mail": "m@example.org",
        "other": 1,
        "updated_at": "2026-11-24T10:00:00Z",
    }
    event = router.shape("audit", sample_event(op="created", after=document))
    assert event is not None
    found = json.loads(bytes(event.after or b""))
    assert {name: value for name, value in found.items() if name != "mail"} == {
        "name": "web",
        "status": "***",
        "project_id": "p1",
        "host": "n1",
    }
    assert len(found["mail"]) == 64
    assert (event.route, event.subject, event.origin.updated_at) == ("p1", "p1/web", None)
    assert router.shape("audit", sample_event(type="OS::Glance::Image", op="created", after=document)) is None
    assert KEY not in repr(config) + repr(vars(router)) + repr([vars(plan[0]) for plan in [[router]]])


def test_a_route_that_shapes_nothing_has_no_shape() -> None:
    """Events then pass as they are, unread."""
    config = build(
        {
            "clusters": {"main": {"hosts": ["http://127.0.0.1:9200"]}},
            "watches": {"servers": {"index": "i"}},
            "sinks": {"audit": {"type": "file"}},
            "routes": [{"sinks": ["audit"]}],
        }
    )
    event = sample_event(after=b"no JSON at all")
    assert config.router().shape("audit", event) is event


@pytest.mark.parametrize(
    ("first", "later", "warned"),
    [
        ("", "where = \"op == 'read'\"", True),
        ('fields = ["a"]', "", True),
        ('types = ["x"]', "", False),
        ("where = \"op == 'read'\"", "", False),
        ("", "admin = true", False),
        ('watches = ["servers"]', "", True),
    ],
)
def test_route_that_never_gets_anything(first: str, later: str, warned: bool) -> None:
    """Behind one that takes everything, a route is hardly meant as it stands."""
    head = with_("[sinks.audit]", "").partition("[[routes]]")[0]
    config = parse(f'{head}[[routes]]\nsinks = ["audit"]\n{first}\n[[routes]]\nsinks = ["audit"]\n{later}\n', FILE)
    expected = ("routes[1]: routes[0] takes all its events; put the narrower route first",) if warned else ()
    assert config.warnings == expected
