"""Resolves a watched name, and makes sure that an index that left it is gone and not only out of sight."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from esfeed.errors import ClusterError, Forbidden, NameGone, NothingThere, brief
from esfeed.model.reads import Held, Index, Resolved, StatsSnapshot
from esfeed.ports import Checkpoint, Cluster, Known
from esfeed.text.decoders import read
from esfeed.trackers.options import TrackerOptions


class Origin(msgspec.Struct, frozen=True):
    """What the checkpoints of all trackers have in common: the indices, and the cluster they belong to."""

    indices: tuple[Index, ...] = ()
    pattern: bool = False
    cluster: str = ""


class Behind:
    """Resolves the name of one watch. ``accept``: another cluster than before is no error."""

    def __init__(self, cluster: Cluster, known: Known, options: TrackerOptions) -> None:
        self._cluster = cluster
        self._known = known
        self._options = options
        self.accept = False

    def resolve(self, since: Checkpoint | None, now: StatsSnapshot) -> tuple[Resolved, str]:
        """The indices behind the name, and the uuid of the cluster. ``now`` is an earlier reading of the counters.

        Raises ``ClusterError`` if another cluster answers at this address, if a known index is out of sight, or if an
        index has no counters while others have them: esfeed could not see what happens in it.
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
        """The uuid of the cluster, or the last known one. Raises ``ClusterError`` if it is another cluster."""
        uuid = self._cluster.uuid()
        if uuid and origin.cluster not in ("", uuid) and not self.accept:
            watch = self._options.watch
            raise ClusterError(
                f"{self._cluster.name!r} is not the cluster that watch {watch!r} has followed (its uuid is "
                f"{uuid}, not {origin.cluster})",
                f"correct `clusters.{self._cluster.name}.hosts`; to follow the new cluster, run `esfeed reconcile "
                f"--watch {watch} --allow-mass-delete`",
            )
        return uuid or origin.cluster

    def explain(self, since: Checkpoint | None, why: ClusterError) -> None:
        """Raises a better error than ``why`` if there is one. ``why`` says that the name leads to nothing."""
        origin = _origin(since)
        self.cluster(origin)
        if isinstance(why, NothingThere):
            self._check(Resolved(self._options.index, origin.pattern, ()), self._held(origin))

    def _held(self, origin: Origin) -> Collection[Held]:
        """The indices of the checkpoint, and those from which an unfinished reading left documents."""
        before = Resolved(self._options.index, origin.pattern, origin.indices)
        held = {Held(one.name, one.uuid, before.within(one.name)) for one in origin.indices}
        return held.union(self._known.indices())

    def _check(self, of: Resolved, held: Collection[Held]) -> None:
        there = {Held(one.name, one.uuid, of.within(one.name)) for one in of.indices}
        if lost := set(held) - there:
            self._cluster.check_gone(of, lost)

    def _counted(self, of: Resolved, now: StatsSnapshot, held: Collection[str]) -> Resolved:
        """The indices that have counters. An index that was always closed is left out until it has some."""
        closed = {one.uuid for one in of.indices if one.name not in now.indices and not self._counts(one, held)}
        return msgspec.structs.replace(of, indices=tuple(one for one in of.indices if one.uuid not in closed))

    def _counts(self, one: Index, held: Collection[str]) -> bool:
        """Whether an index that the counters left out has some after all: it can be new. Asks for its own name."""
        try:
            self._cluster.counters(one.name)
        except Forbidden as error:
            without = brief(f"{self._options.index},-{one.name}")
            raise ClusterError(
                f"cluster {self._cluster.name!r} does not show the counters of {one.name!r}: {error.message}",
                f"grant `monitor` on it, or exclude it from the watched name ({without!r})",
            ) from error
        except NameGone:
            if one.uuid in held:
                raise
            return False
        return True


def _origin(since: Checkpoint | None) -> Origin:
    return Origin() if since is None else read(since.data, Origin)
