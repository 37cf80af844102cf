"""Parses, compares and splits JSON text."""
