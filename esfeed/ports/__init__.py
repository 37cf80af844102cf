"""Every Protocol of esfeed, and the values that they exchange. No I/O.

Each docstring states what an implementation must guarantee; ``esfeed.testing`` has contract suites that check it.
"""

from esfeed.ports.clock import Clock, Progress, Stop
from esfeed.ports.cluster import COUNTERS_AGE, Cluster, DatedDocuments, Documents, Indices, NumberedDocuments
from esfeed.ports.commits import BackfillMark, Backfills, Commit, Commits, Entry
from esfeed.ports.log import NO_DOC, PAGE_BYTES, Doc, Log, LogRow
from esfeed.ports.outbox import Counts, DeadLetters, Outbox, Parked, ParkedState, Settlement
from esfeed.ports.polls import Batch, Checkpoint, Passed, Profile, Tracker
from esfeed.ports.revisions import DatedRevisions, Known, Revisions, ShardRevisions, Sweep
from esfeed.ports.sinks import OK, LineSink, Outcome, Sink, not_tried, rejected, retry, waits
from esfeed.ports.state import (
    Control,
    ControlRequest,
    Notes,
    Notifier,
    Pruned,
    Retention,
    SinkRegistry,
    State,
    Tokens,
    Watches,
)

__all__ = [
    "COUNTERS_AGE",
    "NO_DOC",
    "OK",
    "PAGE_BYTES",
    "BackfillMark",
    "Backfills",
    "Batch",
    "Checkpoint",
    "Clock",
    "Cluster",
    "Commit",
    "Commits",
    "Control",
    "ControlRequest",
    "Counts",
    "DatedDocuments",
    "DatedRevisions",
    "DeadLetters",
    "Doc",
    "Documents",
    "Entry",
    "Indices",
    "Known",
    "LineSink",
    "Log",
    "LogRow",
    "Notes",
    "Notifier",
    "NumberedDocuments",
    "Outbox",
    "Outcome",
    "Parked",
    "ParkedState",
    "Passed",
    "Profile",
    "Progress",
    "Pruned",
    "Retention",
    "Revisions",
    "Settlement",
    "ShardRevisions",
    "Sink",
    "SinkRegistry",
    "State",
    "Stop",
    "Sweep",
    "Tokens",
    "Tracker",
    "Watches",
    "not_tried",
    "rejected",
    "retry",
    "waits",
]
