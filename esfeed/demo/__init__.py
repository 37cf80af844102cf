"""``esfeed demo``: a small cloud that lives for fifteen seconds, and the real feed that follows it.

The feed is the product's own (``App``, ``Daemon``, the file sink), with real settings; only the cloud is played. The
engine under it is an in-memory look-alike, or a real one.
"""
