"""Observers of a running feed: metrics and traces."""
