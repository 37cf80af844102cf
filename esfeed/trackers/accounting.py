"""Operation accounting: may a poll conclude that it has seen everything? Pure decisions over readings of ``_stats``.

A search shows a state that changes only when a shard refreshes, and ``_stats`` counts operations at once. So

- nothing is new where no operation was counted since all counted ones were *settled* (seen, for certain);
- nothing can be found where neither an operation nor a refresh was counted since the last full *look* (all copies'
  refreshes: any of them may have answered). Such a look may have missed what no refresh had shown yet; when it is
  shown, the refresh is counted, and there is another look;
- every operation is explained when as many documents were seen changed as operations were counted: each changed
  document took one at least, so none is left for a document that was not seen;
- operations are certain to be visible when two more refreshes have ended than at the time they were counted (the
  second began after them), or when the scheduler had ample time for a refresh that was due and made none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from esfeed.model.reads import ShardStats, StatsSnapshot, another


class Account(msgspec.Struct, frozen=True):
    """What is accounted for. ``settled``: operations by shard up to which all is seen for certain, ``None`` at first.

    ``explained``: documents seen changed or gone since ``settled``. ``looked``: the reading before the last full look,
    ``looks``: how many full looks there were at it, ``looked_at``: when the last of them ended (epoch seconds).
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
    """Whether a look now can find nothing. ``lag``: see ``ports.Cluster.searches_lag``; then one look is not enough."""
    if reading.blind or account.looked is None or restarted(account.looked, reading):
        return False
    if account.settled == operations(reading):
        return True
    return account.looks >= (2 if lag else 1) and _view(account.looked) == _view(reading)


def _view(reading: StatsSnapshot) -> Mapping[str, ShardStats]:
    return reading.shards


def restarted(before: StatsSnapshot, now: StatsSnapshot) -> bool:
    """Whether the counters of the two readings cannot be compared: other indices, other copies, or gone back."""
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
    """Whether every operation up to ``now`` (read after the search) was seen as a change of some document."""
    if now.blind or account.settled is None or account.looked is None or restarted(account.looked, now):
        return False
    return sum(operations(now).values()) - sum(account.settled.values()) == account.explained


def surely_visible(counted: StatsSnapshot, now: StatsSnapshot) -> bool:
    """Whether searches that start now see every operation of ``counted``, whatever copy answers."""
    if now.blind or restarted(counted, now):
        return False
    for shard, was in counted.shards.items():
        found = dict(now.shards[shard].refreshes)
        before = dict(was.refreshes)
        if found.keys() != before.keys() or any(found[node] < before[node] + 2 for node in before):
            return False
    return True


def looked(account: Account, before: StatsSnapshot, found: int, at: float, lag: bool = False) -> Account:
    """The account after a full look that began after ``before`` was read and found ``found`` changes.

    ``lag``: counts of refreshes prove nothing about searches.
    """
    previous = account.looked
    again = previous is not None and _view(previous) == _view(before)
    settled, explained = account.settled, account.explained + found
    if previous is not None and not lag and surely_visible(previous, before):
        settled, explained = operations(previous), 0
    return Account(settled, explained, before, account.looks + 1 if again else 1, at)


def doubted(account: Account, before: StatsSnapshot, found: int, at: float) -> Account:
    """The account after a look in which one copy contradicted another: it is no full one, and there is another."""
    return Account(account.settled, account.explained + found, before, 0, at)


def quiet(account: Account, reading: StatsSnapshot, patience: float, now: float) -> bool:
    """Whether the last look was final: in ``patience`` seconds a refresh that was due would have come."""
    return (
        not reading.blind
        and account.looked is not None
        and account.looks > 0
        and account.settled != operations(account.looked)
        and _view(account.looked) == _view(reading)
        and now - account.looked_at >= patience
    )


def settle(account: Account, reading: StatsSnapshot) -> Account:
    """The account when all operations up to ``reading`` are seen."""
    looks = account.looks if account.looked == reading else 1
    return Account(operations(reading), 0, reading, looks, account.looked_at)
