"""Tells sinks of everything since a time, beside a running feed or without one, and goes on where it was stopped.

``parts`` cuts what is to be read into requests of bounded size, ``ahead`` reads them before they are needed, ``job``
tells them. Beside a running feed all of it goes into the log, as ``read`` events for those sinks alone, so that each
target still has one writer and each document one order. Where no feed runs, what a sink takes goes past the log.
"""

from esfeed.backfill.job import Backfill, Past, Span, check_field

__all__ = ["Backfill", "Past", "Span", "check_field"]
