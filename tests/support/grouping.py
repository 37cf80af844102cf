"""Which tests run in one worker: those that share a server which is slow to start, so that it is started once; and
those that one engine cannot bear at the same time, as they write large documents or change its roles.

xdist's own groups do nothing under pytest 9, which keeps the id of a test where xdist does not look.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = re.compile(
    r"tests/(?:(openstack)/"
    r"|engines/test_(failover)\.py::.*\[(es2|es8|os2)"
    r"|engines/test_(public_threads)\.py::.*(es9|os3)\]"
    r"|engines/test_(roles)\.py"
    r"|sinks/test_(amqp|kafka|mqtt|nats|oslo|postgresql|redis|zaqar)\.py"
    r"|sinks/test_elasticsearch\.py::test_(?:frozen|killed|a_log_at)(_))"
)


def group(nodeid: str) -> str:
    """The name of the group that a test is of; a test that is of none is one of its own."""
    found = TOGETHER.match(nodeid)
    return "-".join(filter(None, found.groups())) if found else nodeid


class Grouped(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out groups and tests one by one, groups of many tests first: no long one is left for the end."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
