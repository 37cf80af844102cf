"""No state is told twice, nor after a later one: while a refresh is on its way, lookups are ahead of searches."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_oracle import Feed
from tests.support.clients import Raw
from tests.support.world import Replay, truth

pytestmark = pytest.mark.engines

_FIELDS = 6
_TERMS = 20_000


class Slow:
    """An index whose refreshes take long: what they show was fixed when they began, and searches show it at the end.

    Each refresh orders all values of some fields anew before searches may see it (``eager_global_ordinals``).
    """

    def __init__(self, raw: Raw, index: str) -> None:
        self.raw, self.index = raw, index
        values = {f"v{n}": {"type": "keyword", "eager_global_ordinals": True} for n in range(_FIELDS)}
        settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
        mapping = {"_source": {"excludes": ["v*"]}, "properties": {"updated_at": {"type": "date"}, **values}}
        raw.create(index, settings=settings, mappings={raw.kind: mapping} if raw.typed else mapping)
        for n in range(20):
            terms = {f"v{m}": [f"{m}/{n}/{k * 7919 % 1_000_003}" for k in range(_TERMS)] for m in range(_FIELDS)}
            raw.put(index, f"large-{n}", terms)
            if n % 2:
                self.refresh()

    def refresh(self) -> None:
        """To its end."""
        self.raw.refresh(self.index)

    def refreshing(self) -> threading.Thread:
        """A refresh that has begun: what is done from now on, it does not show."""
        before = self._begun()
        thread = threading.Thread(target=self.refresh)
        thread.start()
        while self._begun() == before and thread.is_alive():
            time.sleep(0.001)
        return thread

    def _begun(self) -> int:
        found = self.raw.call("GET", f"/{self.index}/_stats/refresh")["_all"]["primaries"]["refresh"]["total"]
        return int(found)


@pytest.fixture
def slow(raw: Raw, index: str) -> Slow:
    return Slow(raw, index)


# Two that tell refreshes of their inner reader from those that searches show.
@pytest.mark.parametrize("engine", ["es8", "os3"], indirect=True)
def test_a_document_that_comes_and_goes_while_a_refresh_is_on_its_way(slow: Slow, tmp_path: Path) -> None:
    """Searches show that it is gone, a lookup that it is back; then it goes, and a refresh shows it as it was back."""
    raw, index = slow.raw, slow.index
    feed, replay = Feed(raw.engine.url, index, tmp_path), Replay()
    for round_ in range(20):
        name = f"a-{round_}"
        raw.put(index, name, {"n": 1})
        slow.refresh()
        events = feed.poll()
        raw.delete(index, name)
        slow.refresh()
        raw.put(index, name, {"n": 2})
        raw.put(index, "large-0", {"n": round_})
        events += feed.poll()
        refresh = slow.refreshing()
        raw.delete(index, name)
        events += feed.poll()
        in_time = refresh.is_alive()
        refresh.join()
        events += feed.poll()
        slow.refresh()
        events += feed.poll()

        replay.apply(events)
        assert replay.repeats == 0
        assert replay.differences(truth(raw, index)) == []
        if in_time:
            states = [(op, n) for op, id, n in map(told, events) if id == name and op != "read"]
            assert states[-3:] == [("deleted", 1), ("created", 2), ("deleted", 2)]
            break
    else:
        pytest.fail("each refresh was over before the poll was")
    feed.close()


def told(event: dict[str, Any]) -> tuple[str, str, int | None]:
    """(op, id, the number in its content)."""
    data = event["data"]
    return data["op"], data["id"], (data["after"] or data["before"] or {}).get("n")
