"""Limits the cost of HTTP requests."""
