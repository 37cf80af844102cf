"""``esfeed demo``: a simulated small cloud that lives for fifteen seconds, and the real feed that follows it.

The feed is the real one (``App``, ``Daemon``, the file sink), with real settings; only the cloud is simulated. Its
engine is an in-memory look-alike, or a real one.
"""
