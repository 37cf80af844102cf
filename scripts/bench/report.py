#!/usr/bin/env python3
"""Makes the tables and plots of docs/benchmarks anew from the kept results, without measuring anything."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _machine import DOCS
from _report import write

if __name__ == "__main__":
    write(DOCS / "results", DOCS)
