"""What a stranger's condition may cost: it never holds the process for long, whatever it says."""

from __future__ import annotations

import pytest

from esfeed.routing import budget
from esfeed.testing.events import sample_event
from tests.web.conftest import Open
from tests.web.support import Desk

STALLS = [
    "'" + "a" * 900 + "'.matches('(a{1,1000}){1,100}$')",
    "[" + ",".join(["'aaaaaaaa'"] * 60) + "].all(x, x.matches('(a{1,1000}){1,100}$'))",
    "after.a.matches('((a{1,100}){1,100}){1,100}')",
    "after.a.matches(after.a)",
    "after.a.matches /* */ ('a{1,100}{1,100}')",
    "after.a.matches// \n('(a{1,100}){1,100}')",
    "[after.a].map(a, " + "+".join(["a"] * 200) + ").size() > 0",
    "+".join(["after.a"] * 120) + " == 'x'",
    "[1].existsOne(a, [1].existsOne(b, a == b))",
    "[1].exists(a, [1].exists(b, a == b))",
    "[1].exists// \n(a, [1].all// \n(b, a == b))",
    "[1,2,3].map(op, [1,2,3].map(id, [1,2,3].map(watch, op == id))).size() > 0",
    "[[1]].all(a, a.map(b, b).size() > 0)",
    "after.n == 1 && " * 100 + "true",
]


@pytest.mark.parametrize("where", STALLS)
def test_a_condition_that_would_cost_too_much_is_refused(desk: Desk, where: str) -> None:
    """Before it is compiled: 422, and the reason."""
    desk.put(sample_event(after={"a": "a" * 5000, "n": 1}, op="created"))
    answer = desk.get("/v1/changes", where=where)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("where is too expensive: ")


@pytest.mark.parametrize(
    "where",
    [
        "op != 'deleted' && after.status == 'ACTIVE'",
        "after.name.matches('^web-[0-9]{1,3}$') || after.name.startsWith('db')",
        "after.addresses.exists(a, a.version == 4 && a.addr.startsWith('10.'))",
        "has(after.flavor) && int(after.flavor) + 1 > 3",
        "after['os-ext:host'] in ['a', 'b', 'c']",
        "after.url == 'http://example.org//x'",
    ],
)
def test_what_people_write_costs_little(where: str) -> None:
    """Over an event of some kilobytes, with some elements."""
    event = sample_event(
        after={"name": "x" * 4000, "addresses": [{"version": 4, "addr": "10.0.0.1"}] * 20}, op="created"
    )
    assert budget.of_reader(where).bearable(event)


def test_an_event_that_would_cost_too_much_is_left_out(desk: Desk) -> None:
    """A loop over very many elements of a very large event; others are told, and without a loop that one is."""
    many = sample_event(after={"list": [{"n": n, "text": "x" * 20} for n in range(20_000)]}, op="created")
    few = sample_event(after={"list": [{"n": 5}]}, op="created")
    desk.put(many, few)
    assert desk.positions(where="after.list.exists(one, one.n == 5)") == [2]
    assert desk.positions(where="after.list.size() > 3") == [1]


def test_the_bound_is_below_what_holds_the_process(open_desk: Open) -> None:
    """A tenant's own: the same for whoever asks."""
    desk = open_desk('anonymous = "never"')
    token = desk.token(tenant="t")
    headers = {"authorization": f"Bearer {token}"}
    assert desk.client.get(f"{desk.url}/v1/changes", params={"where": STALLS[0]}, headers=headers).status_code == 422
