"""The trackers: each finds what may have changed behind a name since a checkpoint (``ports.Tracker``)."""
