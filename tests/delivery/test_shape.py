"""What a route makes of an event is made anew at each try: the log and what is parked hold it whole."""

from __future__ import annotations

from esfeed.ports import retry
from tests.delivery.fakes import Bench, once


class Shaping:
    """A router that shows the position only, and nothing of documents called ``hidden``."""

    def watches(self, sink: str) -> frozenset[str]:
        return frozenset(["w"])

    def shape(self, sink: str, event: object) -> object:
        import msgspec

        if event.doc_id == "hidden":  # type: ignore[attr-defined]
            return None
        return msgspec.structs.replace(event, route=f"r-{event.route}", after=None)  # type: ignore[attr-defined,type-var]


def test_a_parked_event_is_shaped_once() -> None:
    """It arrives as the route shows it, tried once or thrice; what the route shows nothing of is not sent."""
    bench = Bench("p", "hidden", "a", word=once(p1=retry("no")))
    bench.router = Shaping()  # type: ignore[assignment]
    bench.boot()
    bench.run(5)
    assert [(event.doc_id, event.route, event.after) for event in bench.sink.got] == [
        ("a", "r-", None),
        ("p", "r-", None),
    ]
    assert (bench.store.at, bench.store.rows) == (3, {})
