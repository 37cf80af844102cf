"""What is said about what is wrong in the settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError, field_validator

from esfeed.config.errors import of_section
from esfeed.config.load import ConfigErrors, parse
from esfeed.config.types import SinkSection
from esfeed.sinks.nats.settings import NatsSettings

from . import plugin_fakes
from .plugin_fakes import CLUSTER, FILE, ROUTE, SINK, WATCH, WHOLE, said, with_


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_fakes.install(monkeypatch)


@pytest.mark.parametrize(
    ("section", "lines", "expected"),
    [
        (CLUSTER, 'user = "esfeed"', 'clusters.main.user: unknown key; did you mean "basic_auth"?'),
        (CLUSTER, 'password = "s3cret"', 'clusters.main.password: unknown key; did you mean "basic_auth"?'),
        (CLUSTER, 'url = "http://x"', 'clusters.main.url: unknown key; did you mean "hosts"?'),
        (WATCH, 'intervall = "1s"', 'watches.servers.intervall: unknown key; did you mean "interval"?'),
        (SINK, "zzz = 1", 'sinks.audit.zzz: unknown key; known: "attempts", "batch", '),
        (WATCH, 'interval = "1 sec"', 'watches.servers.interval = "1 sec": write a duration such as "250ms"'),
        (WATCH, "interval = 0", "watches.servers.interval = 0: write a duration longer than zero"),
        (WATCH, 'interval = "99999d"', 'interval = "99999d": write a duration of up to ten years'),
        (WATCH, f'interval = "{"9" * 400}d"', "write a duration of up to ten years"),
        (WATCH, 'cron = "* * * *"', 'watches.servers.cron = "* * * *": write five fields'),
        (WATCH, 'cron = "@daily"', "write five fields"),
        (WATCH, 'cron = "99 * * * *"', "not a schedule: "),
        (WATCH, 'cron = "* * * * 8"', '"8" is not a day of the week'),
        (WATCH, 'cron = "* * * * mo"', '"mo" is not a day of the week'),
        (WATCH, 'cron = "* * * * abc"', '"abc" is not a day of the week'),
        (WATCH, 'interval = "1s"\ncron = "* * * * *"', "watches.servers.cron: remove cron or interval"),
        (WATCH, 'tracker = "seqno"', 'tracker = "seqno": write one of "auto", "updated_at" or "seq_no"'),
        (WATCH, 'initial = ""', 'initial = "": write one of "snapshot" or "now"'),
        (
            WATCH,
            "mass_delete_limit = 30",
            'mass_delete_limit = 30: write a share such as "30%" or 0.3, from 0 to 1: did you mean "30%"?',
        ),
        (WATCH, "mass_delete_limit = 1", 'did you mean "1%"?'),
        (WATCH, 'mass_delete_limit = "130%"', "from 0 to 1"),
        (WATCH, "mass_delete_limit = true", "mass_delete_limit = true: write a share"),
        (WATCH, 'max_page_bytes = "1 potato"', "write a size such as"),
        (WATCH, "max_page_bytes = 1", "max_page_bytes = 1: write 1024 or more"),
        (WATCH, 'refresh = "yes"', 'refresh = "yes": write true or false, without quotes'),
        (WATCH, "timestamp_field = 5", 'timestamp_field = 5: write a string in quotes, such as "…"'),
        (WATCH, 'index = ""', 'watches.servers.index = "": write the name of an index or alias'),
        (WATCH, 'index = "a, b"', "names have no spaces"),
        (WATCH, 'index = "a,,b"', "write the name of an index"),
        (WATCH, 'index = "_all"', "a name cannot begin with _; for all indices write *"),
        (WATCH, 'index = "-a*"', "a name cannot begin with -"),
        (WATCH, 'index = "a/../_search"', "a name cannot begin with + or contain"),
        (WATCH, 'cluster = "mian"', 'watches.servers.cluster = "mian": no such name; did you mean "main"?'),
        (WATCH, 'profile = "searchligth"', 'profile = "searchligth": no such profile; did you mean "searchlight"?'),
        (CLUSTER, 'hosts = "http://x"', 'clusters.main.hosts = "http://x": write a list, such as ["…"]'),
        (CLUSTER, "hosts = []", "clusters.main.hosts: write at least one"),
        (CLUSTER, 'hosts = ["localhost:9200"]', 'clusters.main.hosts[0] = "localhost:9200": write a url with http://'),
        (CLUSTER, 'hosts = ["http://x", 5]', "clusters.main.hosts[1] = 5: write a string"),
        (CLUSTER, 'hosts = ["http://x:99999"]', "not a url"),
        (CLUSTER, 'hosts = ["http://[x"]', "not a url"),
        (CLUSTER, 'hosts = ["http://x/?pretty"]', "remove ? or # and what follows"),
        (CLUSTER, 'hosts = ["http://u:pw@x"]', 'hosts[0] = "http://***@x": remove user and password from the url'),
        (
            CLUSTER,
            'ca_certs = "no/such.pem"',
            'clusters.main.ca_certs = "no/such.pem": no/such.pem cannot be read (No such file',
        ),
        (
            CLUSTER,
            'ca_certs = "file:/no/such.pem"',
            'clusters.main.ca_certs = "file:/no/such.pem": /no/such.pem cannot be read (No such file',
        ),
        (CLUSTER, 'ca_certs = "/"', "cannot be read (Is a directory"),
        (CLUSTER, 'ca_certs = "a\\u0000b"', "cannot be read ("),
        (CLUSTER, 'client_key = "/dev/null"', "clusters.main.client_key: set client_cert as well"),
        (CLUSTER, 'basic_auth = "a:b"\napi_key = "c"', "clusters.main.api_key: remove api_key or basic_auth"),
        (CLUSTER, "retries = 0", "clusters.main.retries = 0: write 1 or more"),
        (CLUSTER, "retries = 2.5", "retries = 2.5: write a whole number"),
        (CLUSTER, 'retries = "4"', 'retries = "4": write a whole number, without quotes'),
        (SINK, 'type = "webhok"', 'sinks.audit.type = "webhok": no such type; did you mean "webhook"?'),
        (SINK, 'type = "kafka"', "run: pip install 'esfeed[kafka]'"),
        (SINK, "type = 5", 'sinks.audit.type = 5: write a string in quotes; known: "file"'),
        (SINK, 'type = "webhook"', "sinks.audit.url: is missing: the url to post to"),
        (SINK, 'type = "webhook"\nurl = "x"\ntries = 0', "sinks.audit.tries = 0: write 1 or more"),
        (SINK, 'type = "webhook"\nurl = "x"\nheaders = 1', "sinks.audit.headers = 1: write a table"),
        (SINK, 'type = "webhook"\nurl = "x"\nheaders = {a = 1}', "sinks.audit.headers.a = 1: write a string"),
        (
            SINK,
            'type = "webhook"\nurl = "x"\nmixed = true',
            "sinks.audit.mixed = true: write a whole number, without quotes, or write a list",
        ),
        (ROUTE, 'sinks = ["audti"]', 'routes[0].sinks = "audti": no such name; did you mean "audit"?'),
        (ROUTE, "sinks = []", "routes[0].sinks: write at least one"),
        (ROUTE, "watches = []", "routes[0].watches: name at least one watch"),
        (ROUTE, 'watches = ["x"]', 'routes[0].watches = "x": no such name; known: "servers"'),
        (ROUTE, "where = \"op = 'x'\"", "routes[0].where: column 4: write \"==\" to compare\n    op = 'x'\n       ^"),
        (ROUTE, 'where = ""', "routes[0].where: the expression is empty"),
        (ROUTE, "where = 5", "routes[0].where = 5: write a string"),
    ],
)
def test_faults(section: str, lines: str, expected: str) -> None:
    """A fault is told by its key, what stands there, and what to write instead; and nothing else is told."""
    text = said(with_(section, lines))
    assert expected in text
    assert len(text.splitlines()) == len(expected.splitlines())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 'clusters: define at least one, such as [clusters.main] with hosts = ["http://127.0.0.1:9200"]'),
        ("", 'watches: define at least one, such as [watches.mine] with index = "my-index"'),
        ("", 'sinks: define at least one, such as [sinks.out] with type = "stdout"'),
        ("[cluster.main]", 'cluster: unknown key; did you mean "clusters"?'),
        ("[[clusters]]", "clusters: write one section for each, such as [clusters.main]"),
        ("clusters.main = 5", "clusters.main: write a section of its own"),
        ('clusters."ü x" = {hosts=["http://x"]}', 'clusters."ü x": a name has 1 to 64 letters'),
        ("[routes]", "routes: write each as a section of its own in double brackets: [[routes]]"),
        ("routes = [1]", "in double brackets"),
        ("[sinks.x]", 'sinks.x.type: is missing; known: "file", "kafka", "stdout", "webhook"'),
        ("[watches.x]", "watches.x.index: is missing: the index, alias or pattern to follow"),
        ("state = 'mysql://x'", 'state = "mysql://x": only SQLite is supported so far; write "sqlite:///esfeed.db"'),
        ("state = 'mysql://u:secret@x'", 'state = "mysql://***@x": only SQLite'),
    ],
)
def test_faults_of_the_whole(text: str, expected: str) -> None:
    """Missing, misspelt and misshapen sections are told, with what to write."""
    assert any(expected in line for line in said(text).splitlines())


def test_a_misspelt_section_is_not_missing_as_well() -> None:
    """Who wrote [cluster.main] is not told that there is no cluster on top."""
    assert "define at least one, such as [clusters" not in said("[cluster.main]")


def test_all_faults_at_once() -> None:
    """One error lists every fault on a line of its own; its key, value and hint are the first one's."""
    text = WHOLE.replace("hosts", "host").replace("index", "indx").replace('["audit"]', '["b"]')
    with pytest.raises(ConfigErrors) as caught:
        parse(text, FILE)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "clusters.main.hosts",
        "clusters.main.host",
        "watches.servers.index",
        "watches.servers.indx",
        'routes[0].sinks = "b"',
    ]
    assert len(caught.value.errors) == 5
    assert caught.value.key == "clusters.main.hosts"
    assert caught.value.hint.startswith("is missing: URLs of its nodes")


def test_cluster_must_be_named_where_there_are_two() -> None:
    """With two clusters a watch says which; and the text names both."""
    text = WHOLE + '[clusters.other]\nhosts = ["http://x"]\n'
    assert said(text) == 'watches.servers.cluster: is missing, because several are defined; known: "main", "other"'


def test_a_check_that_quotes_a_value_does_not_show_its_password() -> None:
    """What stands before an ``@`` is hidden in what a sink's own check says, too."""

    class Quoting(SinkSection):
        """A plugin whose author did not think of passwords."""

        host: str

        @field_validator("host")
        @classmethod
        def _host(cls, host: str) -> str:
            raise ValueError(f"{host} is not a host, nor is u:hunter2@x:5")

    for model, raw in (
        (Quoting, {"type": "x", "host": "nats://u:hunter2@x"}),
        (NatsSettings, {"hosts": ["nats://u:hunter2@x"], "stream": "s", "subject": "s"}),
    ):
        with pytest.raises(ValidationError) as caught:
            model.model_validate(raw)
        text = "".join(str(fault) for fault in of_section(model, raw, "sinks.audit", caught.value))
        assert "is not a host" in text
        assert "hunter2" not in text
