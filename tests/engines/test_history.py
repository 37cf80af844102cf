"""Operations taken back below the mark: restores, folders put back; and ids of events where versions repeat."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.errors import EsfeedError
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw, esfeed, eventually
from tests.support.engines import Engine, selected, start, stop
from tests.support.world import Replay, truth

pytestmark = pytest.mark.engines

STAMP = 1_700_000_000_000


def doc(word: str) -> dict[str, Any]:
    return {"v": word, "updated_at": STAMP}


class Followed:
    """An index and a feed of it, whose events are replayed and compared with the index after each poll."""

    def __init__(self, engine: Engine, index: str, folder: Path, tracker: str) -> None:
        self.raw, self.index = Raw(engine), index
        self.feed, self.replay = Feed(engine.url, index, folder, tracker=tracker), Replay()

    def polled(self, where: str) -> None:
        self.raw.refresh(self.index)
        self.replay.apply(self.feed.poll())
        found = self.replay.differences(truth(self.raw, self.index))
        assert not found, f"{where}: {found}"

    def put(self, **documents: str) -> None:
        for id, word in documents.items():
            self.raw.put(self.index, id, doc(word))

    def prove(self) -> None:
        """Polls until a mark stands above all that was written before."""
        for n in range(3):
            for word in ("one", "other"):
                self.put(proof=f"{word} {n}")
                self.raw.refresh(self.index)
            self.polled(f"proof {n}")


@pytest.fixture(params=["seq_no", "updated_at"])
def tracker(request: pytest.FixtureRequest, engine: Engine) -> str:
    """Each way to follow that this engine has."""
    if request.param == "seq_no" and engine.name in ("es2", "es5"):
        pytest.skip(f"{engine.name} has no sequence numbers")
    return str(request.param)


@pytest.fixture
def followed(engine: Engine, index: str, tracker: str, tmp_path: Path) -> Iterator[Followed]:
    raw = Raw(engine)
    raw.create(index, {"updated_at": {"type": "date"}})
    made = Followed(engine, index, tmp_path, tracker)
    yield made
    made.feed.close()


def test_a_restore_in_place_loses_and_invents_nothing(followed: Followed) -> None:
    """An update, a create and a delete are taken back below the mark, and their numbers are given again."""
    raw, index = followed.raw, followed.index
    raw.call("PUT", f"/_snapshot/{index}", {"type": "fs", "settings": {"location": index}})
    snapshot = f"/_snapshot/{index}/one"
    about = {"indices": index, "include_global_state": False}
    followed.put(a="1", gone="1", proof="0")
    raw.refresh(index)
    raw.call("PUT", snapshot, about, wait_for_completion="true")
    followed.put(a="2", b="1")
    raw.delete(index, "gone")
    followed.polled("before")
    followed.prove()

    raw.call("POST", f"/{index}/_close")
    with pytest.raises(EsfeedError):
        followed.feed.poll()
    assert followed.feed.new() == []
    raw.call("POST", f"{snapshot}/_restore", about, wait_for_completion="true")
    raw.call("GET", f"/_cluster/health/{index}", wait_for_status="yellow", timeout="30s")
    followed.put(c="1", d="1", e="1")
    followed.polled("restored")
    # The same operations once more, with the same contents: none may come under an id that was told.
    followed.put(a="2", b="1")
    raw.delete(index, "gone")
    followed.polled("the same once more")
    followed.prove()
    raw.call("DELETE", snapshot)
    raw.call("DELETE", f"/_snapshot/{index}")


def test_two_restores_with_as_many_operations_after_each(followed: Followed) -> None:
    """No counter tells the second restore from the first; 2.x even keeps the uuid of the translog."""
    raw, index = followed.raw, followed.index
    raw.call("PUT", f"/_snapshot/{index}", {"type": "fs", "settings": {"location": index}})
    snapshot = f"/_snapshot/{index}/one"
    about = {"indices": index, "include_global_state": False}
    followed.put(a="1", b="1")
    raw.refresh(index)
    raw.call("PUT", snapshot, about, wait_for_completion="true")
    followed.polled("before")
    for word in ("one", "two", "three"):
        raw.call("POST", f"/{index}/_close")
        raw.call("POST", f"{snapshot}/_restore", about, wait_for_completion="true")
        raw.call("GET", f"/_cluster/health/{index}", wait_for_status="yellow", timeout="30s")
        followed.put(**{word: "1"})
        followed.polled(word)
    raw.call("DELETE", snapshot)
    raw.call("DELETE", f"/_snapshot/{index}")


@pytest.fixture(scope="module", params=["es2", "es9"])
def lonely(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of its own, which a test may end and begin again."""
    if request.param not in selected():
        pytest.skip(f"ESFEED_TEST_ENGINES leaves out {request.param}")
    instance = f"qa-folder-{os.getpid()}"
    try:
        yield start([request.param], instance=instance)[0]
    finally:
        stop([request.param], instance)


