"""Documents, or events, into an index of another cluster by ``_bulk``; each item of the answer is checked.

``bulk`` knows the syntax of each engine, ``http_client`` sends the requests within the deadline; this module combines
them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from esfeed import __version__
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import Outcome, not_tried, rejected, retry
from esfeed.routing.template import TemplateFailed
from esfeed.sinks.common.http_client import Answer, HttpClient
from esfeed.sinks.common.http_status import shown, wait_of
from esfeed.sinks.common.ordering import in_waves
from esfeed.sinks.common.tls import client_context
from esfeed.sinks.elasticsearch import bulk
from esfeed.sinks.elasticsearch.settings import ElasticsearchSettings


class ElasticsearchSink:
    """Keeps an index equal to the watched one (``mirror``), or adds each event to an index (``log``).

    ``ok`` means that the primary shard has the action in its translog, or that it already has a newer state of the
    document.
    """

    Settings = ElasticsearchSettings

    def __init__(self, settings: ElasticsearchSettings) -> None:
        self._settings = settings
        self._encode = envelope(settings.format).encode
        self._http: HttpClient | None = None
        self._engine: bulk.Engine | None = None

    def open(self) -> None:
        """Detects the engine, and creates the index template.

        Raises ``ConfigError`` for unusable credentials, certificates or templates, ``Retryable`` if the cluster does
        not answer.
        """
        self.close()
        http = self._http = self._client()
        http.start(self._settings.timeout)
        self._engine = self._find_engine(http)
        self._put_template(http, self._engine)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Writes the events, in as few requests as possible. Raises nothing.

        An event that the engine refuses is ``rejected``, with the text of the engine; a temporary failure is ``retry``.
        """
        http = self._http = self._http or self._client()
        http.start(self._settings.timeout)
        return in_waves(events, self._wave)

    def close(self) -> None:
        """Closes the connection."""
        http, self._http, self._engine = self._http, None, None
        if http is not None:
            http.close()

    # --- connecting

    def _client(self) -> HttpClient:
        settings = self._settings
        headers = {"user-agent": f"esfeed/{__version__}", "accept": "application/json"}
        if settings.authorization is not None:
            headers["authorization"] = settings.authorization
        secure = any(address.scheme == "https" for address in settings.addresses)
        return HttpClient(settings.addresses, headers, client_context(settings) if secure else None)

    def _find_engine(self, http: HttpClient) -> bulk.Engine:
        """The engine that the cluster reports. ``GET /`` may be missing or forbidden; then the API of nodes is used."""
        answer = http.call("GET", "/")
        if answer.status == 401:
            key = "api_key" if self._settings.api_key is not None else "password"
            raise ConfigError(key, None, f"{http.where} does not accept it (401); correct it and user")
        try:
            version = json.loads(answer.body)["version"]
            return bulk.engine(version["number"], version.get("distribution") == "opensearch")
        except (ValueError, KeyError, TypeError):
            pass
        node = http.call("GET", "/_nodes/_local?filter_path=nodes.*.version,nodes.*.build_type")
        try:
            info = next(iter(json.loads(node.body)["nodes"].values()))
            old = info["version"].split(".")[0] in ("1", "2", "3")
            return bulk.engine(info["version"], old and "build_type" in info)
        except (ValueError, KeyError, TypeError, StopIteration):
            self._whole(http, answer)
            self._whole(http, node)
        raise ConfigError("hosts", http.where, "it does not answer as Elasticsearch or OpenSearch")

    def _put_template(self, http: HttpClient, target: bulk.Engine) -> None:
        settings = self._settings
        if settings.template is False:
            return
        parts = settings.template if isinstance(settings.template, dict) else {}
        if settings.mode == "log" and "mappings" not in parts:
            parts = parts | {"mappings": bulk.log_mappings(target)}
        keep = settings.gc_deletes if settings.mode == "mirror" else None
        path, body = bulk.template(target, settings.pattern, parts, keep)
        answer = http.call("PUT", path, body)
        if answer.status in (400, 403):
            hint = f"{http.where} refuses the index template ({_said(answer)}); correct it, or set template = false"
            raise ConfigError("template", None, hint)
        self._whole(http, answer)

    # --- sending

    def _wave(self, events: Sequence[Event]) -> Sequence[Outcome]:
        http = self._http
        assert http is not None
        if self._engine is None:
            try:
                self._engine = self._find_engine(http)
            except ConfigError as error:  # it was right when the sink was opened
                raise Retryable(f"{http.where}: {error.key} is no longer accepted", error.hint) from error
        outcomes: list[Outcome | None] = []
        lines: list[bytes] = []
        for event in events:
            line = self._lines(event, self._engine)
            if isinstance(line, bytes) and len(line) > self._settings.max_bytes:
                limit = self._settings.max_bytes
                line = rejected(f"the event has {len(line)} bytes; the limit is {limit} (max_bytes)")
            outcomes.append(line if isinstance(line, Outcome) else None)
            if not isinstance(line, Outcome):
                lines.append(line)
        answers = iter(self._bulk(http, lines))
        return [next(answers) if outcome is None else outcome for outcome in outcomes]

    def _lines(self, event: Event, target: bulk.Engine) -> bytes | Outcome:
        settings = self._settings
        try:
            index = settings.index.render(event)
            if settings.mode == "log":
                return bulk.logged(event, index, target, self._encode(event))
            return bulk.mirror(event, index, settings.id.render(event), target, settings.epoch, settings.stamp)
        except TemplateFailed as error:
            return rejected(str(error))

    def _bulk(self, http: HttpClient, lines: Sequence[bytes]) -> Sequence[Outcome]:
        """The outcomes of actions, sent in requests of about ``bulk_bytes``. Raises ``Retryable`` if there are none."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(lines):
            size, end = 0, len(outcomes)
            while end < len(lines) and (size == 0 or size + len(lines[end]) <= self._settings.bulk_bytes):
                size, end = size + len(lines[end]), end + 1
            try:
                outcomes += self._request(http, lines[len(outcomes) : end])
            except Retryable as error:
                if not outcomes:
                    raise
                left = len(lines) - len(outcomes) - 1
                return [*outcomes, retry(str(error), error.wait), *[not_tried(error)] * left]
        return outcomes

    def _request(self, http: HttpClient, lines: Sequence[bytes]) -> Sequence[Outcome]:
        """Sends one request. If the engine refuses it as a whole, halves it until the refused event is alone."""
        # The timeout of the engine for a shard must be shorter than ours, or we would not get its answer.
        path = f"/_bulk?timeout={max(1, round(self._settings.timeout * 500))}ms"
        answer = http.call("POST", path, b"".join(lines), "application/x-ndjson")
        if answer.status in (400, 413):
            if len(lines) == 1:
                return [rejected(f"{answer.status} {_said(answer)}")]
            middle = len(lines) // 2
            return [*self._request(http, lines[:middle]), *self._request(http, lines[middle:])]
        self._whole(http, answer)
        try:
            items: list[Any] = msgspec.json.decode(answer.body)["items"]
            outcomes = [bulk.judge(item, self._settings.mode == "mirror") for item in items]
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Retryable(f"{http.where}: its answer is not one to _bulk", "check the proxies in between") from error
        if len(outcomes) != len(lines):
            raise Retryable(f"{http.where}: it answered {len(outcomes)} of {len(lines)} actions", "check its log")
        return outcomes

    def _whole(self, http: HttpClient, answer: Answer) -> None:
        """Raises ``Retryable`` if the answer as a whole is a fault."""
        if 200 <= answer.status < 300:
            return
        hint = {
            401: "correct user and password, or api_key",
            403: "grant this user write, create_index and manage_index_templates",
        }.get(answer.status, "check its load and health")
        wait = wait_of(answer.headers, datetime.now(UTC))
        raise Retryable(f"{http.where}: {answer.status} {_said(answer)}".strip(), hint, wait)


def _said(answer: Answer) -> str:
    try:
        return bulk.why(json.loads(answer.body))
    except (ValueError, AttributeError):
        return shown(answer.body[:1000].decode(errors="replace"))
