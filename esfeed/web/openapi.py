"""The description of the API (OpenAPI 3.1), served at ``/v1/openapi.json``. A test checks the server against it.

https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

from typing import Any

from esfeed import __version__

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_POSITION = {"type": "integer", "minimum": 0, "description": "A position in the log."}
_NUMBER = {"type": ["integer", "string"], "description": "A string if it is beyond 2**53 and integers=safe."}
_TEXT_OR_NULL = {"type": ["string", "null"]}


def description() -> dict[str, Any]:
    """The whole description, ready for JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "esfeed",
            "version": __version__,
            "description": "A change feed for Elasticsearch and OpenSearch, over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"keystone": []}, {}],
        "paths": {
            "/v1/changes": {"get": _changes()},
            "/v1/me": {"get": _get("Your identity at this server", "Me")},
            "/v1/status": {"get": _get("The status of every watch and sink (administrators)", "Status", 403)},
            "/v1/dead": {"get": _dead()},
            "/v1/redrive": {"post": _redrive()},
            "/v1/openapi.json": {"get": _get("This description", "Description", public=True)},
            "/metrics": {"get": _metrics()},
            "/healthz": {"get": _get("Whether the process is alive", "Word", public=True, health=True)},
            "/readyz": {"get": _get("Whether the feed is working", "Ready", public=True, health=True)},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token from `esfeed token add`."},
                "keystone": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "For OpenStack."},
            },
            "schemas": _schemas(),
        },
    }


