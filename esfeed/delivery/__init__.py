"""Delivery from the log to the sinks: the second of the two loops of esfeed. The first is ``changes.watcher``.

``dispatcher`` runs one step, ``failures`` decides whether a document or the target failed, ``retry_queue`` holds what
is parked, ``backoff`` computes delays, ``coalesce`` merges events, ``memory_dispatcher`` works without the log. All
decisions are pure.
"""
