"""What is behind a watched name, once it is sure that what was there is gone and not only out of sight."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from esfeed.errors import ClusterError, Forbidden, NameGone, NothingThere, brief
from esfeed.model.reads import Held, Index, Resolved, StatsSnapshot
from esfeed.ports import Checkpoint, Cluster, Known
from esfeed.text.decoders import read
from esfeed.trackers.options import TrackerOptions


class Origin(msgspec.Struct, frozen=True):
    """What the checkpoints of all trackers tell alike: the indices, and the cluster that they are of."""

    indices: tuple[Index, ...] = ()
    pattern: bool = False
    cluster: str = ""


class Behind:
    """Asks for what is behind the name of one watch. ``accept``: another cluster than before is no error."""

    def __init__(self, cluster: Cluster, known: Known, options: TrackerOptions) -> None:
        self._cluster = cluster
        self._known = known
        self._options = options
        self.accept = False

    def resolve(self, since: Checkpoint | None, now: StatsSnapshot) -> tuple[Resolved, str]:
        """What is behind it, and the uuid of the cluster. ``now`` are the counters, read before.

        Raises ``ClusterError`` where another cluster is at this address, or an index is out of sight that was known, or
        whose counters nobody may read though those of others are told: what is done there would not be seen.
        """
        origin = _origin(since)
        uuid = self.cluster(origin)
        try:
            of = self._cluster.resolve(self._options.index, self._options.watch)
        except (NameGone, Forbidden) as error:
            self.explain(since, error)
            raise
        held = self._held(origin)
        self._check(of, held)
        return (of if now.blind else self._counted(of, now, {one.uuid for one in held})), uuid

    def cluster(self, origin: Origin) -> str:
        """The uuid of the cluster, as far as it can be told. Raises ``ClusterError`` where it is another one."""
        uuid = self._cluster.uuid()
        if uuid and origin.cluster not in ("", uuid) and not self.accept:
            watch = self._options.watch
            raise ClusterError(
                f"another cluster answers for {self._cluster.name!r} than watch {watch!r} followed so far (its uuid is "
                f"{uuid}, and was {origin.cluster})",
                f"correct `clusters.{self._cluster.name}.hosts`; if the watch is to go on there, run `esfeed reconcile "
                f"--watch {watch} --allow-mass-delete`",
            )
        return uuid or origin.cluster

    def explain(self, since: Checkpoint | None, why: ClusterError) -> None:
        """Raises a better error than ``why`` nothing was found behind the name, where there is one."""
        origin = _origin(since)
        self.cluster(origin)
        if isinstance(why, NothingThere):
            self._check(Resolved(self._options.index, origin.pattern, ()), self._held(origin))

    def _held(self, origin: Origin) -> Collection[Held]:
        """The indices of the checkpoint, and those of which a reading that broke off left something."""
        before = Resolved(self._options.index, origin.pattern, origin.indices)
        held = {Held(one.name, one.uuid, before.within(one.name)) for one in origin.indices}
        return held.union(self._known.indices())

    def _check(self, of: Resolved, held: Collection[Held]) -> None:
        there = {Held(one.name, one.uuid, of.within(one.name)) for one in of.indices}
        if lost := set(held) - there:
            self._cluster.check_gone(of, lost)

    def _counted(self, of: Resolved, now: StatsSnapshot, held: Collection[str]) -> Resolved:
        """The indices that have counters. One that was closed all along is left out, until it has."""
        closed = {one.uuid for one in of.indices if one.name not in now.indices and not self._counts(one, held)}
        return msgspec.structs.replace(of, indices=tuple(one for one in of.indices if one.uuid not in closed))

    def _counts(self, one: Index, held: Collection[str]) -> bool:
        """Whether an index that the counters left out has some, asked for by its own name: it may be that new."""
        try:
            self._cluster.counters(one.name)
        except Forbidden as error:
            without = brief(f"{self._options.index},-{one.name}")
            raise ClusterError(
                f"cluster {self._cluster.name!r} tells no counters of {one.name!r}: {error.message}",
                f"grant `monitor` on it, or leave it out of the watched name ({without!r})",
            ) from error
        except NameGone:
            if one.uuid in held:
                raise
            return False
        return True


def _origin(since: Checkpoint | None) -> Origin:
    return Origin() if since is None else read(since.data, Origin)
