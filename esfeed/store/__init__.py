"""The state of a feed, behind ``ports.State``: revisions, stored documents, the log, checkpoints and cursors."""
