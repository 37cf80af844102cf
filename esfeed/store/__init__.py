"""The memory of a feed: revisions, kept documents, the log, checkpoints and cursors, behind ``ports.State``."""
