"""The forms in which events are written, each checked by somebody else's idea of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_structured_event
from hypothesis import given
from hypothesis import strategies as st

from esfeed import __version__
from esfeed.envelopes import Format, envelope
from esfeed.envelopes.cloudevents import attributes, binary_cloudevent
from esfeed.model.event import Event
from esfeed.testing.events import sample_event
from esfeed.testing.sink_contract import ODD_IDS

# Debezium's documented value of a change event (its Kafka Connect schema, "optional": false is required), as JSON
# schema: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-create-events
# and, for a store of documents, …/connectors/mongodb.html#mongodb-create-events
STRUCT_OR_NULL = {"type": ["object", "null"]}
DEBEZIUM = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["source", "op", "before", "after"],
    "properties": {
        "before": STRUCT_OR_NULL,
        "after": STRUCT_OR_NULL,
        "source": {
            "type": "object",
            "required": ["version", "connector", "name", "ts_ms", "db", "collection"],
            "properties": {
                **{key: {"type": "string"} for key in ("version", "connector", "name", "db", "collection")},
                "ts_ms": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
                "snapshot": {"enum": ["true", "first", "first_in_data_collection", "last", "false", "incremental"]},
            },
        },
        "op": {"enum": ["c", "u", "d", "r", "t", "m"]},
        "ts_ms": {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1},
        "transaction": {
            "type": ["object", "null"],
            "required": ["id", "total_order", "data_collection_order"],
        },
    },
    "additionalProperties": False,
    "allOf": [
        {
            "if": {"properties": {"op": {"enum": ["c", "r"]}}},
            "then": {"properties": {"before": {"type": "null"}, "after": {"type": "object"}}},
        },
        {"if": {"properties": {"op": {"const": "d"}}}, "then": {"properties": {"after": {"type": "null"}}}},
        {"if": {"properties": {"op": {"const": "u"}}}, "then": {"properties": {"after": {"type": "object"}}}},
    ],
}
BIG = b'{"n":9007199254740993,"f":1e999}'


def written(form: Format, **keys: Any) -> dict[str, Any]:
    """An event in that form, read back."""
    found = json.loads(envelope(form).encode(sample_event(**keys)))
    assert isinstance(found, dict)
    return found


# --- cloudevents


@pytest.mark.parametrize("doc_id", ODD_IDS, ids=range(len(ODD_IDS)))
@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_cloudevents_takes_any_id(doc_id: str, mode: str) -> None:
    """The SDK of CloudEvents takes what is made of any id and type, and ``data`` has them as they are."""
    event = sample_event(doc_id=doc_id, type=doc_id or "_doc", op="created")
    if mode == "structured":
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, envelope("cloudevents").encode(event))
        read = from_structured_event(message)
    else:
        headers, body = binary_cloudevent(event)
        assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())
        read = from_binary_event(HTTPMessage(dict(headers), body))
    data = read.get_data()
    assert isinstance(data, dict)
    assert (data["id"], data["type"]) == (doc_id, doc_id or "_doc")
    assert read.get_id() == event.id
    subject = read.get_subject()
    assert subject
    assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in subject)


@given(st.text(min_size=0, max_size=30), st.text(max_size=5))
def test_subject_is_a_string_of_cloudevents(doc_id: str, kind: str) -> None:
    """No control character, surrogate or noncharacter is left, all else is."""
    event = sample_event(doc_id=doc_id, type=kind)
    subject = json.loads(envelope("cloudevents").encode(event))["subject"]
    assert subject
    for char in subject:
        code = ord(char)
        assert code >= 0x20
        assert not 0x7F <= code <= 0x9F
        assert not 0xFDD0 <= code <= 0xFDEF
        assert code & 0xFFFE != 0xFFFE
    if doc_id.isprintable() and kind.isprintable():
        assert subject == f"{kind}/{doc_id}"


def test_both_modes_say_the_same() -> None:
    """Binary mode has the data of structured mode, and its attributes as headers."""
    event = sample_event(doc_id="größe 1%", after=BIG, before=None, op="created")
    structured = json.loads(envelope("cloudevents").encode(event))
    headers, body = binary_cloudevent(event)
    assert b"9007199254740993" in body
    assert json.loads(body) == structured["data"]
    assert headers["ce-subject"] == "OS::Nova::Server/gr%C3%B6%C3%9Fe%201%25"
    read = from_binary_event(HTTPMessage(dict(headers), body))
    assert read.get_subject() == structured["subject"] == "OS::Nova::Server/größe 1%"
    assert (read.get_source(), read.get_type()) == (structured["source"], structured["type"])


def test_attributes_are_those_of_the_structured_form() -> None:
    """Also where a name or an id holds what no attribute may."""
    origin = msgspec.structs.replace(sample_event().origin, cluster="main/ü")
    event = msgspec.structs.replace(sample_event(doc_id="a\nb", watch="w 1"), origin=origin)
    structured = json.loads(envelope("cloudevents").encode(event))
    assert dict(attributes(event)) == {name: structured[name] for name in attributes(event)}
    assert attributes(event)["source"] == "esfeed://main%2F%C3%BC/w%201"
    assert attributes(event)["subject"] == "OS::Nova::Server/a%0Ab"


# --- debezium


@pytest.mark.parametrize(("op", "code"), [("created", "c"), ("updated", "u"), ("deleted", "d"), ("read", "r")])
def test_debezium(op: Any, code: str) -> None:
    """Every kind of event is valid by Debezium's documented schema."""
    value = written("debezium", op=op)
    jsonschema.validate(value, DEBEZIUM, jsonschema.Draft202012Validator)
    assert value["op"] == code
    assert value["source"]["snapshot"] == ("true" if op == "read" else "false")
    assert value["ts_ms"] == value["source"]["ts_ms"] == 1795514400000
    assert value["source"]["version"] == __version__
    assert value["source"]["revision"] == "1795514400000000001"