def test_a_data_folder_that_is_put_back(lonely: Engine, tmp_path: Path) -> None:
    """Nothing that the engine says of its shard differs, and it gives the same numbers again, to the same contents."""
    raw, index, instance = Raw(lonely), "folder", f"qa-folder-{os.getpid()}"
    raw.create(index, {"updated_at": {"type": "date"}})
    followed = Followed(lonely, index, tmp_path, "auto")
    followed.put(a="1", gone="1", proof="0")
    raw.call("POST", f"/{index}/_flush")
    (node,) = raw.call("GET", "/_nodes/_local/settings")["nodes"].values()
    data, kept = Path(node["settings"]["path"]["data"]), tmp_path / "kept"
    shutil.copytree(data, kept, ignore=shutil.ignore_patterns("*.lock"))
    followed.put(a="2", b="1")
    raw.delete(index, "gone")
    followed.polled("before")
    followed.prove()

    stop([lonely.name], instance, keep=True)
    shutil.rmtree(data)
    shutil.copytree(kept, data)
    start([lonely.name], instance=instance, keep=True)
    raw.call("GET", f"/_cluster/health/{index}", wait_for_status="yellow", timeout="30s")
    followed.put(a="2", b="1", c="1", d="1")
    followed.polled("put back")
    raw.delete(index, "gone")
    followed.polled("the same once more")
    followed.prove()
    followed.feed.close()


def forgotten(raw: Raw, index: str, id: str) -> None:
    """Deletes a document; the engine forgets its version, as it does a minute after each delete."""
    raw.delete(index, id)
    time.sleep(0.5)  # the engine's own clock for this goes by steps of 0.2 s
    raw.refresh(index)


def test_an_id_is_of_one_event_while_no_poll_gets_to_its_end(
    engine: Engine, index: str, tracker: str, tmp_path: Path
) -> None:
    """A version that begins at 1 again, other contents: ids come from what never comes back."""
    raw = Raw(engine)
    raw.create(index, {"updated_at": {"type": "date"}}, {"gc_deletes": "1ms"})
    raw.put(index, "still", doc("here"))
    raw.refresh(index)
    feed, replay = Feed(engine.url, index, tmp_path, tracker=tracker), Replay()
    replay.apply(feed.poll())
    versions, ops = [], []
    for word in ("one", "other", "one"):
        versions.append(raw.put(index, "x", doc(word))["_version"])
        raw.refresh(index)
        feed.app.runner.poll("w", stop=lambda: True)
        replay.apply(told := feed.new())
        ops += [event["data"]["op"] for event in told]
        forgotten(raw, index, "x")
        feed.app.runner.poll("w", stop=lambda: True)
        replay.apply(told := feed.new())
        ops += [event["data"]["op"] for event in told]
    assert versions == [1, 1, 1]
    assert ops == ["created", "deleted"] * 3
    assert len(replay.ids) == 7
    assert replay.differences(truth(raw, index)) == []
    feed.close()


def test_a_backfill_tells_another_content_under_another_id(engine: Engine, index: str, tmp_path: Path) -> None:
    """The same version of a document that was deleted, forgotten and created anew; the same content has the same id."""
    raw = Raw(engine)
    raw.create(index, {"updated_at": {"type": "date"}}, {"gc_deletes": "1ms"})
    config, sink = tmp_path / "esfeed.toml", tmp_path / "events.jsonl"
    config.write_text(
        f'state = "sqlite:///{tmp_path}/state.db"\n[clusters.main]\nhosts = ["{engine.url}"]\n'
        f'[watches.w]\nindex = "{index}"\n[sinks.out]\ntype = "file"\npath = "{sink}"\n'
    )
    ids = []
    for word in ("one", "other", "one"):
        raw.put(index, "x", doc(word))
        raw.refresh(index)
        done = esfeed("backfill", "--since", "2020-01-01", "--sink", "out", config=config)
        assert done.returncode == 0, done.stderr
        ids.append(eventually(sink.read_text).splitlines()[-1].partition('"id":"')[2][:32])
        forgotten(raw, index, "x")
    assert ids[0] == ids[2] != ids[1]
