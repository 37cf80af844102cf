"""Sends sinks every document since a time, beside a running feed or without one, and resumes where it stopped.

``parts`` divides the documents into requests of bounded size, ``prefetch`` reads them ahead, ``job`` sends them. Beside
a running feed, everything goes into the log as ``read`` events for those sinks only, so that each target still has one
writer and each document one order. If no feed runs, what a sink takes goes past the log.
"""

from esfeed.backfill.job import Backfill, Past, Span, check_field

__all__ = ["Backfill", "Past", "Span", "check_field"]
