"""Answers of wrong types, as no engine gives them but what stands between may: a clear error each, nothing else."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.cluster import names
from esfeed.cluster.dialect import Engine, dialect
from esfeed.cluster.reasons import of_body
from esfeed.cluster.responses import Hit
from esfeed.cluster.stats import read_stats
from esfeed.errors import EsfeedError

ODD: list[Any] = [None, True, 7, "x", [], {}, [7], {"a": 7}, {"type": 7}, {"properties": 7}, {"properties": {"f": 7}}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "reason", "root_cause", "error", "properties", "mappings", "settings", "aliases", "i"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class Answering:
    """A client whose cluster answers every request alike."""

    name = "main"

    def __init__(self, answer: Any, version: tuple[int, int, int] = (9, 2, 0)) -> None:
        self.answer = answer
        self.known_engine = Engine("elasticsearch", version)
        self.dialect = dialect(self.known_engine)

    def request(self, *_: Any, **more: Any) -> bytes:
        return json.dumps(self.answer).encode()


def told(ask: Any, *args: Any) -> None:
    """It answers, or says what is wrong."""
    with contextlib.suppress(EsfeedError):
        ask(*args)


@given(JSON)
def test_whatever_is_answered(answer: Any) -> None:
    """Any shape at all, of the words that answers are made of."""
    client: Any = Answering(answer)
    told(names.field_types, client, "i")
    told(names.resolve, client, "i", "w")
    told(read_stats, client, "i")
    told(read_stats, Answering(answer, (2, 4, 6)), "i")
    of_body(json.dumps(answer).encode())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda odd: {"i": {"mappings": odd}},
        lambda odd: {"i": {"mappings": {"properties": odd}}},
        lambda odd: {"i": {"mappings": {"doc": {"properties": {"f": odd}}}}},
        lambda odd: {"i": {"settings": {"index.uuid": odd}}},
        lambda odd: {"i": {"settings": {"index.uuid": "u", "index.creation_date": odd}}},
        lambda odd: {"i": {"settings": {"index.uuid": "u", "index.refresh_interval": odd}}},
        lambda odd: {"error": {"root_cause": odd, "type": odd, "reason": odd}},
        lambda odd: {"error": odd},
        lambda odd: {"i": {"shards": odd}},
        lambda odd: {"i": {"shards": [{"id": odd, "start_time_in_millis": odd, "target": odd}]}},
    ],
)
def test_an_odd_value_in_the_place_of_a_right_one(wrap: Any) -> None:
    """One that is of another type, deep inside of an answer that is right otherwise."""
    for odd in ODD:
        test_whatever_is_answered.hypothesis.inner_test(wrap(odd))  # type: ignore[attr-defined]


def test_what_a_hit_brings_beside_its_content() -> None:
    """The fields that were asked for and what it is sorted by."""
    for fields, sort in itertools.product(ODD, ODD):
        raw = msgspec.json.encode({"_index": "i", "_id": "1", "fields": fields, "sort": sort})
        hit = msgspec.json.decode(raw, type=Hit)
        told(hit.values, "f")
        told(lambda hit=hit: hit.sorted_by)
