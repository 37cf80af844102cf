"""The description of the API is true: Schemathesis asks for whatever it allows, and for what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from esfeed.testing.events import sample_event
from esfeed.web.openapi import description
from tests.support.clients import eventually
from tests.web.support import Desk

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server over a log with a little of everything in it, positions that are gone among it."""
    desk = Desk(Path(tmp_path_factory.mktemp("openapi")))
    desk.fill(20)
    desk.put(
        sample_event(op="created", after={"n": 2**60, "project_id": "p1"}),
        sample_event(op="deleted", before={"n": 1}, routing="r1"),
        sample_event(op="read", after=b'{"f": 1e999, "s": "\\u0000"}'),
    )
    desk.drop(5)
    yield desk
    desk.stop()


OPERATIONS = [(path, method) for path, methods in description()["paths"].items() for method in methods]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_server_keeps_to_its_description(server: Desk, path: str, method: str, mode: GenerationMode) -> None:
    """Whatever is asked, no answer of 500 and more but a documented 503, and none that is not described."""
    operation = schemathesis.openapi.from_url(f"{server.url}/v1/openapi.json")[path][method]
    checks = CHECKS[1:] if path in ("/readyz", "/healthz") else CHECKS

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:  # type: ignore[type-arg]
        if case.query and case.query.get("feed") in ("longpoll", "eventsource"):
            # A stream does not end, and a long poll takes its time; test_feed reads both.
            case.query["feed"] = "normal"
        case.validate_response(case.call(timeout=20), checks=checks)

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "there must be some right way to ask"


def test_streams_and_events_are_as_described(server: Desk) -> None:
    """Each event of a page and of a stream has the described form; with ``integers=safe``, too."""
    whole = description()
    validator = jsonschema.Draft202012Validator({**whole, "$ref": "#/components/schemas/Event"})
    for integers in ("exact", "safe"):
        events = server.get("/v1/changes", integers=integers, limit=1000).json()["events"]
        assert len(events) == 18
        for event in events:
            validator.validate(event)
    with server.stream(since=5, integers="safe") as stream:
        eventually(lambda: len(stream.events) == 18)
        for event in stream.events:
            validator.validate(event)


def test_every_path_is_described(server: Desk) -> None:
    """What the server answers on is in its description, and nothing else is."""
    site = server.server._site
    assert site is not None
    pages = {"/", "/demo/instances", "/enter", "/static/{name}"}
    served = {route.path for route in site.application.routes}  # type: ignore[attr-defined]
    assert served - pages == set(description()["paths"])
    assert json.loads(server.get("/v1/openapi.json").text) == description()
