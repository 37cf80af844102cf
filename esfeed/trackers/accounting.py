"""Operation accounting: decides from readings of ``_stats`` whether a poll has seen everything. No I/O.

The state that a search shows changes only when a shard refreshes, and ``_stats`` counts operations at once. So

- nothing is new if no operation was counted since all counted ones were *settled* (certainly seen);
- a look can find nothing if neither an operation nor a refresh was counted since the last full *look*. The refreshes of
  all copies count, because any copy may have answered. Such a look may have missed what no refresh had shown yet. When
  a refresh shows it, that refresh is counted and causes another look;
- every operation is explained if as many documents were seen as changed as operations were counted. Each changed
  document took at least one operation, so none is left for an unseen document;
- operations are certainly visible after two more refreshes than at the time they were counted (the second began after
  them), or if a refresh was due for long enough and did not come.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from esfeed.model.reads import ShardStats, StatsSnapshot, another


class Account(msgspec.Struct, frozen=True):
    """What is accounted for.

    ``settled``: operations by shard up to which everything was certainly seen, ``None`` at first. ``explained``:
    documents seen as changed or gone since ``settled``. ``looked``: the reading before the last full look. ``looks``:
    how many full looks followed that reading. ``looked_at``: when the last of them ended (epoch seconds).
    """

    settled: dict[str, int] | None = None
    explained: int = 0
    looked: StatsSnapshot | None = None
    looks: int = 0
    looked_at: float = 0.0


def operations(reading: StatsSnapshot) -> dict[str, int]:
    """Operations by shard."""
    return {shard: found.ops for shard, found in reading.shards.items()}


def unchanged(account: Account, reading: StatsSnapshot, lag: bool) -> bool:
    """Whether a look can find nothing. ``lag``: see ``ports.Cluster.searches_lag``; one look is not enough then."""
    if reading.blind or account.looked is None or restarted(account.looked, reading):
        return False
    if account.settled == operations(reading):
        return True
    return account.looks >= (2 if lag else 1) and _view(account.looked) == _view(reading)


def _view(reading: StatsSnapshot) -> Mapping[str, ShardStats]:
    return reading.shards


def restarted(before: StatsSnapshot, now: StatsSnapshot) -> bool:
    """Whether the two readings cannot be compared: other indices, other copies, or counters that decreased."""
    if before.blind != now.blind or before.indices != now.indices or before.shards.keys() != now.shards.keys():
        return True
    for shard, was in before.shards.items():
        found = now.shards[shard]
        if found.identity != was.identity or another(was.history, found.history) or found.ops < was.ops:
            return True
        refreshes = dict(was.refreshes)
        if any(count < refreshes.get(node, 0) for node, count in found.refreshes):
            return True
    return False


def explains(account: Account, now: StatsSnapshot) -> bool:
    """Whether every operation up to ``now`` (read after the search) was seen as the change of a document."""
    if now.blind or account.settled is None or account.looked is None or restarted(account.looked, now):
        return False
    return sum(operations(now).values()) - sum(account.settled.values()) == account.explained


def surely_visible(counted: StatsSnapshot, now: StatsSnapshot) -> bool:
    """Whether a search that starts now sees every operation of ``counted``, whichever copy answers."""
    if now.blind or restarted(counted, now):
        return False
    for shard, was in counted.shards.items():
        found = dict(now.shards[shard].refreshes)
        before = dict(was.refreshes)
        if found.keys() != before.keys() or any(found[node] < before[node] + 2 for node in before):
            return False
    return True


def looked(account: Account, before: StatsSnapshot, found: int, at: float, lag: bool = False) -> Account:
    """The account after a full look that began after the reading ``before`` and found ``found`` changes.

    ``lag``: counts of refreshes prove nothing about searches.
    """
    previous = account.looked
    again = previous is not None and _view(previous) == _view(before)
    settled, explained = account.settled, account.explained + found
    if previous is not None and not lag and surely_visible(previous, before):
        settled, explained = operations(previous), 0
    return Account(settled, explained, before, account.looks + 1 if again else 1, at)


def doubted(account: Account, before: StatsSnapshot, found: int, at: float) -> Account:
    """The account after a look in which one copy contradicted another. It is not a full look, so another
    one follows.
    """
    return Account(account.settled, account.explained + found, before, 0, at)


def quiet(account: Account, reading: StatsSnapshot, patience: float, now: float) -> bool:
    """Whether the last look was final: for ``patience`` seconds, no refresh came although one was due."""
    return (
        not reading.blind
        and account.looked is not None
        and account.looks > 0
        and account.settled != operations(account.looked)
        and _view(account.looked) == _view(reading)
        and now - account.looked_at >= patience
    )


def settle(account: Account, reading: StatsSnapshot) -> Account:
    """The account when every operation up to ``reading`` was seen."""
    looks = account.looks if account.looked == reading else 1
    return Account(operations(reading), 0, reading, looks, account.looked_at)
