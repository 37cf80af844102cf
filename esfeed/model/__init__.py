"""Values: what a document, a change and an event are, and what a cluster answered. Nothing here does I/O."""
