"""From documents that were read to events in the log."""
