"""Builds a feed from its settings, runs it, and reports its health."""
