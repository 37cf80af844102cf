"""The trackers. A tracker finds what may have changed behind a name since a checkpoint (``ports.Tracker``)."""
