"""The contract suites that every implementation of a port passes, and a builder of sample events.

Requires pytest; no other package of esfeed imports this one.
"""
