"""Lists of names that are longer than a URL may be: a whole feed on them, and messages that do not repeat them."""

from __future__ import annotations

from pathlib import Path

import pytest

from esfeed.errors import ClusterError, NameGone
from tests.engines.test_moves import told
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw

pytestmark = [pytest.mark.engines, pytest.mark.parametrize("engine", ["es2", "es9", "os3"], indirect=True)]

DATED = {"updated_at": {"type": "date"}}
AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def names(raw: Raw, index: str) -> list[str]:
    """75 long names, of aliases of three indices, with a document in each: one request has no place for all."""
    found: list[str] = []
    actions = []
    for end in "abc":
        raw.create(f"{index}-{end}", DATED)
        raw.put(f"{index}-{end}", end, {"v": 1, "updated_at": AT})
        raw.refresh(f"{index}-{end}")
        aliases = [f"{index}-{end}-{number:02}-{'x' * 180}" for number in range(25)]
        actions += [{"add": {"index": f"{index}-{end}", "alias": alias}} for alias in aliases]
        found += aliases
    raw.call("POST", "/_aliases", {"actions": actions})
    return found


@pytest.mark.parametrize("tracker", ["auto", "updated_at"])
def test_a_feed_on_a_long_list(raw: Raw, index: str, names: list[str], tmp_path: Path, tracker: str) -> None:
    """Read, changed, deleted, reconciled: as behind a short one."""
    feed = Feed(raw.engine.url, ",".join(names), tmp_path, tracker=tracker, refresh=True)
    assert told(feed.poll()) == [("read", end) for end in "abc"]
    raw.put(f"{index}-a", "a", {"v": 2, "updated_at": "2026-01-02T00:00:00Z"})
    raw.put(f"{index}-c", "new", {"v": 2, "updated_at": "2025-01-02T00:00:00Z"})
    raw.delete(f"{index}-b", "b")
    assert told(feed.poll()) == [("created", "new"), ("deleted", "b"), ("updated", "a")]
    raw.put(f"{index}-b", "late", {"v": 2})
    raw.refresh(f"{index}-b")
    feed.app.runner.reconcile("w", False)
    assert told(feed.poll()) == [("created", "late")]
    assert feed.poll() == []
    feed.close()


def test_messages_do_not_repeat_the_list(raw: Raw, index: str, names: list[str], tmp_path: Path) -> None:
    """Whatever is wrong with it: a name that is missing, an index behind it that is closed, patterns with nothing."""
    lists = [
        ",".join([*names, f"{index}-missing"]),
        ",".join(f"{name}-missing-*" for name in names),
        ",".join(f"{name}-missing" for name in names),
    ]
    for number, name in enumerate(lists):
        (tmp_path / str(number)).mkdir()
        feed = Feed(raw.engine.url, name, tmp_path / str(number))
        with pytest.raises(NameGone) as caught:
            feed.poll()
        assert len(str(caught.value)) < 1500
        feed.close()
    raw.call("POST", f"/{index}-b/_close")
    feed = Feed(raw.engine.url, ",".join(names), tmp_path)
    with pytest.raises(ClusterError) as closed:
        feed.poll()
    assert len(str(closed.value)) < 1500
    feed.close()
