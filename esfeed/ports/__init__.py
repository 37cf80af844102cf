"""Every Protocol of the house, and the values that cross them. No I/O.

Each docstring states what an implementer must hold to; ``esfeed.testing`` has contract suites that check it.
"""

from esfeed.ports.clock import Clock, Progress, Stop
from esfeed.ports.log import (
    NO_DOC,
    PAGE_BYTES,
    BackfillMark,
    Commit,
    Doc,
    Entry,
    LogRow,
    Parked,
    ParkedState,
    Settlement,
    Store,
)
from esfeed.ports.memory import Known, Sweep
from esfeed.ports.polls import COUNTERS_AGE, Batch, Checkpoint, Cluster, Passed, Profile, Tracker
from esfeed.ports.sinks import OK, LineSink, Outcome, Sink, rejected, retry, waits

__all__ = [
    "COUNTERS_AGE",
    "NO_DOC",
    "OK",
    "PAGE_BYTES",
    "BackfillMark",
    "Batch",
    "Checkpoint",
    "Clock",
    "Cluster",
    "Commit",
    "Doc",
    "Entry",
    "Known",
    "LineSink",
    "LogRow",
    "Outcome",
    "Parked",
    "ParkedState",
    "Passed",
    "Profile",
    "Progress",
    "Settlement",
    "Sink",
    "Stop",
    "Store",
    "Sweep",
    "Tracker",
    "rejected",
    "retry",
    "waits",
]
