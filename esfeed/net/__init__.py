"""What requests to others may cost."""
