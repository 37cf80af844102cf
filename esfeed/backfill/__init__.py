"""Sends sinks every document since a time, with or without a running feed, and resumes after a stop.

``parts`` divides the documents into requests of bounded size, ``prefetch`` reads them ahead, ``job`` sends them. If a
feed runs, everything goes into the log as ``read`` events for those sinks only, so that each target still has one
writer and each document one order. If no feed runs, what a sink takes goes past the log.
"""

from esfeed.backfill.job import Backfill, Past, Span, check_field

__all__ = ["Backfill", "Past", "Span", "check_field"]
