"""Everything that sends requests to the cluster: requests, errors, and the differences between engines."""
