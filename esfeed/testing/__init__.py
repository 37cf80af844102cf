"""For authors of sinks: the contract suite that every sink passes, and a builder of sample events.

Needs pytest; nothing in esfeed itself imports this package.
"""
