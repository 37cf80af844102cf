"""The one door to the cluster: requests, their faults, and what differs between engines."""
