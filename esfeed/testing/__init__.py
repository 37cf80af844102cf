"""The contract suites that every implementation of a port passes, and a builder of sample events.

Needs pytest; nothing in esfeed itself imports this package.
"""