def _get(
    summary: str, schema: str, *more: int, public: bool = False, health: bool = False, **parts: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": {"200": _answer(schema)}, **parts}
    if health:
        found["responses"]["503"] = _answer(schema, "No.")
    if public:
        found["security"] = [{}]
    codes = (414, 431, 429, *more) if public else (401, 403, 414, 431, 429, 503, *more)
    found["responses"] |= {str(code): _problem(code) for code in codes if str(code) not in found["responses"]}
    return found


def _answer(schema: str, what: str = "OK.") -> dict[str, Any]:
    return {"description": what, "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


_WHY = {
    400: "A parameter is wrong; detail says how to write it.",
    401: "No token, or an invalid one.",
    403: "Not permitted.",
    409: "The position is beyond the end of the log: it is from another log.",
    410: "The log no longer has this position; `first` is the first one left.",
    413: "The body is too large.",
    414: "The URL is longer than 8 KB.",
    422: "The condition would cost too much; detail says what to remove.",
    431: "The head of the request is longer than 16 KB.",
    415: "Send application/json.",
    429: "Too many requests, or too many readers; wait for retry-after seconds.",
    503: "Temporarily unavailable; try again after retry-after seconds.",
}


def _problem(code: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": _WHY[code], "content": {_PROBLEM: {"schema": schema}}}


def _parameter(name: str, what: str, schema: dict[str, Any], where: str = "query") -> dict[str, Any]:
    return {"name": name, "in": where, "description": what, "required": False, "schema": schema}


def _names(name: str, what: str) -> dict[str, Any]:
    several = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 100}
    return {**_parameter(name, what, several), "style": "form", "explode": True}


def _changes() -> dict[str, Any]:
    parameters = [
        _parameter(
            "since",
            'Events after this position; default: the first event left; "now": the end.',
            {"type": "string", "pattern": "^(now|[0-9]{1,18})$"},
        ),
        _parameter(
            "feed",
            "normal: a page; longpoll: a page that waits for its first event; eventsource (or Accept: "
            "text/event-stream): a stream.",
            {"type": "string", "enum": ["normal", "longpoll", "eventsource"]},
        ),
        _parameter("limit", "The limit of events of a page.", {"type": "integer", "minimum": 1, "maximum": 1000}),
        _parameter("timeout", "How many seconds a long poll waits.", {"type": "number", "minimum": 0, "maximum": 300}),
        _names("type", "Only events of these types of document."),
        _names("id", "Only events of these documents."),
        _names("watch", "Only events of these watches."),
        _parameter(
            "where",
            "Only events for which this CEL expression is true: op == 'deleted' || after.status == 'ACTIVE'.",
            {"type": "string", "maxLength": 4000},
        ),
        _parameter("view", "Searchlight: the view that an administrator reads.", {"enum": ["admin", "user"]}),
        _parameter(
            "integers",
            "safe: integers beyond 2**53 are strings, for JavaScript.",
            {"type": "string", "enum": ["exact", "safe"]},
        ),
        _parameter("Last-Event-ID", "Where a stream continues; overrides since.", {"type": "string"}, "header"),
    ]
    operation = _get("Events of the log, in order", "Page", 400, 409, 410, 422, parameters=parameters)
    operation["description"] = (
        "Each event is a CloudEvents 1.0 object. A stream sends an `id:` with each, which a client returns as "
        "Last-Event-ID; `event: gone` ends a stream if its position was dropped from the log. Tenants see their own "
        "documents' events, in the user's view."
    )
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return operation


def _dead() -> dict[str, Any]:
    sink = _parameter("sink", "Only events of this sink.", {"type": "string"})
    return _get("Events that sinks did not take (administrators)", "Dead", 400, parameters=[sink])


def _redrive() -> dict[str, Any]:
    operation = _get("Send dead events again (administrators)", "Redriven", 400, 413, 415)
    operation["requestBody"] = {
        "required": True,
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Redrive"}}},
    }
    return operation


def _metrics() -> dict[str, Any]:
    operation = _get("Metrics for Prometheus (administrators)", "Me")
    operation["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return operation


def _object(required: dict[str, Any], more: bool = False, **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": [*required],
        "additionalProperties": more,
    }


def _schemas() -> dict[str, Any]:
    document = {"description": "The document as the engine stores it; null if there is none, or if it is unknown."}
    origin = _object(
        {
            "cluster": {"type": "string"},
            "index": {"type": "string"},
            "version": _NUMBER,
            "seq_no": {"type": ["integer", "string", "null"]},
            "updated_at": _TEXT_OR_NULL,
            "routing": _TEXT_OR_NULL,
            "parent": _TEXT_OR_NULL,
            "snapshot": {"type": "boolean"},
        }
    )
    data = _object(
        {
            "op": {"enum": ["created", "updated", "deleted", "read"]},
            "type": {"type": "string"},
            "id": {"type": "string"},
            "changed": {"type": ["array", "null"], "items": {"type": "string"}},
            "before": document,
            "after": document,
            "origin": origin,
            "position": _POSITION,
        }
    )
    event = _object(
        {
            "specversion": {"const": "1.0"},
            "id": {"type": "string"},
            "source": {"type": "string"},
            "type": {"type": "string"},
            "subject": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "data": data,
        },
        more=True,
    )
    part = {"type": "object", "additionalProperties": {"type": "object"}}
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    held = _object(
        {
            "sink": {"type": "string"},
            "position": _POSITION,
            "state": {"type": "string"},
            "attempts": {"type": "integer"},
            "error": {"type": "string"},
            "since": {"type": "number", "description": "Epoch seconds."},
            "newer": {"type": ["integer", "null"], "description": "The position of a newer state that was delivered."},
            "document": _TEXT_OR_NULL,
            "op": _TEXT_OR_NULL,
        },
        more=True,
    )
    return {
        "Event": event,
        "Page": _object(
            {
                "events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
                "last": {**_POSITION, "description": "Use it as since of the next page."},
                "head": {**_POSITION, "description": "The end of the log."},
            }
        ),
        "Me": _object({"name": {"type": "string"}, "tenant": _TEXT_OR_NULL, "admin": {"type": "boolean"}}),
        "Status": _object(
            {
                "running": {"type": ["string", "null"]},
                "state": {"type": "string"},
                "state_bytes": {"type": "integer"},
                "position": _POSITION,
                "log": _object({"first": {"type": ["integer", "null"]}, "bytes": {"type": "integer"}}),
                "watches": part,
                "sinks": part,
                "readers": counts,
            },
            more=True,
        ),
        "Dead": _object({"events": {"type": "array", "items": held}, "total": {"type": "integer"}}),
        "Redrive": _object(
            {"sink": {"type": "string"}},
            positions={
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "maxItems": 500,
                "description": "Only these positions; default: all dead events of the sink.",
            },
            force={
                "type": "boolean",
                "description": "Also send events that overwrite a newer state of their document.",
            },
        ),
        "Redriven": _object({"redriven": {"type": "integer"}, "superseded": {"type": "integer"}}),
        "Description": {"type": "object"},
        "Word": _object({"status": {"enum": ["alive", "dead"]}}),
        "Ready": _object(
            {
                "status": {"enum": ["ok", "degraded", "starting", "dead"]},
                "watches": counts,
                "sinks": counts,
            }
        ),
        "Problem": _object(
            {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}},
            more=True,
        ),
    }
