"""The state: what one commit keeps, what a crash leaves, what a bad disk says."""
