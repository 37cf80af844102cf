"""esfeed: a change feed for Elasticsearch and OpenSearch, from outside, by polling.

The data flows in this order, which is also an order to read the code in: ``cluster`` reads, a tracker finds what may
have changed, ``diff`` computes the changes, the store commits them (revisions, log and checkpoint in one transaction),
``delivery`` sends them to the sinks. ``changes.watcher`` and ``delivery.dispatcher`` are the two loops;
``runtime.daemon`` runs them, ``cli`` is the entry point.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("esfeed")
except PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
    __version__ = "0+unknown"