@pytest.mark.parametrize("broken", [{"op": "x"}, {"source": {}}, {"after": "{}"}, {"op": "c", "before": {}}])
def test_debezium_schema_can_fail(broken: Mapping[str, Any]) -> None:
    """The schema that the form is checked against refuses what is none."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written("debezium"), **broken}, DEBEZIUM, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("updated_at", "milliseconds"),
    [
        ("2016-03-21T16:21:58", 1458577318000),
        ("2016-03-21T16:21:58.250000", 1458577318250),
        ("2016-03-21T18:21:58+02:00", 1458577318000),
        ("1458577318000", 1795514400000),
        ("yesterday", 1795514400000),
        (None, 1795514400000),
    ],
)
def test_debezium_dates(updated_at: str | None, milliseconds: int) -> None:
    """The source's time is the document's own date where it is one, else when the change was found."""
    import msgspec

    event = sample_event()
    event = msgspec.structs.replace(event, origin=msgspec.structs.replace(event.origin, updated_at=updated_at))
    assert json.loads(envelope("debezium").encode(event))["source"]["ts_ms"] == milliseconds


# --- searchlight


@pytest.mark.parametrize(
    ("kind", "op", "expected"),
    [
        ("OS::Nova::Server", "created", "compute.instance.create.end"),
        ("OS::Nova::Server", "updated", "compute.instance.update"),
        ("OS::Nova::Server", "deleted", "compute.instance.delete.end"),
        ("OS::Nova::Server", "read", "compute.instance.exists"),
        ("OS::Glance::Image", "updated", "image.update"),
        ("OS::Neutron::Net", "created", "network.create.end"),
        ("OS::Designate::Zone", "deleted", "dns.zone.delete"),
        ("OS::Nova::Hypervisor", "updated", "OS::Nova::Hypervisor.update"),
        ("_doc", "created", "_doc.create"),
    ],
)
def test_searchlight_event_types(kind: str, op: Any, expected: str) -> None:
    """The type of the notification that the service sends for such a change, where it sends one."""
    found = written("searchlight", type=kind, op=op)
    assert found["event_type"] == expected
    assert (found["resource_type"], found["doc_id"], found["op"]) == (kind, "6c41f0aa", op)


def test_searchlight_survives_javascript() -> None:
    """What goes beyond 2**53 is text; a reader that makes doubles of numbers loses nothing of the envelope."""
    text = envelope("searchlight").encode(sample_event(position=2**53 + 1))
    found = json.loads(text, parse_int=lambda digits: int(float(digits)))
    assert found["position"] == "9007199254740993"
    assert found["version"] == str(1795514400000000000 + 2**53 + 1)


@pytest.mark.parametrize("op", ["created", "updated", "deleted", "read"])
def test_searchlight_documents(op: Any) -> None:
    """``doc`` is the document now, and null when it is gone; ``before`` is what it was."""
    found = written("searchlight", op=op)
    assert (found["doc"] is None) == (op == "deleted")
    assert (found["before"] is None) == (op in ("created", "read"))


# --- raw


def test_raw() -> None:
    """The engine's own bytes."""
    document = b'{"b": 1,  "a": 1e999, "b": 9007199254740993}'
    assert envelope("raw").encode(sample_event(op="updated", after=document)) == document


def test_raw_delete() -> None:
    """Which document is gone, in fields that no document can have."""
    expected = {"_id": "6c41f0aa", "_type": "OS::Nova::Server", "_deleted": True}
    assert written("raw", op="deleted") == expected


# --- all of them


@pytest.mark.parametrize("form", ["cloudevents", "debezium", "searchlight", "raw"])
@pytest.mark.parametrize("doc_id", ODD_IDS, ids=range(len(ODD_IDS)))
def test_any_id_in_any_form(form: Format, doc_id: str) -> None:
    """Is JSON in one line, and documents keep their bytes."""
    event: Event = sample_event(doc_id=doc_id, routing=doc_id, op="created", after=BIG)
    text = envelope(form).encode(event)
    assert b"\n" not in text
    json.loads(text)
    assert BIG in text
