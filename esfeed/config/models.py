"""The sections of clusters and watches. Those of routes, of HTTP and of sinks stand beside this one.

The reference of settings in the docs is made from these models; each field's description is a line of it.
"""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from esfeed.cluster.connection import MAX_BYTES, Connection
from esfeed.config.types import (
    Duration,
    Misplaced,
    Secret,
    Section,
    Size,
    Text,
    as_tuple,
    from_environment,
    from_outside,
    named_file,
)

_WEEK = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def _not_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("write a duration longer than zero")
    return value


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError('not a url; write one such as "http://127.0.0.1:9200"') from None
    if "@" in parts.netloc:
        raise ValueError("remove user and password from the url; write them as basic_auth")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"[\s\x00-\x1f]", url):
        raise ValueError('write a url with http:// or https://, such as "http://127.0.0.1:9200"')
    if parts.query or parts.fragment:
        raise ValueError("remove ? or # and what follows it")
    return url.rstrip("/")


def _file(value: object) -> object:
    value = named_file(value) or from_environment(value)
    if not isinstance(value, str | Path):
        return value
    path = Path(value).expanduser()
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{path} cannot be read ({reason}; seen from {Path.cwd()})") from None


def _credentials(value: object) -> object:
    if isinstance(value, list):
        parts = [from_outside(part) for part in value]
        if len(parts) != 2 or not all(isinstance(part, str) for part in parts) or ":" in str(parts[0]):
            raise ValueError('write two strings, ["user", "password"]; a user has no ":" in its name')
        return f"{parts[0]}:{parts[1]}"
    return from_outside(value)


