"""Kafka Connect's source until it has told so many documents, or nothing more for a while; what it told, as lines.

connect.py URL INDEX DOCUMENTS FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _connect import Connect

_QUIET = 30.0
_LOOK_EVERY = 0.05


def main() -> None:
    """Its cursor is a number that no two documents share: with dates that some share, it loses documents."""
    url, index, documents, folder = sys.argv[1:]
    count, last = 0, time.monotonic()
    with (Path(folder) / "out.jsonl").open("wb") as file:

        def on_match(message: bytes, now: int) -> None:
            nonlocal count, last
            file.write(message + b"\n")
            count, last = count + 1, time.monotonic()

        with Connect(Path(folder), url, index, 10, rb"(.+)", on_match, "id"):
            while count < int(documents) and time.monotonic() - last < _QUIET:
                time.sleep(_LOOK_EVERY)


main()
