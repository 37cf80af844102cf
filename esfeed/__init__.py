"""esfeed: a change feed for Elasticsearch and OpenSearch, from outside, by polling.

The way of the data, and so the order to read in: ``cluster`` reads, a tracker finds what may have changed, ``diff``
says what did, the store keeps it (revisions, log and checkpoint in one transaction), ``delivery`` brings it to the
sinks. ``watcher`` and ``delivery.dispatcher`` are the two loops; ``daemon`` runs them, ``cli`` is the door.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("esfeed")
except PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
    __version__ = "0+unknown"
