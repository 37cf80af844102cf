"""Tests that share a slow server are of one group; all others are dealt out one by one."""

from __future__ import annotations

import pytest

from tests.support.grouping import group

THREADS = "tests/engines/test_public_threads.py"
FAILOVER = "tests/engines/test_failover.py::test_a_primary_moves_under_writes"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tests/sinks/test_kafka.py::test_hang", "tests/sinks/test_kafka.py::TestContract::test_odd_id[1]"),
        ("tests/openstack/test_sync.py::test_one", "tests/openstack/test_faults.py::test_other[es2]"),
        (f"{FAILOVER}[es8-seq_no]", f"{FAILOVER}[es8-updated_at]"),
        (f"{THREADS}::test_ties[auto-os3]", f"{THREADS}::test_large[updated_at-os3]"),
        ("tests/engines/test_roles.py::test_one[opensearch-dates]", "tests/engines/test_roles.py::test_other"),
        ("tests/sinks/test_elasticsearch.py::test_frozen_engine", "tests/sinks/test_elasticsearch.py::test_killed_x"),
    ],
)
def test_together(one: str, other: str) -> None:
    """They share brokers, the stack, a pair of nodes, an engine, or its memory."""
    assert group(one) == group(other) != one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{FAILOVER}[es8-seq_no]", f"{FAILOVER}[es2-seq_no]"),
        (f"{THREADS}::test_ties[auto-os3]", f"{THREADS}::test_ties[auto-es9]"),
        ("tests/sinks/test_kafka.py::test_hang", "tests/sinks/test_amqp.py::test_hang"),
        ("tests/sinks/test_file.py::test_one", "tests/sinks/test_file.py::test_other"),
        ("tests/sinks/test_elasticsearch.py::test_stamp[es2]", "tests/sinks/test_elasticsearch.py::test_stamp[es9]"),
    ],
)
def test_apart(one: str, other: str) -> None:
    """These need not wait for each other."""
    assert group(one) != group(other)
