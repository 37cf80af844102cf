"""Values: documents, changes, events, and results of reads. No I/O."""
