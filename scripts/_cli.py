"""What the commands of `scripts/engines` and `scripts/services` have in common: arguments, tables, work in parallel."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from _engines_machine import EngineError, say
from _engines_node import interrupted

Record = dict[str, Any]
_Instance = TypeVar("_Instance")


def table(records: Sequence[Record]) -> str:
    """The records as rows, with the columns that a reader looks for."""
    columns = ("name", "instance", "version", "state", "pid", "url")
    rows = [columns, *(tuple(str(record.get(column, "-")) for column in columns) for record in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def in_parallel(
    program: str, work: Callable[[_Instance], Record], instances: Sequence[_Instance]
) -> tuple[list[Record], bool]:
    """Does the work for all at once; a failure is told, and keeps none of the others from finishing."""
    with ThreadPoolExecutor(len(instances)) as pool:
        futures: list[Future[Record]] = [pool.submit(work, instance) for instance in instances]
        records, failed = [], False
        try:
            for future in futures:
                try:
                    records.append(future.result())
                except (EngineError, OSError) as error:
                    say(f"{program}: {error}")
                    failed = True
        except KeyboardInterrupt:
            interrupted.set()
            raise
    return records, failed


def setting(text: str) -> tuple[str, str]:
    """KEY=VALUE, taken apart."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return key, value


def label(text: str) -> str:
    """The name of an instance, which becomes that of a folder."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text):
        raise argparse.ArgumentTypeError(f"'{text}' may hold only a-z, 0-9 and -")
    return text