def _two_parts(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().partition(":")[0] or ":" not in value.get_secret_value():
        raise ValueError('write "user:password" or ["user", "password"]')
    return _one_line(value)


def _one_line(value: SecretStr) -> SecretStr:
    if re.search(r"[\x00-\x1f\x7f]", value.get_secret_value()):
        raise ValueError("it holds a line break or another control character; does the variable or file end in one?")
    return value


def _encoded(value: SecretStr) -> SecretStr:
    text = _one_line(value).get_secret_value()
    if not text or not text.isascii() or " " in text:
        raise ValueError('write the key as the cluster returned it: its "encoded" form, or "id:api_key"')
    return SecretStr(base64.b64encode(text.encode()).decode()) if ":" in text else value


def _share(value: object) -> object:
    hint = 'write a share such as "30%" or 0.3, from 0 to 1'
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*%\s*", value, re.ASCII) if isinstance(value, str) else None
    if match:
        value = float(match[1]) / 100
    if value == 0 and not isinstance(value, bool):
        value = 0.0
    if not isinstance(value, float) or math.isnan(value) or not 0 <= value <= 1:
        raise ValueError(hint if not isinstance(value, int) else f'{hint}: did you mean "{value}%"?')
    return value


def _weekdays(field: str) -> str:
    """Converts cron's weekdays (0 and 7 are Sunday, ranges may begin there) to names, which APScheduler accepts.

    APScheduler 3 counts from Monday as 0 (its issue 286): with numbers, every schedule would be a day late.
    """
    days: list[str] = []
    for part in field.lower().split(","):
        match = re.fullmatch(r"(?:(\*)|([0-7]|[a-z]{3})(?:-([0-7]|[a-z]{3}))?)(?:/([1-7]))?", part)
        names = [name for name in match.groups()[1:3] if name] if match else []
        if not match or any(not name.isdigit() and name not in _WEEK for name in names):
            raise ValueError(f'"{part}" is not a day of the week; write 0 to 7 or sun to sat')
        first, *rest = [int(name) if name.isdigit() else _WEEK.index(name) for name in names] or [0, 6]
        last = rest[0] if rest else 6 if match[4] else first
        last += 7 if last < first else 0
        days += [_WEEK[day % 7] for day in range(first, last + 1, int(match[4] or 1))]
    return ",".join(dict.fromkeys(days))


def _cron(text: str) -> str:
    fields = text.split()
    if len(fields) != 5 or not text.isascii() or len(text) > 200:
        raise ValueError('write five fields (minute, hour, day, month, day of the week), such as "*/5 * * * *"')
    fields[4] = "*" if fields[4] == "*" else _weekdays(fields[4])
    from apscheduler.triggers.cron import CronTrigger

    try:
        CronTrigger.from_crontab(" ".join(fields), timezone="UTC")
    except ValueError as error:
        raise ValueError(f"not a schedule: {error}") from None
    return " ".join(fields)


def _index(name: str) -> str:
    for number, part in enumerate(name.split(",")):
        if not part.strip():
            raise ValueError("write the name of an index or alias, or a pattern such as logs-*")
        if re.search(r"\s", part):
            raise ValueError("names have no spaces; separate several names with a comma only")
        if part.startswith("_"):
            raise ValueError("a name cannot begin with _; for all indices write *")
        if part.startswith("-") and number == 0:
            raise ValueError("a name cannot begin with -; exclusions follow what they exclude from: a*,-ab*")
        if part.startswith("+") or (not part.startswith("<") and re.search(r'[\\/?"|#\x00-\x1f]', part)):
            raise ValueError(r'a name cannot begin with + or contain any of \ / ? " | #')
    return name


Wait = Annotated[Duration, AfterValidator(_not_zero)]
File = Annotated[Path, BeforeValidator(_file)]
Host = Annotated[Text, AfterValidator(_host)]
Credentials = Annotated[SecretStr, BeforeValidator(_credentials), AfterValidator(_two_parts)]
ApiKey = Annotated[Secret, AfterValidator(_encoded)]
Share = Annotated[float, BeforeValidator(_share)]
Cron = Annotated[str, AfterValidator(_cron)]
Index = Annotated[Text, AfterValidator(_index)]


class ClusterSettings(Section):
    """An Elasticsearch or OpenSearch cluster, and how to reach it. Files are relative to the working directory."""

    hosts: Annotated[tuple[Host, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1,
        description='URLs of its nodes, such as ["http://127.0.0.1:9200"] (default port 9200); if one fails, '
        "esfeed tries the next",
    )
    basic_auth: Credentials | None = Field(
        None, description='"user:password", or ["user", "password"]; each part can be "env:NAME" or "file:/PATH"'
    )
    api_key: ApiKey | None = Field(
        None, description='an API key, encoded or as "id:api_key"; can be "env:NAME" or "file:/PATH"'
    )
    ca_certs: File | None = Field(None, description="a PEM file with the certificates to trust instead of the system's")
    verify_certs: bool = Field(True, description="whether to verify the certificates of https hosts")
    client_cert: File | None = Field(None, description="a PEM file with the client certificate")
    client_key: File | None = Field(None, description="a PEM file with its key, if client_cert does not contain it")
    timeout: Wait = Field(30.0, description="the timeout of one request")
    retries: int = Field(4, ge=1, le=100, description="how often to try a request before the poll fails")

    @model_validator(mode="after")
    def _one_of_a_kind(self) -> ClusterSettings:
        if self.basic_auth and self.api_key:
            raise Misplaced("api_key", "remove api_key or basic_auth; a request can have only one of them")
        if self.client_key and not self.client_cert:
            raise Misplaced("client_key", "set client_cert as well; a key is of no use without its certificate")
        return self

    def connection(self, name: str, most_per_second: float | None = None, page_bytes: int = 0) -> Connection:
        """The connection to the cluster with that ``name``, limited to ``most_per_second`` requests per second.

        ``page_bytes``: the expected size of a response. Several times as many bytes are an error.
        """
        basic: Any = None if self.basic_auth is None else tuple(self.basic_auth.get_secret_value().split(":", 1))
        return Connection(
            name,
            self.hosts,
            basic_auth=basic,
            api_key=None if self.api_key is None else self.api_key.get_secret_value(),
            ca_certs=_text(self.ca_certs),
            verify_certs=self.verify_certs,
            client_cert=_text(self.client_cert),
            client_key=_text(self.client_key),
            timeout=self.timeout,
            tries=self.retries,
            most_per_second=most_per_second,
            max_bytes=max(MAX_BYTES, 4 * page_bytes),
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


class WatchSettings(Section):
    """A name in a cluster to follow, and how."""

    cluster: str = Field("", description="the name of the cluster; optional if there is only one")
    index: Index = Field(
        description="the index, alias or pattern to follow; several separated by commas; -name excludes"
    )
    profile: str = Field("plain", description='the kind of documents: "plain" or "searchlight"')
    tracker: Literal["auto", "updated_at", "seq_no"] = Field(
        "auto", description="how to find changes; auto selects seq_no if the engine has it"
    )
    timestamp_field: str = Field(
        "updated_at",
        description="the date that every write updates; empty: there is none, find changes by reconciling only",
    )
    overlap: Duration = Field(
        300.0, description="how far before the newest date each poll reads again (tracker updated_at)"
    )
    interval: Wait = Field(1.0, description="the time between two polls")
    cron: Cron | None = Field(
        None,
        description="when to poll, instead of interval: minute, hour, day, month, day of the week (0 and 7 are Sunday);"
        " both day and day of the week must match",
    )
    initial: Literal["snapshot", "now"] = Field(
        "snapshot", description="documents that exist at the first poll: snapshot sends read events, now sends nothing"
    )
    keep_documents: bool = Field(
        True, description="whether to store contents; without them, before and changed are null"
    )
    mass_delete_limit: Share = Field(
        0.3, description="the share of documents that may disappear at once before the watch stops (if more than 1,000)"
    )
    max_page_bytes: Size = Field(32 << 20, ge=1 << 10, description="the approximate limit of bytes of one answer")
    max_requests_per_second: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="the limit of requests of this watch; default: none",
    )
    refresh: bool = Field(
        False, description="whether each poll refreshes the index first; the only request that is not a read"
    )
    verify: Wait | None = Field(
        None, description='how often to compare all ids and versions as a safeguard, such as "24h"; default: never'
    )

    @model_validator(mode="after")
    def _one_schedule(self) -> WatchSettings:
        if self.cron is not None and "interval" in self.model_fields_set:
            raise Misplaced("cron", "remove cron or interval; a watch has one schedule")
        return self
