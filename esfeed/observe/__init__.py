"""Who may look on while a feed works: metrics and traces."""
